"""What files hold, as a fingerprint: read once, remembered for as long as they do not change."""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from selfwise.core.files import cache_dir, digest


def of_files(root: Path, files: Sequence[Path]) -> str:
    """A digest of the names, below `root`, and of every byte of the files."""
    base = root if root.is_dir() else root.parent
    names = [os.fsencode(os.path.relpath(file, base)) for file in files]
    status = [file.stat() for file in files]
    stamp = [f"{one.st_size} {one.st_mtime_ns} {one.st_ino}" for one in status]
    known = cache_dir("text") / "known" / digest(os.fsencode(base.resolve()), *names, *stamp)
    if known.is_file():
        return known.read_text(encoding="ascii")
    hashes = []
    for file in files:
        with file.open("rb") as stream:
            hashes.append(hashlib.file_digest(stream, "blake2b").digest())
    told = digest(*names, *hashes)
    _remember(known, told)
    return told


def _remember(known: Path, told: str) -> None:
    """For the next time; a disk that is full or read-only only makes the next time slower."""
    try:
        known.parent.mkdir(parents=True, exist_ok=True)
        number, half = tempfile.mkstemp(dir=known.parent, prefix=".")
        with os.fdopen(number, "w", encoding="ascii") as stream:
            stream.write(told)
        os.replace(half, known)
    except OSError:
        return
