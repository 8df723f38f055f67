"""The cache folder, and digests of what is in files."""

import os
from hashlib import blake2b
from pathlib import Path

import numpy as np


def cache_dir(name: str) -> Path:
    """The folder of one kind of cache below `$SELFWISE_CACHE`, or below the user's cache folder.

    It may be deleted at any time when no run is reading it.
    """
    home = os.environ.get("SELFWISE_CACHE")
    return (Path(home) if home else Path.home() / ".cache" / "selfwise") / name


def digest(*parts: str | bytes | np.ndarray) -> str:
    """32 hex digits that depend on every part, its length, and their order."""
    hashed = blake2b(digest_size=16)
    for part in parts:
        whole = part.encode() if isinstance(part, str) else part
        data = np.frombuffer(whole, np.uint8) if isinstance(whole, bytes) else whole
        hashed.update(data.nbytes.to_bytes(8, "big"))
        hashed.update(np.ascontiguousarray(data).reshape(-1).view(np.uint8).data)
    return hashed.hexdigest()
