"""Windows of words around centers, after frequent words were dropped (arXiv:1310.4546)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from selfwise.core.types import TextBatch

CENTERS = 32  # neighboring words that share negatives; faster than 16 and 64


class Blocks(NamedTuple):
    """Blocks of neighboring centers with the contexts around them."""

    words: Int64[Tensor, "b n"]  # the centers, with `window` words before and behind them
    centers: Int64[Tensor, "b c"]
    pairs: Bool[Tensor, "b c n"]  # True where a word is a context of a center
    negatives: Int64[Tensor, "b k"]


def keep_probability(counts: Int64[Tensor, "v"], threshold: float) -> Float[Tensor, "v"]:
    """Return the probability with which each word stays in the text: sqrt(t / f) + t / f.

    This is the formula of word2vec.c and of gensim; f is a word's fraction of the text. The paper's
    1 - sqrt(t / f), the probability of dropping a word, is another formula (arXiv:1310.4546,
    equation 5). A threshold t of 0 keeps all words.
    """
    if threshold == 0:
        return torch.ones(len(counts))
    ratio = threshold * counts.sum() / counts.clamp_min(1).double()
    return (ratio.sqrt() + ratio).clamp_max(1.0).float()


def noise_distribution(counts: Int64[Tensor, "v"]) -> Float[Tensor, "v"]:
    """Return the cumulative distribution of negatives, to the power 3/4 of the counts (section
    2.2)."""
    total = counts.double().pow(0.75).cumsum(0)
    return (total / total[-1]).float()


def draw_negatives(
    noise: Float[Tensor, "v"], uniform: Float[Tensor, "..."]
) -> Int64[Tensor, "..."]:
    """Return words from their cumulative distribution and numbers in [0, 1)."""
    return torch.searchsorted(noise, uniform, right=True).clamp_max(len(noise) - 1)


def number_documents(batch: TextBatch) -> Int64[Tensor, "b n"]:
    """Return the number of each position's document in its row."""
    b, n = batch.ids.shape
    begins = torch.zeros(b, n + 1, dtype=torch.int64, device=batch.ids.device)
    if batch.starts is not None:
        begins = begins.scatter(1, batch.starts, 1)
    return begins[:, :n].cumsum(1)


def count_blocks(length: int) -> int:
    """Count the blocks of a row of `length` words."""
    return -(-length // CENTERS)


def make_blocks(
    ids: Int64[Tensor, "b n"],
    document: Int64[Tensor, "b n"],
    kept: Bool[Tensor, "b n"],
    reach: Int64[Tensor, "b n"],
    negatives: Int64[Tensor, "b m k"],
    *,
    window: int,
) -> Blocks:
    """Return all rows in blocks of `CENTERS` remaining words.

    Args:
        ids: the words of each row.
        document: the number of each word's document; pairs never cross documents.
        kept: True for the words that remain; windows reach over the other words.
        reach: the window of each center.
        negatives: the negatives of each block of a row.
        window: the largest window.
    """
    blocks = count_blocks(ids.shape[1])
    width = blocks * CENTERS
    places = torch.where(kept, kept.cumsum(1) - 1 + window, width + 2 * window)
    parts = [
        _compact(value, places, width + 2 * window, fill)
        for value, fill in ((ids, 0), (document, -1), (reach, 0))
    ]
    words, owner, radius = (
        part.unfold(1, CENTERS + 2 * window, CENTERS).flatten(0, 1) for part in parts
    )
    negatives = negatives.flatten(0, 1)
    inner = slice(window, window + CENTERS)
    if ids.device.type == "cpu":  # elsewhere, counting them would wait for the device
        filled = (owner[:, window] >= 0).nonzero()[:, 0]
        words, owner, radius, negatives = (
            part[filled] for part in (words, owner, radius, negatives)
        )
    return Blocks(words, words[:, inner], _find_pairs(owner, radius, window), negatives)


def _find_pairs(
    owner: Int64[Tensor, "b n"], radius: Int64[Tensor, "b n"], window: int
) -> Bool[Tensor, "b c n"]:
    """Return which words are contexts of which centers.

    Documents are moved apart by more than a window, so that one comparison of distances decides.
    """
    n = owner.shape[1]
    at = torch.arange(n, device=owner.device, dtype=torch.int32)
    place = at + owner.to(torch.int32) * (2 * n)
    inner = slice(window, n - window)
    distance = (place[:, None] - place[:, inner, None]).abs_()
    reach = torch.where(owner >= 0, radius, 0)[:, inner, None].to(torch.int32)
    return (distance <= reach) & (at[None] != at[inner, None])


def _compact(
    value: Int64[Tensor, "b n"], places: Int64[Tensor, "b n"], width: int, fill: int
) -> Int64[Tensor, "b w"]:
    """Move values to their places in rows of `width`; the place `width` means nowhere."""
    out = value.new_full((len(value), width + 1), fill).scatter(1, places, value)
    return F.pad(out, (0, -1))
