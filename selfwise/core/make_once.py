"""Folders that one process creates once, and that are copied into run folders."""

import shutil
from collections.abc import Callable
from pathlib import Path

from selfwise.core.files import atomic_write, hold_lock, write_file

DONE = "about.json"  # written last
SCRATCH = "fit"  # holds the state of an unfinished fit


def make_once(home: Path, make: Callable[[], None]) -> None:
    """Call `make` unless `home` is finished. Another process that needs the folder waits.

    Files of a killed process stay there, and `make` may resume from them.
    """
    with hold_lock(home / ".lock"):
        if not (home / DONE).is_file():
            make()


def mark_finished(home: Path, about: str) -> None:
    """Write the file that marks `home` as complete, and remove the scratch folder."""
    write_file(home / DONE, about)
    shutil.rmtree(home / SCRATCH, ignore_errors=True)


def copy_finished(home: Path, target: Path) -> None:
    """Copy a finished folder atomically. If `target` exists already, leave it as it is."""
    if target.exists():
        return
    with atomic_write(target) as temporary:
        shutil.copytree(home, temporary, ignore=shutil.ignore_patterns(SCRATCH, ".*"))
