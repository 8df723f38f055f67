"""An n-gram model of bytes, as a baseline for language models (Chen and Goodman 1998, TR-10-98)."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, UInt8, UInt64

ORDER = 8  # bytes of the longest n-gram: as many as fit into 64 bits
BOUNDARY = 0xFF  # between documents: UTF-8 has no such byte
SYMBOLS = 256
BYTE = np.uint64(8)
BYTES_AT_ONCE = 2**22  # whose probabilities are computed together


class Level(NamedTuple):
    """The n-grams of one length with their counts, and the totals of each context."""

    grams: UInt64[np.ndarray, "g"]  # ascending; the oldest byte has the highest place
    counts: Int64[np.ndarray, "g"]
    contexts: UInt64[np.ndarray, "c"]  # ascending: n-grams without their last byte
    totals: Int64[np.ndarray, "c"]
    backoff: Float64[np.ndarray, "c"]  # what is left for shorter contexts, as a fraction
    discounts: Float64[np.ndarray, "4"]  # of counts of 0, 1, 2, and 3 or more


class KneserNey:
    """Interpolated Kneser-Ney smoothing with three discounts for each length.

    The longest n-grams have their counts. Shorter ones have the number of different bytes before
    them (equation 4.9 in Chen and Goodman), and below single bytes all 256 are equally likely.

    Args:
        documents: the training texts.
        order: bytes of the longest n-gram, 1 to 8.

    Raises ValueError for another order, or without text.
    """

    def __init__(self, documents: list[bytes], *, order: int = ORDER):
        if not 1 <= order <= ORDER:
            raise ValueError(f"order must be from 1 to {ORDER} bytes, got {order}")
        if not any(documents):
            raise ValueError("an n-gram model needs text to count in, and there is none")
        self.order = order
        grams = _pack_ngrams(_join_documents(documents, order), order)
        distinct, counts = np.unique(grams, return_counts=True)
        levels = [_measure_level(distinct, counts)]
        for length in range(order - 1, 0, -1):
            mask = np.uint64(2 ** (8 * length) - 1)
            distinct, counts = np.unique(distinct & mask, return_counts=True)
            levels.insert(0, _measure_level(distinct, counts))
        self.levels = levels

    def nats(self, documents: list[bytes]) -> Float64[np.ndarray, "n"]:
        """Return -log p of each byte of the documents and of the end of each document."""
        return np.concatenate(list(self._iterate_nats(documents)))

    def total_nats(self, documents: list[bytes]) -> float:
        """Return the sum of -log p over all bytes of the documents and their ends."""
        return float(sum(nats.sum() for nats in self._iterate_nats(documents)))

    def _iterate_nats(self, documents: list[bytes]) -> Iterator[Float64[np.ndarray, "n"]]:
        text = _join_documents(documents, self.order)
        before = max(1, self.order - 1)
        for start in range(before, len(text), BYTES_AT_ONCE):
            part = text[start - before : start + BYTES_AT_ONCE]
            yield self._measure_nats(_pack_ngrams(part, self.order))

    def _measure_nats(self, longest: UInt64[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
        """Return -log p of the last byte of each n-gram."""
        p = np.full(len(longest), 1 / SYMBOLS)
        for length, level in enumerate(self.levels, 1):
            grams = longest & np.uint64(2 ** (8 * length) - 1)
            counts = _find(level.grams, grams, level.counts)
            context = grams >> BYTE
            totals = _find(level.contexts, context, level.totals)
            backoff = _find(level.contexts, context, level.backoff)
            own = counts - level.discounts[np.minimum(counts, 3)]
            p = np.where(totals > 0, own / np.maximum(totals, 1) + backoff * p, p)
        return -np.log(p)


def _join_documents(documents: list[bytes], order: int) -> UInt8[np.ndarray, "n"]:
    """Return all bytes with a boundary after each document, and boundaries before the first."""
    start = bytes([BOUNDARY]) * max(1, order - 1)
    text = start + b"".join(document + bytes([BOUNDARY]) for document in documents)
    return np.frombuffer(text, np.uint8)


def _pack_ngrams(text: UInt8[np.ndarray, "n"], order: int) -> UInt64[np.ndarray, "m"]:
    """Return the n-gram that ends at each byte after the first boundaries."""
    first = max(1, order - 1)
    packed = np.zeros(len(text) - first, np.uint64)
    for place in range(order):
        end = first - (order - 1) + place
        packed = packed << BYTE | text[end : end + len(packed)].astype(np.uint64)
    return packed


def _measure_level(grams: UInt64[np.ndarray, "g"], counts: Int64[np.ndarray, "g"]) -> Level:
    discounts = _choose_discounts(counts)
    contexts, first = np.unique(grams >> BYTE, return_index=True)
    totals = np.add.reduceat(counts, first)
    discounted = np.add.reduceat(discounts[np.minimum(counts, 3)], first)
    return Level(grams, counts, contexts, totals, discounted / totals, discounts)


def _choose_discounts(counts: Int64[np.ndarray, "g"]) -> Float64[np.ndarray, "4"]:
    """Return the discounts from how many n-grams have counts of 1 to 4 (equation 4.17).

    Where a number is missing, as on very short texts, every discount is a half.
    """
    one, two, three, four = (int((counts == c).sum()) for c in (1, 2, 3, 4))
    if not (one and two and three):
        return np.array([0.0, 0.5, 0.5, 0.5])
    y = one / (one + 2 * two)
    estimates = [1 - 2 * y * two / one, 2 - 3 * y * three / two, 3 - 4 * y * four / three]
    return np.array([0.0, *np.clip(estimates, 0.05, [1, 2, 3])])


def _find(
    keys: UInt64[np.ndarray, "k"], wanted: UInt64[np.ndarray, "n"], values: np.ndarray
) -> np.ndarray:
    """Return the value of each wanted key, 0 where there is none."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)
