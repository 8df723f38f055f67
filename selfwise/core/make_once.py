"""Folders that are made once, by one process, and copied into run folders."""

import shutil
from collections.abc import Callable
from pathlib import Path

from selfwise.core.files import atomic_write, hold_lock, write_file

DONE = "about.json"  # written last
SCRATCH = "fit"  # holds the state of an unfinished fit


def make_once(home: Path, make: Callable[[], None]) -> None:
    """Call `make` unless `home` is finished. Another process that wants the same folder waits.

    What a killed process left there stays, and `make` may resume from it.
    """
    with hold_lock(home / ".lock"):
        if not (home / DONE).is_file():
            make()


def mark_finished(home: Path, about: str) -> None:
    """Write the file that says that `home` is whole, and remove the scratch folder."""
    write_file(home / DONE, about)
    shutil.rmtree(home / SCRATCH, ignore_errors=True)


def copy_finished(home: Path, target: Path) -> None:
    """Copy a finished folder atomically. If `target` exists already, leave it as it is."""
    if target.exists():
        return
    with atomic_write(target) as temporary:
        shutil.copytree(home, temporary, ignore=shutil.ignore_patterns(SCRATCH, ".*"))
