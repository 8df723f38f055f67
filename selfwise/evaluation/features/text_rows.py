"""Texts as rows of token ids, with the special tokens that an encoder expects around them."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64

from selfwise.data.text.labelled import Texts
from selfwise.tokenizers.tokenizer import Tokenizer


class TokenRow(NamedTuple):
    """A text, or a pair, with its special tokens."""

    ids: np.ndarray
    segment: np.ndarray


def find_special_tokens(tokenizer: Tokenizer) -> tuple[list[int], list[int], list[int]]:
    """Return tokens to put before a text, behind it, and between the two texts of a pair.

    BERT's `[CLS] A [SEP] B [SEP]`, RoBERTa's `<s> A </s></s> B </s>`, GPT's `A <|endoftext|>`: what
    the vocabulary has roles for.
    """
    vocabulary = tokenizer.vocabulary
    # GPT-2 has one token for both ends, and a text begins without it
    both = vocabulary.first is not None and vocabulary.first != vocabulary.last
    first = [vocabulary.first] if both else []
    last = [] if vocabulary.last is None else [vocabulary.last]
    doubled = tokenizer.piece(vocabulary.first or 0) == "<s>" if first else False
    return [token for token in first if token is not None], last, last * 2 if doubled else last


def build_text_row(ids: np.ndarray, tokenizer: Tokenizer) -> TokenRow:
    """Return a text between its special tokens."""
    first, last, _ = find_special_tokens(tokenizer)
    return _join_parts([first, ids, last], [])


def build_pair_rows(
    texts: Texts, tokenizer: Tokenizer, *, length: int
) -> tuple[list[TokenRow], Int64[np.ndarray, "n"]]:
    """Return pairs with segments 0 and 1, cut to `length`, the longer part first, and how many
    tokens of each pair were cut.
    """
    assert texts.pairs is not None
    first, last, between = find_special_tokens(tokenizer)
    room = length - len(first) - len(between) - len(last)
    rows, cut = [], []
    for a, b in zip(tokenizer.encode(texts.texts), tokenizer.encode(texts.pairs)):
        shortened_a, shortened_b = _truncate_pair(a, b, room)
        rows.append(_join_parts([first, shortened_a, between], [shortened_b, last]))
        cut.append(len(a) + len(b) - len(shortened_a) - len(shortened_b))
    return rows, np.array(cut, np.int64)


def _join_parts(first: list[Any], second: list[Any]) -> TokenRow:
    a, b = (
        np.concatenate([np.asarray(p, np.int64) for p in [*side, []]]) for side in (first, second)
    )
    return TokenRow(np.concatenate([a, b]), np.repeat([0, 1], [len(a), len(b)]))


def _truncate_pair(a: np.ndarray, b: np.ndarray, room: int) -> tuple[np.ndarray, np.ndarray]:
    """Both cut so that they fit together: the longer one first, from its end."""
    a = a[: min(len(a), max(room - len(b), room // 2))]
    return a, b[: room - len(a)]
