"""What a run reads beside its weights is what its checkpoints were saved with."""

import shutil

import pytest
import yaml

from tests.cli.test_cli import TINY, flat, refused, selfwise

# ruff: noqa: F401, F811 (fixtures of another file)


def stop_at_two(selfwise, tmp_path, *told):
    """A run of four steps that was stopped after two."""
    out = tmp_path / "run"
    often = [
        "--steps",
        "4",
        "--save-every",
        "2",
        "--log-every",
        "1",
        "--cpu-threads",
        "1",
        "--quiet",
    ]
    code, lines = selfwise("pretrain", *told, "--out", out, *often)
    assert code == 0, lines
    shutil.rmtree(out / "checkpoints" / "step-00000004")
    return out


@pytest.fixture
def stopped(selfwise, flat, tmp_path):
    told = ["simclr", "--data", flat, *TINY, "--batch-size", "16", "--defaults", "paper"]
    return stop_at_two(selfwise, tmp_path, *told)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("seed", 1, "seed is 1, and was 0"),
        ("steps", 5, "steps is 5, and was 4"),
        ("temperature", 0.7, "temperature is 0.7, and was 0.5"),
        ("schedule", "constant", "schedule is constant, and was cosine"),
        ("encoder.layers", [1, 1, 1, 2], "encoder.layers is [1, 1, 1, 2], and was [1, 1, 1, 1]"),
    ],
)
def test_another_option_is_no_resume(selfwise, stopped, option, value, words):
    path = stopped / "run.yaml"
    before = path.read_text()
    edit(path, resolved={option: {"value": value, "source": "user"}})
    refused(selfwise("resume", stopped), "run.yaml", "step-00000002", words)
    path.write_text(before)
    others = {"num_workers": 1, "keep_last": 3}
    edit(path, resolved={n: {"value": v, "source": "user"} for n, v in others.items()})
    assert selfwise("resume", stopped, "--quiet")[0] == 0


def edit(path, **sections):
    """Other values in sections of a run.yaml that has values of these names."""
    content = yaml.safe_load(path.read_text())
    for section, values in sections.items():
        assert content[section].keys() >= values.keys()
        content[section] |= values
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def test_another_size_is_no_model(selfwise, stopped, flat, tmp_path):
    """Vectors would be others, without a word."""
    path = stopped / "run.yaml"
    before = path.read_text()
    assert yaml.safe_load(before)["data_info"]["size"] != 64
    edit(path, data_info={"size": 64})
    line = ["embed", stopped, "--data", flat, "--out", tmp_path / "v.npz"]
    code, lines = selfwise(*line)
    assert (code, "data_info.size is 64, and was" in lines[-1]) == (2, True)
    path.write_text(before)
    assert selfwise(*line)[0] == 0


def test_another_log_of_equal_length_is_no_resume(selfwise, stopped):
    path = stopped / "metrics.jsonl"
    before = path.read_text()
    path.write_text(before.replace('"step": 1', '"step": 7'))
    refused(selfwise("resume", stopped), "metrics.jsonl was changed")
    path.write_text(before)
    assert selfwise("resume", stopped, "--quiet")[0] == 0
    assert path.read_text().startswith("".join(before.splitlines(keepends=True)[:2]))


def test_another_tokenizer_is_no_resume_and_no_model(selfwise, tmp_path):
    texts = tmp_path / "texts"
    texts.mkdir()
    for i in range(24):
        (texts / f"{i}.txt").write_text(f"The sea was calm on day {i}, said the captain. " * 8)
    told = ["--data", texts, "--encoder", "gpt-tiny", "--max-length", "16"]
    out = stop_at_two(selfwise, tmp_path, "gpt", *told, "--batch-size", "8")
    first = sorted(p for p in (out / "tokenizer").iterdir() if p.is_file())[0]
    before = first.read_bytes()
    first.write_bytes(before + b" ")
    refused(selfwise("resume", out), first.name)
    code, lines = selfwise("generate", out, "--max-new-tokens", "2")
    assert (code, first.name in lines[-1]) == (2, True)
    first.write_bytes(before)
    assert selfwise("generate", out, "--max-new-tokens", "2")[0] == 0
    assert selfwise("resume", out, "--quiet")[0] == 0
