"""Regular files alone are read: a named pipe among them would be waited for without end."""

import os
import stat
from pathlib import Path

SPECIAL_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def special_kind(path: str | os.PathLike[str]) -> str:
    """Name the kind of a path that is not a regular file or folder; "" for both and for no file."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # the code that opens it reports the reason
        return ""
    return SPECIAL_KINDS.get(stat.S_IFMT(mode), "")


def check_regular(path: str | os.PathLike[str]) -> None:
    """Raise ValueError for a pipe, a socket or a device, which may never end or never begin."""
    kind = special_kind(path)
    if kind:
        raise ValueError(f"{Path(path)}: {kind} cannot be read; copy its content to a file")
