"""How long a user waits for the first sign of life."""

import os
import pty
import re
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.costs_record import Clock, Found, Goal

WHAT = "from the command to its text, or to the first training step on the progress bar"
HELP, FIRST_STEP = "--help", "quickstart"
SIZES = dict.fromkeys((HELP, FIRST_STEP))
QUICK = dict.fromkeys((HELP,))
ROUNDS = 7
GROWS = False  # the two have nothing in common
GOALS = [Goal("seconds", "is", 0.5, HELP), Goal("seconds", "is", 15.0, FIRST_STEP)]
PATIENCE = 300.0  # seconds
STEP = re.compile(rb"\b[1-9]\d*/300\b")  # on the bar: so many of the quickstart's steps are done


def prepare(home: Path, sizes: list[str]) -> dict[str, Any]:
    """Both commands once, so that what is timed does not read programs from a cold disk."""
    for size in sizes:
        measure(home, size, time.perf_counter)
    return {}


def measure(home: Path, size: str, now: Clock) -> Found:
    """By the clock on the wall, whatever the others are timed with: somebody waits."""
    found = of_help() if size == HELP else of_first_step(home)
    return Found({"seconds": found})


def command() -> str:
    """The command beside this Python.

    Raises:
        RuntimeError: selfwise is not installed there.
    """
    path = Path(sys.executable).with_name("selfwise")
    if not path.is_file():
        raise RuntimeError(f"{path} is missing: install selfwise, for example by make test")
    return str(path)


def of_help() -> float:
    begun = time.perf_counter()
    run = subprocess.run([command(), "--help"], capture_output=True, check=True)
    taken = time.perf_counter() - begun
    assert b"usage: selfwise" in run.stdout, run.stdout
    return taken


def of_first_step(home: Path) -> float:
    """On a terminal, where the bar counts every step; then the command is stopped."""
    ours, theirs = pty.openpty()
    with tempfile.TemporaryDirectory(dir=home) as folder:
        env = os.environ | {"SELFWISE_CACHE": f"{folder}/cache", "TERM": "xterm", "COLUMNS": "120"}
        line = [command(), "quickstart", "--out", f"{folder}/run"]
        begun = time.perf_counter()
        process = subprocess.Popen(line, cwd=folder, env=env, stdout=theirs, stderr=theirs)
        os.close(theirs)
        try:
            return until_step(ours, begun)
        finally:
            process.kill()
            process.wait()
            os.close(ours)


def until_step(terminal: int, begun: float) -> float:
    """Seconds until a step is counted there.

    Raises:
        RuntimeError: the command ended before, or nothing was counted for minutes.
    """
    said = b""
    while (left := begun + PATIENCE - time.perf_counter()) > 0:
        if not select.select([terminal], [], [], left)[0]:
            break
        try:
            said += os.read(terminal, 65536)
        except OSError:  # its other end is closed
            break
        if STEP.search(said):
            return time.perf_counter() - begun
    raise RuntimeError(f"no step was seen: {said[-2000:].decode(errors='replace')}")
