"""Folders that are made once, by one process, and copied into run folders."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

DONE = "about.json"  # written last
SCRATCH = "fit"  # of what is half made


def make_once(home: Path, make: Callable[[], None]) -> None:
    """Call `make` unless `home` is finished. Another process that wants the same waits for it.

    What a killed process left there stays, for `make` to go on with.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the system releases it, however the process ends
        if not (home / DONE).is_file():
            make()


def finish(home: Path, about: str) -> None:
    """Say that `home` is whole."""
    temporary = home / f".{DONE}.writing"
    temporary.write_text(about, encoding="utf-8")
    temporary.rename(home / DONE)
    shutil.rmtree(home / SCRATCH, ignore_errors=True)


def copy(home: Path, into: Path) -> None:
    """A copy of a finished folder, whole or not there; one that is there already stays."""
    if into.exists():
        return
    half = into.with_name(f".{into.name}.writing")
    shutil.rmtree(half, ignore_errors=True)
    shutil.copytree(home, half, ignore=shutil.ignore_patterns(SCRATCH, ".*"))
    os.rename(half, into)
