"""What files hold, as a fingerprint: read once, remembered for as long as they do not change."""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from selfwise.core.files import cache_dir, digest


def fingerprint_files(root: Path, files: Sequence[Path]) -> str:
    """A digest of the names, below `root`, and of every byte of the files."""
    base = root if root.is_dir() else root.parent
    names = [os.fsencode(os.path.relpath(file, base)) for file in files]
    status = [file.stat() for file in files]
    stamp = [f"{one.st_size} {one.st_mtime_ns} {one.st_ino}" for one in status]
    cache = cache_dir("text") / "known" / digest(os.fsencode(base.resolve()), *names, *stamp)
    if cache.is_file():
        return cache.read_text(encoding="ascii")
    hashes = []
    for file in files:
        with file.open("rb") as stream:
            hashes.append(hashlib.file_digest(stream, "blake2b").digest())
    fingerprint = digest(*names, *hashes)
    _save_fingerprint(cache, fingerprint)
    return fingerprint


def _save_fingerprint(cache: Path, fingerprint: str) -> None:
    """For the next time; a disk that is full or read-only only makes the next time slower."""
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        number, half = tempfile.mkstemp(dir=cache.parent, prefix=".")
        with os.fdopen(number, "w", encoding="ascii") as stream:
            stream.write(fingerprint)
        os.replace(half, cache)
    except OSError:
        return
