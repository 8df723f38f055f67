"""Parts of error messages: names that the user may have meant, and short names of folders."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

from selfwise.core.foreign_names import find_equivalent


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Build the end of an error message: the nearest name, or all names if they are few.

    Another tool's word for one of the names counts as nearer than any spelling.
    """
    candidates = sorted(names)
    if (equivalent := find_equivalent(name, candidates)) is not None:
        return f"; did you mean {equivalent!r}?"
    close = get_close_matches(name, candidates, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; there are: {', '.join(candidates)}" if 0 < len(candidates) <= 30 else ""


def shorten_folder_names(folders: Sequence[Path]) -> list[str]:
    """Shorten each folder to the fewest last parts that no other folder has."""
    paths = [folder.resolve().parts for folder in folders]
    return ["/".join(_end(path, {other for other in paths if other != path})) for path in paths]


def _end(path: tuple[str, ...], others: set[tuple[str, ...]]) -> tuple[str, ...]:
    for length in range(1, len(path)):
        if all(other[-length:] != path[-length:] for other in others):
            return path[-length:]
    return path
