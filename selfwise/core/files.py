"""Atomic files, a lock, the cache folder, and digests of contents."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import escape
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import numpy as np
from filelock import FileLock

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
    either whole or unchanged. An error removes the temporary file. A file replaces what is at
    `path`; a folder replaces an empty folder, and raises OSError for any other.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_unfinished(path.parent, escape(path.name), age=STALE_SECONDS)
    # the name is unique on all machines that share the folder
    temporary = path.with_name(f".{path.name}.{uuid4().hex}{UNFINISHED}")
    try:
        yield temporary
        publish(temporary, path)
    except BaseException:
        _remove(temporary)
        raise


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file with `atomic_write`."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def read_json(path: Path, format: int, build: Callable[[Mapping[str, Any]], T]) -> T | None:
    """Return what `build` makes of a JSON file with a `format` number; None without a file.

    Raises ValueError naming the file if it cannot be read or has another format.
    """
    if not path.is_file():
        return None
    try:
        content = require_mapping(json.loads(path.read_text(encoding="utf-8")), "the file")
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
    flush_to_disk(path.parent)


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


def remove_unfinished(folder: Path, pattern: str = "*", *, age: float = 0) -> None:
    """Remove temporary files that killed processes left behind, if they are `age` seconds old.

    `pattern` matches the final names of the files.
    """
    for path in folder.glob(f".{pattern}.*{UNFINISHED}"):
        with suppress(OSError):  # another process was faster
            if time.time() - path.stat().st_mtime >= age:
                _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def hold_lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock file `path`, which stays. The system releases the lock if the process dies.

    Child processes do not inherit the lock.

    Raises TimeoutError if another process holds the lock and `wait` is False.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
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
