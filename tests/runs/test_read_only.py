"""A run folder that cannot be written can still be used, and what needs a place says so."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs.test_odd_entries import trained  # noqa: F401 # a fixture

# A process of root may write anywhere; this takes that right away and keeps all files readable.
CODE = """
import contextlib, ctypes, io, json, os, sys
if os.getuid() == 0:
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, sets) == 0
    for i in range(3):
        sets[i] &= ~0b1110  # DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER
    assert libc.capset(header, sets) == 0
from selfwise.cli import main as cli
results = []
for argv in json.loads(sys.argv[1]):
    with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(err):
        code = cli.main(argv)
    results.append([code, err.getvalue()])
print(json.dumps(results))
"""


def run_commands(cache: Path, *commands: list[str]) -> list[tuple[int, str]]:
    env = {**os.environ, "SELFWISE_CACHE": str(cache)}
    call = [sys.executable, "-c", CODE, json.dumps(commands)]
    done = subprocess.run(call, capture_output=True, text=True, check=False, env=env)
    assert not done.returncode, done.stderr
    return [tuple(result) for result in json.loads(done.stdout.splitlines()[-1])]


@pytest.mark.run
@pytest.mark.skipif(sys.platform != "linux", reason="takes rights away with capset")
def test_a_read_only_run_can_be_used(trained, tmp_path):  # noqa: F811
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    shutil.rmtree(run / "checkpoints" / "step-00000008")  # resuming would have work to do
    shutil.rmtree(run / "scores")
    shutil.rmtree(run / "features")
    folders = [run, *(path for path in run.rglob("*") if path.is_dir())]
    for path in (*folders, *(path for path in run.rglob("*") if path.is_file())):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = sorted((str(path), path.lstat().st_mtime_ns) for path in run.rglob("*"))
    pair = ["--train", "digits:train", "--test", "digits:test"]
    names = ("v.npz", "export", "elsewhere.html")
    vectors, exported, page = (str(tmp_path / name) for name in names)
    commands = {
        "show": ["show", str(run)],
        "embed": ["embed", str(run), "--data", "digits:test", "--out", vectors],
        "export": ["export", str(run), "--to", "safetensors", "--out", exported],
        "probe": ["probe", str(run), *pair, "--kind", "retrieval"],
        "report": ["report", str(run)],
        "report elsewhere": ["report", str(run), "--out", page],
        "resume": ["resume", str(run), "--quiet"],
    }
    try:
        results = dict(
            zip(commands, run_commands(tmp_path / "cache", *commands.values()), strict=True)
        )
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert sorted((str(path), path.lstat().st_mtime_ns) for path in run.rglob("*")) == before
    codes = {name: code for name, (code, _) in results.items()}
    assert codes == dict.fromkeys(codes, 0) | {"report": 2, "resume": 2}, results
    assert all(os.path.exists(path) for path in (vectors, exported, page))
    assert "features cannot be written, so the next command" in results["embed"][1]
    assert "warning: the score is not stored" in results["probe"][1]
    assert "the scores are not saved" in results["probe"][1]
    assert "Verdict: " in results["probe"][1]
    refused = results["report"][1].splitlines()[-1]
    assert refused.startswith(f"selfwise: {run} cannot be written")
    assert "--out" in refused
    refused = results["resume"][1].splitlines()
    assert len(refused) == 1
    assert refused[0].startswith(f"selfwise: {Path(run)}")
    assert "Permission denied" in refused[0]
