"""Files and what is told from them: digests."""

from hashlib import blake2b

import numpy as np


def digest(*parts: str | bytes | np.ndarray) -> str:
    """32 hex digits that depend on every part, its length, and their order."""
    hashed = blake2b(digest_size=16)
    for part in parts:
        whole = part.encode() if isinstance(part, str) else part
        data = np.frombuffer(whole, np.uint8) if isinstance(whole, bytes) else whole
        hashed.update(data.nbytes.to_bytes(8, "big"))
        hashed.update(np.ascontiguousarray(data).reshape(-1).view(np.uint8).data)
    return hashed.hexdigest()
