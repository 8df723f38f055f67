"""Fingerprints of the content of files, cached until the files change."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from selfwise.core.files import cache_dir, digest, hash_file, write_file


def fingerprint_files(root: Path, files: Sequence[Path]) -> str:
    """Return a digest of the names, below `root`, and of every byte of the files."""
    base = root if root.is_dir() else root.parent
    names = [os.fsencode(os.path.relpath(file, base)) for file in files]
    status = [file.stat() for file in files]
    stamp = [f"{one.st_size} {one.st_mtime_ns} {one.st_ino}" for one in status]
    cache = cache_dir("text") / "known" / digest(os.fsencode(base.resolve()), *names, *stamp)
    if cache.is_file():
        return cache.read_text(encoding="ascii")
    fingerprint = digest(*names, *(hash_file(file, "blake2b") for file in files))
    with suppress(OSError):  # on a disk that is full or read-only the next time is slower
        write_file(cache, fingerprint)
    return fingerprint
