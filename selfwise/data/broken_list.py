"""The list of broken files in a run folder: what a run left out, later commands leave out too."""

from collections.abc import Collection, Sequence
from pathlib import Path

from selfwise.core.own_files import read_own


def read_listed(path: Path) -> set[str]:
    """Return the lines of the list; empty where the run left nothing out."""
    return set(read_own(path).decode().splitlines()) if path.is_file() else set()


def check_listed(broken: Sequence[str], listed: Collection[str], path: Path) -> None:
    """Raise ValueError if a file is broken that the list does not name."""
    new = [name for name in broken if name not in listed]
    if new:
        files = "1 file" if len(new) == 1 else f"{len(new):,} files"
        raise ValueError(
            f"{files} cannot be read, such as {new[0]}, and {path} does not list it: remove the "
            "file, or leave it out with --skip-broken"
        )
