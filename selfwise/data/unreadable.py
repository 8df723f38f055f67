"""Files that cannot be read: their messages, and the errors that are about a file."""

import errno
from os import PathLike
from typing import NamedTuple

from selfwise.data.regular_files import special_kind

# Of the system's errors these are about one file; a full table of open files is not its fault.
FILE_ERRNOS = (
    *(None, errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR),
    *(errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL),
)


class UnreadableFile(ValueError):
    """A file of another kind, or a damaged one. The text is the reason, without the path."""


class BrokenFile(NamedTuple):
    """A file that cannot be read, and why."""

    row: int
    reason: str


class ReadError(ValueError):
    """An example that cannot be read, in one sentence; also when a loader process found it.

    torch raises a worker's error again as the same type, with the worker's whole traceback for a
    text; its last line is the sentence.
    """

    def __init__(self, text: str):
        name = f"{type(self).__module__}.{type(self).__qualname__}: "
        super().__init__(text.rpartition(name)[2].rstrip("\n"))


def check_not_special(path: str | PathLike[str]) -> None:
    """Raise UnreadableFile for a pipe, a socket or a device, which would be waited for."""
    if kind := special_kind(path):
        raise UnreadableFile(f"{kind}, not a file")
