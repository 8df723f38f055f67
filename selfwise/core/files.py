"""Atomic files, a lock, the cache folder, and digests of contents."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import escape
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import IO, Any, TypeVar
from uuid import uuid4

import numpy as np
from filelock import FileLock

from selfwise.core.own_files import (
    check_file,
    flush_to_disk,
    make_parents,
    name_errors,
    read_own,
    remove_own,
)
from selfwise.core.plain_data import require_mapping

T = TypeVar("T")
UNFINISHED = ".writing"  # the ending of temporary files' and folders' names
STALE_SECONDS = 24 * 3600  # older unfinished files belong to a killed process


def cache_dir(name: str) -> Path:
    """Return the folder of one kind of cache in `$SELFWISE_CACHE`, or in the user's cache folder.

    It may be deleted at any time when no run is reading it.
    """
    home = os.environ.get("SELFWISE_CACHE")
    return (Path(home) if home else Path.home() / ".cache" / "selfwise") / name


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write a file or a folder to, then rename it to `path`.

    The contents are flushed to the disk before the rename, so that even after a crash `path` is
    either whole or unchanged. An error removes the temporary file. A file replaces the file at
    `path`; a folder replaces an empty folder, and raises OSError for any other.

    Raises ValueError if `path` is a link, a pipe or the like. System errors name `path`.
    """
    _check_replaceable(path)
    with name_errors(path):
        make_parents(path.parent)
    remove_unfinished(path.parent, escape(path.name), age=STALE_SECONDS)
    # the name is unique on all machines that share the folder
    temporary = path.with_name(f".{path.name}.{uuid4().hex}{UNFINISHED}")
    try:
        with name_errors(path, temporary):
            yield temporary
            _check_replaceable(path)
            publish(temporary, path)
    except BaseException:
        with suppress(OSError):  # the first error is the one to report
            remove_own(temporary)
        raise


def _check_replaceable(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        check_file(path)


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file with `atomic_write`."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an npy file as np.save, whose errors on a full disk have neither a cause nor a name."""
    with name_errors(path), path.open("wb") as stream:
        np.save(_Writer(stream), array, allow_pickle=False)


class _Writer:
    """A stream that numpy writes to through Python, and not through its descriptor."""

    def __init__(self, stream: IO[bytes]):
        self.write = stream.write


def read_json(path: Path, format: int, build: Callable[[Mapping[str, Any]], T]) -> T | None:
    """Return what `build` makes of a JSON file with a `format` number; None without a file.

    Raises ValueError naming the file if it cannot be read or has another format.
    """
    if not path.is_file():
        return None
    try:
        content = require_mapping(json.loads(read_own(path)), "the file")
        if content["format"] != format:
            raise ValueError(f"its format is {content['format']}, not {format}")
        return build(content)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(f"{path} cannot be read: {reason}") from error


def publish(source: Path, path: Path) -> None:
    """Flush a file or folder to the disk, then rename it to `path`."""
    for part in [*source.rglob("*"), source] if source.is_dir() else [source]:
        flush_to_disk(part)
    os.replace(source, path)
    for folder in dict.fromkeys([path.parent, source.parent]):
        flush_to_disk(folder)


def remove_unfinished(folder: Path, pattern: str = "*", *, age: float = 0) -> None:
    """Remove temporary files that killed processes left behind, if they are `age` seconds old.

    `pattern` matches the final names of the files.
    """
    for path in folder.glob(f".{pattern}.*{UNFINISHED}"):
        with suppress(OSError):  # another process was faster
            if time.time() - path.lstat().st_mtime >= age:
                remove_own(path)


@contextmanager
def hold_lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock file `path`, which stays. The system releases the lock if the process dies.

    Child processes do not inherit the lock. The file's contents stay as they are.

    Raises TimeoutError if another process holds the lock and `wait` is False, and ValueError if
    `path` is a link, a pipe or the like.
    """
    check_file(path)
    make_parents(path.parent)
    with FileLock(path, blocking=wait):
        yield


def digest(*parts: str | bytes | np.ndarray) -> str:
    """Return 32 hex digits that depend on every part, its length, and the order."""
    hashed = blake2b(digest_size=16)
    for part in parts:
        whole = part.encode() if isinstance(part, str) else part
        data = np.frombuffer(whole, np.uint8) if isinstance(whole, bytes) else whole
        hashed.update(data.nbytes.to_bytes(8, "big"))
        hashed.update(np.ascontiguousarray(data).reshape(-1).view(np.uint8).data)
    return hashed.hexdigest()


def hash_file(path: Path, algorithm: str = "sha256") -> bytes:
    """Return the hash of all bytes of a file."""
    with path.open("rb") as stream:
        return file_digest(stream, algorithm).digest()
