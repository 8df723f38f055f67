"""Character n-grams of words, hashed into rows of a table (Bojanowski et al., arXiv:1607.04606)."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

BEGIN, END = "<", ">"  # ends of a word, so that prefixes and suffixes have n-grams of their own
_OFFSET, _PRIME, _UINT32 = 2166136261, 16777619, 0xFFFFFFFF


class WordNgrams(NamedTuple):
    """The n-grams of all words, one word after another."""

    rows: Int64[Tensor, "t"]  # of the table of n-grams
    starts: Int64[Tensor, "v1"]  # where those of each word begin; the last number is t


def list_ngrams(word: str, shortest: int, longest: int) -> list[str]:
    """Return the n-grams of `<word>`, as fastText's `computeSubwords` does.

    An n-gram that is the whole word with its ends is among them if it is short enough.
    """
    text = f"{BEGIN}{word}{END}"
    return [
        text[start : start + length]
        for start in range(len(text))
        for length in range(shortest, longest + 1)
        if start + length <= len(text)
    ]


def hash_ngram(ngram: str) -> int:
    """Return the 32-bit FNV-1a hash of the n-gram's UTF-8 bytes.

    fastText reads bytes as signed, so a byte above 127 also flips the upper 24 bits; we do so too,
    for equal rows.
    """
    value = _OFFSET
    for byte in ngram.encode():
        value ^= byte if byte < 128 else byte | 0xFFFFFF00
        value = value * _PRIME & _UINT32
    return value


def hash_words(
    words: Sequence[str], special: Collection[int], *, buckets: int, shortest: int, longest: int
) -> WordNgrams:
    """Return the rows of the n-grams of each word; special tokens have none."""
    rows: list[int] = []
    starts = np.zeros(len(words) + 1, np.int64)
    row_of: dict[str, int] = {}  # most n-grams belong to several words
    for number, word in enumerate(words):
        if number not in special:
            for ngram in list_ngrams(word, shortest, longest):
                if ngram not in row_of:
                    row_of[ngram] = hash_ngram(ngram) % buckets
                rows.append(row_of[ngram])
        starts[number + 1] = len(rows)
    return WordNgrams(torch.tensor(rows, dtype=torch.int64), torch.from_numpy(starts))
