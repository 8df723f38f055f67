"""Processes that selfwise starts: whose code they run, and what happens when one cannot work."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from selfwise.cli import main as cli
from selfwise.commands import doctor
from selfwise.core import process
from selfwise.core.parallel import map_in_chunks
from selfwise.core.types import ImageBatch
from selfwise.methods.supervised import Supervised
from selfwise.runs import processes
from selfwise.training import checkpoint
from selfwise.training.config import TrainingConfig, resolve_training
from selfwise.training.loop import fit
from tests.helpers import cases

ROOT = Path(__file__).parents[2]
EVIL = "import pathlib; pathlib.Path(__file__).with_name('executed').touch(); raise SystemExit(3)"


@pytest.fixture
def trap(tmp_path):
    """A folder whose modules have the names of Python's own."""
    for name in ("json", "random", "copy", "shutil"):  # what `python -m` itself imports is its own
        (tmp_path / f"{name}.py").write_text(EVIL)
    return tmp_path


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.run
def test_python_of_worker_processes_leaves_the_current_folder_alone(trap):
    line = [
        *processes.PYTHON,
        "-c",
        "import json, random, selfwise.runs.processes; print(json.__file__)",
    ]
    done = subprocess.run(line, cwd=trap, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not (trap / "executed").exists()


def test_all_that_starts_processes_does_so(monkeypatch, tmp_path):
    lines = []

    @contextmanager
    def crew(command, size, **told):
        lines.append(command)
        yield process  # whatever: nobody works with it here

    monkeypatch.setattr(processes, "launch_workers", crew)
    monkeypatch.setattr(process, "size", 1, raising=False)
    told = resolve_training(
        TrainingConfig(steps=1, devices=2, batch_size=4), Supervised, num_workers=0
    )
    with processes.lead_run(tmp_path, told):
        pass
    with processes.lead_shared_work("pass", options={}, devices=2):
        pass
    assert [line[:2] for line in lines] == [list(processes.PYTHON)] * 2
    assert "-P" in processes.PYTHON


@pytest.mark.run
def test_the_command_leaves_the_current_folder_alone(trap):
    line = [sys.executable, "-m", "selfwise", "methods"]
    done = subprocess.run(line, cwd=trap, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not (trap / "executed").exists()


class Images:
    """Batches of 12 MiB."""

    def __init__(self, kill_at=None):
        self.kill_at = kill_at

    def __getitem__(self, step):
        if step == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        x = torch.zeros(16, 3, 512, 512, dtype=torch.uint8)
        return ImageBatch(x, torch.arange(16))


def test_few_loader_processes_where_shared_memory_is_small(monkeypatch, capsys):
    each = 3 * (12 * 2**20 + 128)  # two batches ahead and one handed over
    for free, expected in ((64 * 2**20, 1), (2 * each, 2), (each - 1, 0), (2**31, 4), (None, 4)):
        monkeypatch.setattr(process, "measure_free_shared_memory", lambda free=free: free)
        assert process.limit_workers(4, lambda: Images()[0]) == expected
        said = capsys.readouterr().err
        assert ("loader processes instead of" in said) == (expected < 4)
    monkeypatch.setattr(process, "measure_free_shared_memory", lambda: 0)
    assert process.limit_workers(0, lambda: 1 / 0) == 0


def test_a_killed_loader_process_is_one_sentence(tmp_path, monkeypatch):
    kind = Supervised
    batch = cases.batch(kind, 16)

    class Dies:
        def __getitem__(self, step):
            if step == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return batch

    told = resolve_training(
        TrainingConfig(steps=4, batch_size=16, save_every=1, device="cpu"), kind, num_workers=1
    )
    with pytest.raises(ChildProcessError, match="a loader process was killed") as error:
        fit(cases.build("supervised"), Dies(), told, seed=0, out=tmp_path, quiet=True)
    assert "\n" not in str(error.value)

    def refuse(*_, **__):
        raise error.value

    monkeypatch.setattr(doctor, "load_function", refuse)
    assert cli.main(["doctor"]) == 2


def test_a_loader_that_dies_during_a_save_is_no_failure_to_write(tmp_path, monkeypatch):
    """torch's handler raises in whatever the first process does just then."""
    method = cases.build("simclr")
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1)

    def fail(error: str):
        def raise_error(*_, **__):
            raise RuntimeError(error)

        monkeypatch.setattr(checkpoint, "save_file", raise_error)
        checkpoint.save_checkpoint(tmp_path, 1, method, optimizer, {})

    with pytest.raises(RuntimeError, match="DataLoader worker"):
        fail("DataLoader worker (pid 7) is killed by signal: Killed.")
    with pytest.raises(OSError, match="the checkpoint of step 1 could not be written"):
        fail("no room")


class Dies:
    def __call__(self, rows):
        if 5 in rows:
            os.kill(os.getpid(), signal.SIGKILL)
        return len(rows)


def test_a_killed_reader_is_one_sentence():
    with pytest.raises(ChildProcessError, match="a process that was reading the data was killed"):
        list(map_in_chunks(Dies(), np.arange(64), workers=2, chunk=4))
