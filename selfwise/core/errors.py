"""Names: help for one that is not known, and short ones for folders."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message: the nearest known name, or the known names if they are few."""
    known = sorted(known)
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are: {', '.join(known)}" if 0 < len(known) <= 30 else ""


def told_apart(folders: Sequence[Path]) -> list[str]:
    """The shortest name of each folder that no other has: its last part, or its last parts."""
    paths = [folder.resolve().parts for folder in folders]
    return ["/".join(_end(path, {other for other in paths if other != path})) for path in paths]


def _end(path: tuple[str, ...], others: set[tuple[str, ...]]) -> tuple[str, ...]:
    for length in range(1, len(path)):
        if all(other[-length:] != path[-length:] for other in others):
            return path[-length:]
    return path
