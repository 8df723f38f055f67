"""How much of a text a run was trained on: whether pieces of it occur there token by token."""

import numpy as np
from jaxtyping import Int64, UInt, UInt64

from selfwise.data.text.corpus import Corpus

PIECES, FIRST = 64, 4  # pieces that are looked for, and their tokens that are hashed
LENGTH, LEAST = 128, 32  # characters of a piece, and of the shortest: less may be in any text
BLOCK = 2**22  # tokens that are hashed at a time
PRIMES = np.array(
    [0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63], np.uint64
)


def share_seen(text: Corpus, trained: Corpus) -> float:
    """The share of pieces of `text`, 64 of 128 characters spread evenly, that are in `trained`.

    Both have the tokens of one tokenizer. Of documents shorter than a piece, those of 32
    characters or more are looked for as wholes.
    """
    pieces = _pieces(text)
    keys = np.array([_keys(piece[:FIRST])[0] for piece in pieces], np.uint64)
    left = dict(enumerate(pieces))
    for start in range(0, len(trained.tokens), BLOCK):
        block = trained.tokens[start : start + BLOCK + FIRST - 1]
        if len(block) < FIRST or not left:
            break
        hashed = _keys(block)
        for at in np.flatnonzero(np.isin(hashed, keys[list(left)])).tolist():
            for number in [n for n in left if keys[n] == hashed[at]]:
                if _is_there(left[number], trained, start + at):
                    del left[number]
    return 1 - len(left) / len(pieces) if pieces else 0.0


def _pieces(text: Corpus) -> list[UInt[np.ndarray, "k"]]:
    each = text.size / max(1, text.characters)  # tokens of a character
    length, least = (max(FIRST, round(each * n)) for n in (LENGTH, LEAST))
    long = text.documents[text.documents[:, 1] - text.documents[:, 0] >= least]
    ends = np.cumsum(long[:, 1] - long[:, 0])
    if not len(ends):
        return []
    found = []
    for place in np.linspace(0, ends[-1] - 1, PIECES).astype(int).tolist():
        start, stop = map(int, long[np.searchsorted(ends, place, side="right")])
        begin = stop - int(ends[np.searchsorted(ends, place, side="right")] - place)
        begin = max(start, min(begin, stop - length))
        found.append(np.asarray(text.tokens[begin : min(begin + length, stop)]))
    return found


def _keys(tokens: UInt[np.ndarray, "t"]) -> UInt64[np.ndarray, "k"]:
    """A number for each run of FIRST tokens."""
    wide = np.asarray(tokens).astype(np.uint64)
    n = len(wide) - FIRST + 1
    found = np.zeros(n, np.uint64)
    for i in range(FIRST):
        found += wide[i : i + n] * PRIMES[i]
    return found


def _is_there(piece: UInt[np.ndarray, "k"], trained: Corpus, at: int) -> bool:
    """Whether a piece is at this place, inside a document that was trained on."""
    if not np.array_equal(trained.tokens[at : at + len(piece)], piece):
        return False
    spans: Int64[np.ndarray, "d 2"] = trained.documents
    number = int(np.searchsorted(spans[:, 1], at, side="right"))
    return number < len(spans) and bool(spans[number, 0] <= at < spans[number, 1])
