"""What is not a regular file: to read a named pipe or a device can wait for ever."""

import stat
from os import PathLike, stat_result
from pathlib import Path

KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISDIR, "a folder"),
)


def describe_irregular(path: str | PathLike[str]) -> str:
    """ "a named pipe, not a file", or nothing for a regular file and for what is not there."""
    try:
        status = Path(path).stat()
    except OSError:
        return ""  # whoever opens it reports that
    return describe_status(status)


def describe_status(status: stat_result) -> str:
    """`describe_irregular` of what `stat` gave."""
    kinds = [name for is_kind, name in KINDS if is_kind(status.st_mode)]
    return f"{kinds[0]}, not a file" if kinds else ""


def check_regular(path: str | PathLike[str]) -> None:
    """Raises ValueError if `path` is there and is not a regular file."""
    if what := describe_irregular(path):
        raise ValueError(f"{path}: {what}")
