"""Mask tokens: choose them, and replace them.

Everything is a function of the batch and of numbers that are handed in, works on the batch's
device and waits for none. A view has k places in every row, whatever the row's length, so that
shapes never change: `where` they are, the `target` there, and which of them are `chosen`.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from selfwise.core.device import to_float64
from selfwise.core.types import TextBatch, Vocabulary

MASKED, RANDOM = 0.8, 0.1  # BERT, section 3.1; the rest stays what it was


class MaskedTokens(NamedTuple):
    """A batch with hidden tokens, and what they were."""

    batch: TextBatch  # as the encoder sees it
    where: Int64[Tensor, "b k"]  # k different positions
    target: Int64[Tensor, "b k"]
    chosen: Bool[Tensor, "b k"]  # where there is nothing to guess: False


def id_table(ids: tuple[int, ...], size: int) -> Bool[Tensor, "v"]:
    """Return a table of the vocabulary that is True at these ids."""
    table = torch.zeros(size, dtype=torch.bool)
    table[list(ids)] = True
    return table


def text_ids(vocab: Vocabulary) -> Int64[Tensor, "p"]:
    """List the ids of text: all but the special tokens."""
    return (~id_table(vocab.special, vocab.size)).nonzero()[:, 0]


def count_valid_tokens(batch: TextBatch) -> Int64[Tensor, "b"]:
    """Count the real tokens of each row, including special tokens."""
    if batch.valid is None:
        return batch.index.new_full((len(batch.ids),), batch.ids.shape[1])
    return batch.valid.sum(dim=1)


def maskable_positions(batch: TextBatch, special: Bool[Tensor, "v"]) -> Bool[Tensor, "b n"]:
    """True at text: neither padding nor a special token.

    [UNK] counts as special here. BERT's code leaves out [CLS] and [SEP] alone, and fairseq
    nothing.
    """
    text = ~special[batch.ids]
    return text if batch.valid is None else text & batch.valid


def share_at(progress: float, first: float, last: float | None) -> float:
    """Return the fraction to mask: it changes linearly from `first` to `last` during a run.

    In Ankner et al. 2023 (arXiv:2305.15096) it falls from 30 to 15 %. None keeps `first`.
    """
    return first if last is None else first + (last - first) * progress


def num_to_mask(length: Int64[Tensor, "b"], share: float) -> Int64[Tensor, "b"]:
    """Return the number of tokens that BERT's code masks in a row: rounded, and at least 1.

    Half goes to the even number, in Python and here; in float64, to round the same product.
    """
    wanted = (to_float64(length) * share).round().long().clamp_min(1)
    return wanted.to(length.device)


def max_masked(n: int, share: float) -> int:
    """`num_to_mask` of a full row of n tokens: the places of a view."""
    return max(1, round(n * share))


def choose_positions(
    candidate: Bool[Tensor, "b n"],
    score: Float[Tensor, "b n"],
    count: Int64[Tensor, "b"],
    k: int,
) -> tuple[Int64[Tensor, "b k"], Bool[Tensor, "b k"]]:
    """Return positions (b k) of which the first `count` are chosen: the candidates of the lowest
    scores.

    With uniform scores every choice is equally likely. Fewer if there are fewer candidates. The
    sort is stable, so that equal scores mean the same on every device.
    """
    order = score.masked_fill(~candidate, 2.0).argsort(dim=1, stable=True)[:, :k]
    within = torch.arange(k, device=order.device) < count[:, None]
    return order, within & candidate.gather(1, order)


def sort_masked_first(
    covered: Bool[Tensor, "b n"], k: int
) -> tuple[Int64[Tensor, "b k"], Bool[Tensor, "b k"]]:
    """Return up to k masked positions of each row first (b k), and which of the k are masked."""
    order = (~covered).byte().argsort(dim=1, stable=True)[:, :k]
    return order, covered.gather(1, order)


def apply_mask(
    batch: TextBatch,
    where: Int64[Tensor, "b k"],
    chosen: Bool[Tensor, "b k"],
    *,
    kind: Float[Tensor, "b k"],
    other: Int64[Tensor, "b k"],
    mask: int,
) -> MaskedTokens:
    """Replace chosen tokens by the mask or by the `other` token, or leave them.

    `kind`, uniform in [0, 1), decides for each token alone, also within a word: below 0.8 the
    mask, below 0.9 the other token, else the token stays. The loss reads all three.
    """
    target = batch.ids.gather(1, where)
    unmasked = torch.where(kind < MASKED + RANDOM, other, target)
    inputs = torch.where(chosen, torch.where(kind < MASKED, mask, unmasked), target)
    # the positions of a row differ, so that nothing is written twice
    ids = batch.ids.scatter(1, where, inputs)
    return MaskedTokens(batch._replace(ids=ids), where, target, chosen)
