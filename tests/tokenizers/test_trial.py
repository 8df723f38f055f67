"""Damaged tokenizers are refused before this process loads them."""

import json
import subprocess

import pytest

from selfwise.core.memory_limit import limit_memory
from selfwise.tokenizers import trial
from selfwise.tokenizers.tokenizer import Tokenizer, train_tokenizer
from selfwise.tokenizers.trial import check_description, check_ids, try_tokenizer

WORDS = ["the dog ran far away", "a cat sat on the old mat"] * 5


@pytest.fixture(scope="module")
def content() -> dict:
    return json.loads(train_tokenizer("words", WORDS).library.to_str())


def change(content: dict, **model: object) -> dict:
    return {**content, "model": {**content["model"], **model}}


def test_a_whole_tokenizer_passes(content, tmp_path):
    check_description(content, "t.json")
    try_tokenizer(json.dumps(content), tmp_path / "t.json")


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ({"vocab": 5}, "vocab must hold names and values"),
        ({"vocab": {"a": "b"}}, "the id of 'a' is b"),
        ({"vocab": {"a": -1}}, "the id of 'a' is -1"),
        ({"vocab": {"a": True}}, "the id of 'a' is True"),
        ({"vocab": {"a": 2**32 - 1}}, "the id of 'a' is 4294967295"),
        ({"vocab": [["a", float("inf")]]}, "piece 0 must be a text and a finite number"),
        ({"vocab": [["a"]]}, "piece 0 must be a text and a finite number"),
    ],
)
def test_wrong_parts_of_a_tokenizer_are_named(content, model, text):
    with pytest.raises(ValueError, match=f"^t.json: {text}|^t.json: vocab"):
        check_description(change(content, **model), "t.json")


@pytest.mark.parametrize("added", [5, [5], [{"id": "x", "content": "a"}], [{"id": 2**31}]])
def test_wrong_added_tokens_are_named(content, added):
    with pytest.raises(ValueError, match=r"^t\.json: .*added"):
        check_description({**content, "added_tokens": added}, "t.json")


def test_ids_may_have_gaps_but_not_billions():
    check_ids({"a": 0, "b": 500}, "v.json")
    check_ids({str(i): 4 * i for i in range(30_000)}, "v.json")
    with pytest.raises(ValueError, match=r"v\.json: the id of 'b' is 100000000"):
        check_ids({"a": 0, "b": 10**8}, "v.json")


@pytest.mark.run
@pytest.mark.parametrize(
    ("change_content", "text"),
    [
        (lambda c: {**c, "pre_tokenizer": {"type": "x"}}, "cannot be read as a tokenizer"),
        (lambda c: change(c, unk_token="not there"), "cannot be read as a tokenizer|unknown"),
        (lambda c: {}, "model must hold names and values"),
    ],
)
def test_what_the_library_refuses_is_one_sentence(content, change_content, text, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(change_content(content)))
    with pytest.raises(ValueError, match=f"tokenizer.json: ({text})") as error:
        Tokenizer.load(path)
    assert "\n" not in str(error.value)


@pytest.mark.run
@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("import os; os.abort()", "its library stops while it loads it"),
        ("while True: pass", "did not load it within 1 seconds: the file is damaged, or"),
        ("x = bytearray(2**33)", "its library stops while it loads it"),
        ("import sys; print('a reason'); sys.exit(3)", "(a reason)"),
        ("import sys; print('absent'); sys.exit(4)", "no trial of the tokenizer is possible"),
    ],
)
def test_a_library_that_stops_or_hangs_is_one_sentence(code, text, tmp_path, monkeypatch):
    limits = trial._TRIAL[: trial._TRIAL.index("import os\nos.environ")]
    monkeypatch.setattr(trial, "_TRIAL", limits + code)
    monkeypatch.setattr(trial, "SECONDS", 1.0)
    with limit_memory("64M"), pytest.raises(ValueError) as error:  # noqa: PT011 (compared below)
        try_tokenizer(f'"{code}"', tmp_path / "t.json")
    assert text in str(error.value)


@pytest.mark.run
def test_a_trial_without_a_result_is_repeated(content, tmp_path, monkeypatch):
    text, path = json.dumps(content, indent=5), tmp_path / "t.json"
    run, whole = subprocess.run, trial._TRIAL

    def hang(*args, timeout, **options):
        raise subprocess.TimeoutExpired(args, timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(ValueError, match=r"t\.json: its library did not load it within 60 seconds"):
        try_tokenizer(text, path)
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(trial, "_TRIAL", whole.replace("import tokenizers", "import absent_one"))
    with pytest.raises(ValueError, match=r"no trial .* is possible, .*No module named"):
        try_tokenizer(text, path)
    monkeypatch.setattr(trial, "_TRIAL", whole)
    try_tokenizer(text, path)


def test_a_text_is_tried_once(content, tmp_path, monkeypatch):
    text = json.dumps(content, indent=7)
    try_tokenizer(text, tmp_path / "t.json")
    monkeypatch.setattr(subprocess, "run", None)
    try_tokenizer(text, tmp_path / "t.json")


@pytest.mark.run
def test_files_of_the_working_folder_are_not_imported(content, tmp_path, monkeypatch):
    for name in ("resource", "tokenizers", "json"):
        (tmp_path / f"{name}.py").write_text("open('was imported', 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trial, "_tried", {})
    try_tokenizer(json.dumps(content), tmp_path / "tokenizer.json")
    assert not (tmp_path / "was imported").exists()
