"""Files and folders that selfwise changes in place: regular ones alone, and never through a link.

A run folder may come from somebody else. Where a link, a pipe, a socket or a device has the name of
one of its files, writing would destroy a file outside of the folder, or wait forever. Links to the
run folder itself are fine: only its entries are checked.
"""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Literal

KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
# O_NONBLOCK: opening a pipe that nobody writes to does not wait
SAFE_FLAGS = sum(
    getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK", "O_BINARY")
)
READ_FLAGS = SAFE_FLAGS & ~getattr(os, "O_NOFOLLOW", 0)
SYSTEM_FOLDERS = ("/dev", "/proc")  # links in them lead to what a process has open
APART = {"ab": os.O_WRONLY | os.O_APPEND, "r+b": os.O_RDWR}


def check_file(path: Path) -> None:
    """Raise ValueError if there is something at `path` that is not a regular file."""
    _check_kind(path, stat.S_IFREG)


def check_folder(path: Path) -> None:
    """Raise ValueError if there is something at `path` that is not a folder, such as a link to
    one."""
    _check_kind(path, stat.S_IFDIR)


def open_own(path: Path, mode: Literal["r+b", "ab"]) -> BinaryIO:
    """Open a regular file to change it in place or to append to it; create it if it is missing.

    The name of a new file is on the disk before this returns. Raises ValueError for anything but a
    regular file, and for a file with a second name, which would change with it.
    """
    check_file(path)
    descriptor = _open_descriptor(path, mode)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(_describe(path, status.st_mode, stat.S_IFREG))
        if status.st_nlink > 1:
            raise ValueError(
                f"{path} has {status.st_nlink} names (hard links), and a change would show under "
                "all of them: put a copy of the file in its place"
            )
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, mode)


def read_own(path: Path, size: int = -1) -> bytes:
    """Read a file or its first `size` bytes, also through a link.

    Raises ValueError for a pipe, a folder and the like.
    """
    with name_errors(path):
        descriptor = os.open(path, os.O_RDONLY | READ_FLAGS)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise ValueError(_describe(path, mode, stat.S_IFREG))
    with os.fdopen(descriptor, "rb") as file, name_errors(path):
        return file.read(size)


def check_readable(path: Path) -> None:
    """Raise ValueError for a pipe, a folder and the like; a link to a file is fine."""
    with suppress(FileNotFoundError):  # the code that opens it reports the reason
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            raise ValueError(_describe(path, mode, stat.S_IFREG))


def make_folder(path: Path) -> None:
    """Create a folder and its parents, if it is missing, so that a power cut does not undo it.

    Raises ValueError if there is something else at `path`, such as a link to a folder.
    """
    check_folder(path)
    make_parents(path)


def make_parents(path: Path) -> None:
    """Create a folder and its parents as `make_folder`, but accept a link to a folder."""
    missing = [one for one in (path, *path.parents) if not one.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for one in missing:
        flush_to_disk(one.parent)


def remove_own(path: Path) -> None:
    """Remove a file, a folder with all that it holds, or a link without its target."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_run(folder: Path) -> None:
    """Remove a run folder after an error; of a link to a folder, what the folder holds.

    Files that cannot be removed stay: the first error is the one to report.
    """
    with suppress(OSError):
        for path in folder.iterdir() if folder.is_symlink() else [folder]:
            with suppress(OSError):
                _remove_all(path)


def _remove_all(path: Path) -> None:
    """Remove as `remove_own`, and skip in a folder the entries that cannot be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def flush_to_disk(path: Path) -> None:
    """Wait until the contents of a file, or the names in a folder, are on the disk.

    Windows cannot open folders, and flushes only files that are open for writing.
    """
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def name_errors(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Add `path` to a system's error that names no file, or the temporary file of `path`."""
    try:
        yield
    except OSError as error:
        inside = temporary is not None and str(error.filename).startswith(str(temporary))
        if error.errno is not None and (error.filename is None or inside):
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


def _open_descriptor(path: Path, mode: Literal["r+b", "ab"]) -> int:
    flags = APART[mode] | SAFE_FLAGS
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # appeared after the check
            check_file(path)
        raise
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:  # another process has created it in between
        return os.open(path, flags)
    try:
        flush_to_disk(path.parent)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_kind(path: Path, expected: int) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if stat.S_IFMT(mode) != expected:
        raise ValueError(_describe(path, mode, expected))


def _describe(path: Path, mode: int, expected: int) -> str:
    kind = KINDS.get(stat.S_IFMT(mode), "a special file")
    advice = "remove it, then repeat the command"
    if _leads_to_device(path, mode):
        advice = "selfwise writes only to regular files and folders: choose another place"
    elif stat.S_ISLNK(mode):
        advice = "selfwise does not write through links: put a copy of its target in its place"
    return f"{path} is {kind}, not {KINDS[expected]}: {advice}"


def _leads_to_device(path: Path, mode: int) -> bool:
    """Return whether a path is a device, or a name such as /dev/stdout for an open file."""
    if stat.S_ISLNK(mode):
        if any(path.absolute().is_relative_to(system) for system in SYSTEM_FOLDERS):
            return True
        with suppress(OSError):
            mode = os.stat(path).st_mode
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
