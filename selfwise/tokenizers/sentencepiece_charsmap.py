"""SentencePiece's normalizer: the longest of its rules that fits, from left to right.

The `tokenizers` library reads the same rules, but takes user-perceived characters at once, and so
loses marks that follow a letter with a rule ("H̲" becomes "h") and leaves half-width kana with
voicing marks alone.
"""

import numpy as np

_LABEL, _VALUE = 2**31 | 0xFF, 2**31 - 1  # bits of a unit of the trie
# SentencePiece's own tables have keys of up to 12 bytes, and 264,000 ways. Ends of keys may
# share nodes, so the ways are not bounded by the nodes; and a damaged table may have a circle.
MAX_KEY_BYTES, MAX_WAYS = 1_024, 2**22


class Charsmap:
    """Rewrites texts with the rules of a model's `precompiled_charsmap`."""

    def __init__(self, blob: bytes):
        self.rules = read_rules(blob)
        self._single = {ord(key): to for key, to in self.rules.items() if len(key) == 1}
        self._long = {key: to for key, to in self.rules.items() if len(key) > 1}
        self._later = {c for key in self._long for c in key[1:]}
        self._most = max(map(len, self.rules), default=1)

    def __call__(self, text: str) -> str:
        if self._later.isdisjoint(text):
            return text.translate(self._single)
        parts, at = [], 0
        while at < len(text):
            lengths = range(min(self._most, len(text) - at), 0, -1)
            fits = next((n for n in lengths if text[at : at + n] in self.rules), 0)
            part = text[at : at + max(fits, 1)]
            parts.append(self.rules.get(part, part))
            at += len(part)
        return "".join(parts)


def read_rules(blob: bytes) -> dict[str, str]:
    """What is replaced by what: the keys of a double-array trie (darts-clone), level by level.

    Layout: size of the trie in bytes, its units of four bytes each, then the replacements, each
    ended by a zero byte; a unit's value is where its replacement begins.

    Raises ValueError for a damaged trie.
    """
    try:
        return _walk_trie(blob)
    except (ValueError, IndexError) as error:
        raise ValueError("its table of characters to replace is damaged") from error


def _walk_trie(blob: bytes) -> dict[str, str]:
    size = int.from_bytes(blob[:4], "little")
    units = np.frombuffer(blob[4 : 4 + size], "<u4").astype(np.int64)
    pool = blob[4 + size :]
    nodes, keys = _offset(units[:1]), [b""]
    labels = np.arange(1, 256)
    replacements: dict[str, str] = {}
    ways = 0
    while len(nodes):
        ways += len(nodes)
        if ways > MAX_WAYS or len(keys[0]) > MAX_KEY_BYTES:
            raise ValueError("the trie has a circle")
        children = nodes[:, None] ^ labels
        inside = children < len(units)
        fits = inside & ((units[np.where(inside, children, 0)] & _LABEL) == labels)
        parent, label = np.nonzero(fits)
        where = children[parent, label]
        keys = [keys[p] + bytes([c]) for p, c in zip(parent.tolist(), labels[label].tolist())]
        nodes = where ^ _offset(units[where])
        for i in np.flatnonzero(units[where] >> 8 & 1):
            start = int(units[nodes[i]] & _VALUE)
            replacements[keys[i].decode()] = pool[start : pool.index(0, start)].decode()
    return replacements


def _offset(units: np.ndarray) -> np.ndarray:
    return (units >> 10) << ((units & (1 << 9)) >> 6)
