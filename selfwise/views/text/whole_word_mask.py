"""Choose whole words, or n-grams of words, up to a budget of tokens.

The papers' code walks through the words of a row in random order and takes what still fits. Here
all rows walk at once: each round takes the longest stretch of the walk in which no decision depends
on another one of that stretch. The choice is that of the walk, exactly.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

# A GPU cannot be asked whether all rows are done without waiting for it, so it always goes through
# all rounds. What is left after them stays unmasked; random rows of 512 tokens needed 7 at most.
ROUNDS = 16


class WordGroups(NamedTuple):
    """The words of each row in their order, filled up to n. A special token ends a word."""

    of: Int64[Tensor, "b n"]  # number of the word at a position, if it is text
    size: Int64[Tensor, "b n"]  # tokens of each word; 0: the word does not exist
    joined: Bool[Tensor, "b n"]  # True: nothing is between this word and the previous one


class _Walk(NamedTuple):
    """The state of the selection in the rows, in the order of the words."""

    open: Bool[Tensor, "b n"]  # not decided yet
    covered: Bool[Tensor, "b n"]  # hidden
    budget: Int64[Tensor, "b 1"]  # tokens that may still be hidden


def group_words(
    ids: Int64[Tensor, "b n"], candidate: Bool[Tensor, "b n"], starts: Bool[Tensor, "v"]
) -> WordGroups:
    """Group the candidates into words: `starts` says which tokens begin one."""
    before = F.pad(candidate[:, :-1], (1, 0))
    begin = candidate & (starts[ids] | ~before)
    of = (begin.cumsum(dim=1) - 1).clamp_min(0)
    none = torch.zeros_like(ids)
    size = none.scatter_add(1, of, candidate.long())
    joined = none.scatter_add(1, of, (begin & before).long()) > 0
    return WordGroups(of, size, joined)


def choose_ngrams(
    groups: WordGroups,
    candidate: Bool[Tensor, "b n"],
    *,
    score: Float[Tensor, "b n"],
    draw: Float[Tensor, "b n"],
    budget: Int64[Tensor, "b"],
    longest: int = 1,
) -> Bool[Tensor, "b n"]:
    """Choose positions to mask: n-grams of up to `longest` words, up to `budget` tokens in a row.

    The words are visited in the order of their `score`. At each, `draw` gives the n of an n-gram
    that begins there, with p(n) proportional to 1 / n (ALBERT, section 3.1; n is at most what is
    there up to a special token). It becomes shorter until it fits what is left of the budget, and
    is left out if one word does not fit, or if a word in it is hidden already.
    """
    totals = _ngram_sizes(groups, longest)
    ngram_length = _draw_ngram_lengths(totals, draw)
    n = score.shape[1]
    rank = score.masked_fill(groups.size == 0, 2.0).argsort(dim=1, stable=True).argsort(dim=1)
    order = rank.argsort(dim=1)
    walk = _Walk(groups.size > 0, torch.zeros_like(candidate), budget[:, None])
    for _ in range(min(ROUNDS, n)):
        walk = _decide_round(walk, totals, ngram_length, rank, order)
        if score.device.type == "cpu" and not walk.open.any():
            break
    return walk.covered.gather(1, groups.of) & candidate


def _ngram_sizes(groups: WordGroups, longest: int) -> list[Int64[Tensor, "b n"]]:
    """Count the tokens of the n-gram at each word, n = 1 to `longest`; 0 if it does not exist."""
    total, exists = groups.size, groups.size > 0
    totals = [total]
    for i in range(1, longest):
        exists = exists & _shift_left(groups.joined, i)
        total = torch.where(exists, total + _shift_left(groups.size, i), 0)
        totals.append(total)
    return totals


def _draw_ngram_lengths(
    totals: list[Int64[Tensor, "b n"]], draw: Float[Tensor, "b n"]
) -> Int64[Tensor, "b n"]:
    """n for each word, with p(n) proportional to 1 / n among those that are there."""
    odds = [1 / n for n in range(1, 1 + len(totals))]
    whole = torch.zeros_like(draw)
    for odd, total in zip(odds, totals):
        whole = whole + odd * (total > 0)
    ngram_length, below = torch.ones_like(totals[0]), 0.0
    for odd, total in zip(odds, totals[1:]):
        below += odd
        ngram_length = ngram_length + ((draw * whole >= below) & (total > 0))
    return ngram_length


def _decide_round(
    walk: _Walk,
    totals: list[Int64[Tensor, "b n"]],
    ngram_length: Int64[Tensor, "b n"],
    rank: Int64[Tensor, "b n"],
    order: Int64[Tensor, "b n"],
) -> _Walk:
    """Decide all words that come before the first one whose decision hangs on another."""
    n = rank.shape[1]
    size, grams = torch.zeros_like(rank), torch.zeros_like(rank)
    for i, total in enumerate(totals):
        fits = (total > 0) & (total <= walk.budget) & (i < ngram_length)
        size, grams = torch.where(fits, total, size), grams + fits
    alive = walk.open & (grams > 0)
    accepted = alive & ~_overlaps_covered(walk.covered, grams, len(totals))
    clash = accepted & (
        _lowest_overlapping_rank(torch.where(accepted, rank, n), grams, len(totals)) < rank
    )
    # what those before in the walk take, all of them accepted as they are
    amount = torch.where(accepted, size, 0)
    before = (amount.gather(1, order).cumsum(dim=1)).gather(1, rank) - amount
    doubtful = alive & (clash | (size > walk.budget - before))
    stop = torch.where(doubtful, rank, n).amin(dim=1, keepdim=True)
    accepted = accepted & (rank < stop)
    covered = walk.covered | _cover_words(accepted, grams, len(totals))
    budget = walk.budget - torch.where(accepted, size, 0).sum(dim=1, keepdim=True)
    # no gram is shorter than its first word
    return _Walk(walk.open & (rank >= stop) & (totals[0] <= budget), covered, budget)


def _overlaps_covered(
    covered: Bool[Tensor, "b n"], grams: Int64[Tensor, "b n"], longest: int
) -> Bool[Tensor, "b n"]:
    """Return whether a word of the n-gram that begins here is covered."""
    overlaps = covered
    for i in range(1, longest):
        overlaps = overlaps | (_shift_left(covered, i) & (grams > i))
    return overlaps


def _cover_words(
    accepted: Bool[Tensor, "b n"], grams: Int64[Tensor, "b n"], longest: int
) -> Bool[Tensor, "b n"]:
    """Return the words of the n-grams that begin where `accepted`."""
    covered = accepted
    for i in range(1, longest):
        covered = covered | _shift_right(accepted & (grams > i), i)
    return covered


def _lowest_overlapping_rank(
    rank: Int64[Tensor, "b n"], grams: Int64[Tensor, "b n"], longest: int
) -> Int64[Tensor, "b n"]:
    """Return the lowest rank among the n-grams that share a word with the one that begins here."""
    n = rank.shape[1]
    over = rank
    for i in range(1, longest):
        over = torch.minimum(over, _shift_right(torch.where(grams > i, rank, n), i, n))
    lowest = over
    for i in range(1, longest):
        lowest = torch.minimum(lowest, torch.where(grams > i, _shift_left(over, i, n), n))
    return lowest


def _shift_left(x: Tensor, by: int, fill: int = 0) -> Tensor:
    """At each word, what is `by` words after it."""
    return F.pad(x[:, by:], (0, min(by, x.shape[1])), value=fill)


def _shift_right(x: Tensor, by: int, fill: int = 0) -> Tensor:
    """At each word, what is `by` words before it."""
    return F.pad(x[:, : max(x.shape[1] - by, 0)], (min(by, x.shape[1]), 0), value=fill)
