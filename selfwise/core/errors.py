"""Parts of error messages: names that the user may have meant, advice, short names."""

import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from selfwise.core.foreign_names import find_equivalent

FULL = "free some space there, or choose a place on another disk"
# what would be right, where the words of the system do not tell it
ADVICE: Mapping[int | None, str] = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EFBIG: "a limit of the shell (ulimit -f) or of the disk allows no larger file there",
    errno.EROFS: "choose a place on another disk",
    errno.EACCES: "choose another place, or change the permissions",
    errno.EPERM: "choose another place, or change the permissions",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "its links lead in a circle, or to a place where none may be",
}


def describe_system_error(error: OSError) -> str:
    """Return an error of the system as one sentence: the file, the reason, and advice."""
    name = error.filename
    where = "" if name is None else f"{os.fsdecode(name) if isinstance(name, bytes) else name}: "
    advice = ADVICE.get(error.errno, "")
    return f"{where}{error.strerror}" + (f"; {advice}" if advice else "")


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
