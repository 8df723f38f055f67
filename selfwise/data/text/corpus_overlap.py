"""The fraction of a text that a run was trained on, by exact matches of token sequences."""

import numpy as np
from jaxtyping import Int64, UInt, UInt64

from selfwise.data.text.corpus import Corpus

MAX_PIECES = 64  # that are looked for
PIECE_LENGTH, MIN_LENGTH = (
    128,
    32,
)  # characters of a piece, and of the shortest: less may be in any text
TOKENS_PER_BLOCK = 2**22  # tokens that are hashed at a time
HASH_FACTOR = np.uint64(0x9E3779B185EBCA87)


def measure_overlap(text: Corpus, trained: Corpus) -> float:
    """Return the share of pieces of `text`, 64 of 128 characters spread evenly, that are in
    `trained`.

    Both have the tokens of one tokenizer. Of documents shorter than a piece, those of 32
    characters or more are looked for as wholes.
    """
    length, min_length = _piece_lengths(text)
    pieces = _choose_pieces(text, length, min_length)
    keys = np.array([_hash_runs(piece[:min_length], min_length)[0] for piece in pieces], np.uint64)
    missing = dict(enumerate(pieces))
    for start in range(0, len(trained.tokens), TOKENS_PER_BLOCK):
        block = trained.tokens[start : start + TOKENS_PER_BLOCK + min_length - 1]
        if len(block) < min_length or not missing:
            break
        hashed = _hash_runs(block, min_length)
        for at in np.flatnonzero(np.isin(hashed, keys[list(missing)])).tolist():
            for number in [n for n in missing if keys[n] == hashed[at]]:
                if _occurs_at(missing[number], trained, start + at):
                    del missing[number]
    return 1 - len(missing) / len(pieces) if pieces else 0.0


def _piece_lengths(text: Corpus) -> tuple[int, int]:
    """Return tokens of a piece and of the shortest one, by how many characters a token has."""
    per_character = text.size / max(1, text.characters)
    return max(4, round(per_character * PIECE_LENGTH)), max(4, round(per_character * MIN_LENGTH))


def _choose_pieces(text: Corpus, length: int, min_length: int) -> list[UInt[np.ndarray, "k"]]:
    long = text.documents[text.documents[:, 1] - text.documents[:, 0] >= min_length]
    ends = np.cumsum(long[:, 1] - long[:, 0])
    if not len(ends):
        return []
    pieces = []
    for token in np.linspace(0, ends[-1] - 1, MAX_PIECES).astype(int).tolist():
        document = int(np.searchsorted(ends, token, side="right"))
        start, stop = map(int, long[document])
        begin = max(start, min(stop - int(ends[document] - token), stop - length))
        pieces.append(np.asarray(text.tokens[begin : min(begin + length, stop)]))
    return pieces


def _hash_runs(tokens: UInt[np.ndarray, "t"], length: int) -> UInt64[np.ndarray, "k"]:
    """Return a number for each sequence of that many tokens; rarely one number for two different
    runs."""
    wide = np.asarray(tokens).astype(np.uint64)
    n = len(wide) - length + 1
    hashed = np.zeros(n, np.uint64)
    for i in range(length):
        hashed = hashed * HASH_FACTOR + wide[i : i + n]
    return hashed


def _occurs_at(piece: UInt[np.ndarray, "k"], trained: Corpus, at: int) -> bool:
    """Return whether a piece is at this place, inside a document that was trained on."""
    if not np.array_equal(trained.tokens[at : at + len(piece)], piece):
        return False
    spans: Int64[np.ndarray, "d 2"] = trained.documents
    number = int(np.searchsorted(spans[:, 1], at, side="right"))
    return number < len(spans) and bool(spans[number, 0] <= at < spans[number, 1])
