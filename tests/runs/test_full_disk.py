"""A full disk is imitated by a limit of the size of files: one line, and nothing half written."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import selfwise
from tests.helpers.exchange_cases import QUICK
from tests.runs.test_odd_entries import trained  # noqa: F401 # a fixture

ADVICE = "File too large; a limit of the shell (ulimit -f) or of the disk allows no larger file"
# Python ignores the signal of the limit, so that writing raises an error.
CODE = """
import contextlib, io, json, resource, sys
from pathlib import Path
import numpy as np
from selfwise.cli import main as cli
from selfwise.glue.submission import FILES, TaskAnswers, write_submission

def submit(out):
    kinds = {name: int if file.task.labels else float for name, file in FILES.items()}
    ids = {name: range(file.rows) for name, file in FILES.items()}
    answers = {
        name: TaskAnswers([str(i) for i in rows], np.zeros(len(rows), kinds[name]))
        for name, rows in ids.items()
    }
    try:
        write_submission(answers, Path(out))
    except OSError as error:
        print(cli._format_error(error), file=sys.stderr)
        return 2

results = []
for limit, argv in json.loads(sys.argv[1]):
    size = resource.RLIM_INFINITY if limit is None else limit
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(err):
        code = submit(argv[1]) if argv[0] == "submission" else cli.main(argv)
    results.append([code, err.getvalue()])
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
print(json.dumps(results))
"""
pytestmark = [
    pytest.mark.run,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="limits"),
]


def run_limited(cache: Path, commands: list[tuple[int | None, list[str]]]) -> list[tuple[int, str]]:
    """The exit code and the output of each command, with its limit in bytes."""
    call = [sys.executable, "-c", CODE, json.dumps(commands)]
    env = {**os.environ, "SELFWISE_CACHE": str(cache)}
    done = subprocess.run(call, capture_output=True, text=True, check=False, env=env)
    assert not done.returncode, done.stderr
    return [tuple(result) for result in json.loads(done.stdout.splitlines()[-1])]


def snapshot(folder: Path) -> dict[str, int]:
    """All files and folders, with the sizes of files."""
    found = sorted(folder.rglob("*"))
    return {str(path): path.stat().st_size if path.is_file() else -1 for path in found}


@pytest.fixture(scope="module")
def home(trained, tmp_path_factory):  # noqa: F811
    """A run, word vectors and a text."""
    home = tmp_path_factory.mktemp("full")
    shutil.copytree(trained, home / "run")
    (home / "text.txt").write_text("The sea was calm, said Zoë. She said it again. " * 40)
    options = {"encoder_options": {"dim": 7}, "val_fraction": 0.0, "max_length": 32}
    data, out = home / "text.txt", home / "words"
    selfwise.pretrain("word2vec", data=data, out=out, **QUICK, **options)
    (home / "out").mkdir()
    return home


def list_commands(home: Path) -> dict[str, tuple[int, list[str]]]:
    """Commands with the limit in bytes below which they cannot write what the name says."""
    run, words, out = str(home / "run"), str(home / "words"), home / "out"
    embed = ["embed", run, "--data", "digits:test", "--out"]
    data = ["--data", "digits:train", "--encoder", "resnet18", "--out"]
    return {
        "vectors.npz": (900, [*embed, str(out / "vectors.npz")]),
        "vectors.parquet": (900, [*embed, str(out / "vectors.parquet")]),
        "onnx": (500, ["export", run, "--to", "onnx", "--out", str(out / "onnx")]),
        "weights": (500, ["export", run, "--to", "safetensors", "--out", str(out / "weights")]),
        "new/vectors": (90, ["export", words, "--to", "word2vec", "--out", f"{out}/new/vectors"]),
        "page.html": (900, ["report", run, "--out", str(out / "page.html")]),
        "tokenizer": (500, ["tokenizer", str(home / "text.txt"), "--kind", "chars", "--out",
                            str(out / "tokenizer")]),
        "glue.zip": (900, ["submission", str(out / "glue.zip")]),
        "tune/tune.json": (500, ["pretrain", "simclr", "--steps", "3000", "--tune", "2", *data,
                                 str(out / "tune")]),
    }  # fmt: skip


def test_a_full_disk_is_one_line_and_leaves_no_file(home, tmp_path):
    run, other = home / "run", tmp_path / "other"
    shutil.copytree(run, other)
    shutil.rmtree(other / "features")
    shutil.rmtree(run / "scores")
    probe = ["--train", "digits:train", "--test", "digits:test", "--kind", "retrieval"]
    fill = [  # caches of features
        ["report", str(run), "--out", str(tmp_path / "page.html")],
        ["embed", str(run), "--data", "digits:test", "--out", str(tmp_path / "v.npz")],
        ["probe", str(run), *probe],
    ]
    filled = run_limited(tmp_path / "cache", [(None, argv) for argv in fill])
    assert [code for code, _ in filled] == [0, 0, 0], filled
    shutil.rmtree(run / "scores")
    before = snapshot(home)
    commands = list_commands(home)
    more = [(500, ["probe", str(other), *probe]), (150, ["probe", str(run), *probe])]
    results = run_limited(tmp_path / "cache", [*commands.values(), *more])
    for name, (code, printed) in zip(commands, results, strict=False):
        last = printed.splitlines()[-1].removeprefix("selfwise: ")
        assert code == 2, (name, printed)
        assert last.startswith(f"{home / 'out' / name}: {ADVICE}"), name
        assert printed.count(ADVICE) == 1
    check_probes(results[-2:], run, other)
    left = snapshot(home)
    for path in ("out/tune", "out/tune/.begun", "run/scores"):  # for the next attempt
        left.pop(str(home / path), None)
    assert left == before


def check_probes(results: list[tuple[int, str]], run: Path, other: Path) -> None:
    """Features that cannot be stored are an error; a score is printed all the same."""
    (code, printed), (scored, warned) = results
    assert code == 2
    assert printed.splitlines()[-1].startswith(f"selfwise: {other}/features/")
    assert printed.count(ADVICE) == 1
    assert list((other / "features").glob("*")) == []
    assert scored == 0
    assert f"warning: the score is not stored, and no report will show it: {run}/scores/" in warned
    assert ADVICE in warned
