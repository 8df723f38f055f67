"""Triplet mining in a batch: a negative for each anchor and positive (FaceNet, arXiv:1503.03832).

All functions take the matrix of squared distances, each row's identity, and each row's partners.
Time is n^2 log n, memory n^2: one product, one sort of each row, a binary search for each pair.
The length of a list is fixed before mining, and `chosen` marks the entries that count, so that
nothing waits for a device.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from selfwise.core.errors import did_you_mean
from selfwise.core.types import Step, Term

VIEW_RULES = ("semihard", "hard", "random")  # a view has one partner, so batch_hard equals hard
LABEL_RULES = (*VIEW_RULES, "batch_hard")
LOW_BITS = 2**32 - 1  # the lower half of a key
DESCRIPTIONS = {  # the choice of the negative, in words
    "semihard": "the nearest one that is farther than the positive and within the margin, if any",
    "hard": "the nearest one",
    "random": "a random one",
    "batch_hard": "the nearest one, with the farthest positive",
}


class Triplets(NamedTuple):
    """Rows of the batch. Entries that are not chosen are not triplets, and cost nothing."""

    anchor: Int64[Tensor, "t"]
    positive: Int64[Tensor, "t"]
    negative: Int64[Tensor, "t"]
    chosen: Bool[Tensor, "t"]


def compute_squared_distances(z: Float[Tensor, "n d"]) -> Float[Tensor, "n n"]:
    """Return squared Euclidean distances of all pairs of rows, in float32 or wider.

    They come from one product, |x|^2 + |y|^2 - 2 xy. For unit vectors the error is below 1e-6, so
    a distance can be slightly negative. Autocast is off, because the 8 bits of bf16 would make
    distances multiples of 0.008.
    """
    with torch.autocast(z.device.type, enabled=False):
        z = z.to(torch.promote_types(z.dtype, torch.float32))
        square = z.square().sum(dim=1)
        return torch.addmm(square[:, None] + square, z, z.T, alpha=-2)


def find_positives(identity: Int64[Tensor, "n"]) -> Int64[Tensor, "n k"]:
    """Return the other rows of each row's identity, ascending, padded with the row itself.

    k is one less than the number of rows of the largest identity. Identities may have any sizes;
    the function reads them, so they should be on the CPU.
    """
    order, n = identity.argsort(stable=True), len(identity)
    _, size = identity[order].unique_consecutive(return_counts=True)
    first = (size.cumsum(0) - size).repeat_interleave(size)
    width = int(size.max()) if n else 0
    position = first[:, None] + torch.arange(width, device=identity.device)
    inside = position < (first + size.repeat_interleave(size))[:, None]
    own = torch.arange(n, device=identity.device)[:, None]
    # a row's own place comes last, with the padding
    other = torch.where(inside & (position != own), position, n)
    other = other.sort(dim=1).values[:, : max(0, width - 1)]
    positives = torch.where(other < n, order[other.clamp_max(max(0, n - 1))], order[:, None])
    return torch.empty_like(positives).index_copy_(0, order, positives)


def find_positives_grouped(identity: Int64[Tensor, "n"], size: int) -> Int64[Tensor, "n k"]:
    """Return `find_positives` if every identity has `size` rows, without waiting for a device.

    k = size - 1. If an identity has another number of rows, some rows are paired with other
    identities, and these pairs are never chosen.

    Raises ValueError if n is not a multiple of `size`.
    """
    n, device = len(identity), identity.device
    if n % size:
        raise ValueError(
            f"a batch of {n} images does not have {size} of each identity; "
            f"{n // size * size or size} would be right"
        )
    order, row = identity.argsort(stable=True), torch.arange(n, device=device)
    others = torch.arange(size - 1, device=device)
    position = (row % size)[:, None]
    positives = order[(row - row % size)[:, None] + others + (others >= position)]
    return torch.empty_like(positives).index_copy_(0, order, positives)


@torch.no_grad()
def mine_random(
    identity: Int64[Tensor, "n"], partner: Int64[Tensor, "n k"], draw: Float[Tensor, "n k"]
) -> Triplets:
    """Return a row of another identity for each pair, all with equal probability.

    `draw` is uniform in [0, 1). Every pair is chosen, if there are two identities.
    """
    n, order = len(identity), identity.argsort(stable=True)
    ranked = identity[order]
    first = torch.searchsorted(ranked, identity)[:, None]
    own = torch.searchsorted(ranked, identity, right=True)[:, None] - first
    position = torch.minimum((draw * (n - own)).long(), n - own - 1)  # a product may round up
    # the other rows are before and after the identity's own rows
    position = position + torch.where(position >= first, own, 0)
    return _build_triplets(identity, partner, order[position.clamp_min(0)], own < n)


@torch.no_grad()
def mine_semihard(
    distance: Float[Tensor, "n n"],
    identity: Int64[Tensor, "n"],
    partner: Int64[Tensor, "n k"],
    *,
    margin: float = 0.2,
) -> Triplets:
    """Return for each pair the nearest negative farther than the positive and within the margin.

    FaceNet, eq. 4 and the text after it: d(a, p) < d(a, n) < d(a, p) + margin. The paper does not
    specify which of them; the nearest costs most. A pair without such a negative is not chosen: the
    rule avoids nearer negatives, since they lead to a collapse, and farther ones cost nothing.
    TensorFlow Addons then uses the farthest negative, which keeps all pairs pulling.

    Of equally distant negatives, the first is chosen. Distances are compared in float32.
    """
    near = distance.float().clamp_min(0)  # rounding may make the distance of equal rows negative
    unlike = torch.where(_same_identity(identity) | near.isnan(), torch.inf, near)
    own = near.gather(1, partner)
    keys = _sort_rows(_sort_keys(unlike) | torch.arange(len(near), device=near.device))
    position = torch.searchsorted(keys, _sort_keys(own) | LOW_BITS, right=True)
    keys_of_negatives = keys.gather(1, position.clamp_max(max(0, len(near) - 1)))
    far = (keys_of_negatives >> 32).int().view(torch.float32)
    # written so that a NaN distance is chosen, and the loss shows it
    within = ~(far >= own + margin) & ~(far <= own)
    return _build_triplets(identity, partner, keys_of_negatives & LOW_BITS, within)


@torch.no_grad()
def mine_hard(
    distance: Float[Tensor, "n n"], identity: Int64[Tensor, "n"], partner: Int64[Tensor, "n k"]
) -> Triplets:
    """Return the nearest negative for each pair (FaceNet, section 3.2: "all anchor-positive
    pairs").

    Every pair is chosen, if there are two identities, even if it costs nothing.
    """
    far, negative = _nearest_other(distance, identity)
    return _build_triplets(identity, partner, negative.expand_as(partner), ~far.isposinf())


@torch.no_grad()
def mine_batch_hard(
    distance: Float[Tensor, "n n"], identity: Int64[Tensor, "n"], partner: Int64[Tensor, "n k"]
) -> Triplets:
    """Return the farthest positive and the nearest negative for each row: n triplets.

    Batch hard of Hermans et al. 2017 (arXiv:1703.07737, eq. 5), which uses distances without the
    square: the triplets are equal. If no row has a partner, there are none.
    """
    if not partner.shape[1]:
        return mine_hard(distance, identity, partner)
    real = _is_partner(identity, partner)
    own = distance.gather(1, partner).masked_fill(~real, -torch.inf)
    farthest = partner.gather(1, own.argmax(dim=1, keepdim=True))
    return mine_hard(distance, identity, farthest)


def compute_hinge_costs(
    distance: Float[Tensor, "n n"], triplets: Triplets, margin: float
) -> Float[Tensor, "t"]:
    """Return max(d(a, p) - d(a, n) + margin, 0) of each triplet (FaceNet, eq. 3), 0 if not chosen.

    Reads the distances from the matrix, so that memory does not grow with the triplets; the
    gradient goes only to the entries of the chosen triplets.
    """
    row = triplets.anchor * len(distance)
    where = torch.cat([row + triplets.positive, row + triplets.negative])
    # index_select: on the CPU its gradient is summed in a fixed order
    near, far = distance.flatten().index_select(0, where).chunk(2)
    return torch.where(triplets.chosen, F.relu(near - far + margin), 0)


def triplet_step(
    z: Float[Tensor, "n d"],
    identity: Int64[Tensor, "n"],
    partner: Int64[Tensor, "n k"],
    *,
    mining: str,
    margin: float,
    draw: Float[Tensor, "n k"] | None = None,
) -> Step:
    """Return the triplet loss of embeddings on the unit sphere, with metrics of the batch.

    The mean is over all `count_mined_pairs` pairs, including those without a triplet: the number is
    fixed before mining, and the step gets smaller as triplets are solved, as in FaceNet's sum.
    Metrics: the fraction of pairs that cost something, the fraction of pairs whose positive is
    nearer than every negative, and the mean distances of positives and of negatives, both 0 in a
    collapse.
    """
    distance, triplets = mine_triplets(
        z, identity, partner, mining=mining, margin=margin, draw=draw
    )
    cost = compute_hinge_costs(distance, triplets, margin)
    count = cost.new_full((), len(cost))
    active = Term((cost.detach() > 0).sum().to(cost.dtype), count)
    measures = _measure_pairs(distance.detach(), identity, partner)
    return Step({"triplet_loss": Term(cost.sum(), count)}, {"active_triplets": active} | measures)


def mine_triplets(
    z: Float[Tensor, "n d"],
    identity: Int64[Tensor, "n"],
    partner: Int64[Tensor, "n k"],
    *,
    mining: str,
    margin: float,
    draw: Float[Tensor, "n k"] | None = None,
) -> tuple[Float[Tensor, "n n"], Triplets]:
    """Return the squared distances of embeddings on the unit sphere, and the chosen triplets."""
    distance = compute_squared_distances(
        F.normalize(z.to(torch.promote_types(z.dtype, torch.float32)), dim=1)
    )
    if mining == "random":
        assert draw is not None, "a random negative needs a draw"
        return distance, mine_random(identity, partner, draw)
    if mining == "semihard":
        return distance, mine_semihard(distance.detach(), identity, partner, margin=margin)
    mine_rule = {"hard": mine_hard, "batch_hard": mine_batch_hard}[mining]
    return distance, mine_rule(distance.detach(), identity, partner)


def count_mined_pairs(mining: str, rows: int, partners: int) -> int:
    """Return the number of pairs over which `triplet_step` averages."""
    return rows if mining == "batch_hard" else rows * partners


def check_mining(mining: str, margin: float, rules: Sequence[str]) -> None:
    """Raise ValueError for an unknown way of mining, or a margin not above zero."""
    if mining not in rules:
        raise ValueError(f"unknown mining {mining!r}{did_you_mean(mining, rules)}")
    if not 0 < margin < torch.inf:
        raise ValueError(
            f"margin must be above 0, got {margin:g}: at 0 one point for all images is optimal "
            "(the paper uses 0.2)"
        )


def _measure_pairs(
    distance: Float[Tensor, "n n"], identity: Int64[Tensor, "n"], partner: Int64[Tensor, "n k"]
) -> dict[str, Term]:
    real, near = _is_partner(identity, partner), distance.gather(1, partner)
    same = _same_identity(identity)
    pairs = real.sum().to(near.dtype)
    first = near < _nearest_other(distance, identity)[0]
    return {
        "contrastive_top1": Term((first & real).sum().to(near.dtype), pairs),
        "positive_distance": Term(torch.where(real, near, 0).sum(), pairs),
        "negative_distance": Term(
            distance.masked_fill(same, 0).sum(), (~same).sum().to(near.dtype)
        ),
    }


def _nearest_other(
    distance: Float[Tensor, "n n"], identity: Int64[Tensor, "n"]
) -> tuple[Float[Tensor, "n 1"], Int64[Tensor, "n 1"]]:
    """Return distance and row of the nearest negative; infinite if there is none."""
    far, negative = distance.masked_fill(_same_identity(identity), torch.inf).min(
        dim=1, keepdim=True
    )
    return far, negative


def _same_identity(identity: Int64[Tensor, "n"]) -> Bool[Tensor, "n n"]:
    return identity[:, None] == identity


def _is_partner(identity: Int64[Tensor, "n"], partner: Int64[Tensor, "n k"]) -> Bool[Tensor, "n k"]:
    """Return whether a partner is another row of the row's identity."""
    own = torch.arange(len(identity), device=identity.device)[:, None]
    return (identity[partner] == identity[:, None]) & (partner != own)


def _build_triplets(
    identity: Int64[Tensor, "n"],
    partner: Int64[Tensor, "n k"],
    negative: Int64[Tensor, "n k"],
    chosen: Bool[Tensor, "n _"],
) -> Triplets:
    anchor = torch.arange(len(identity), device=identity.device)[:, None].expand_as(partner)
    lists = (anchor, partner, negative, chosen & _is_partner(identity, partner))
    return Triplets(*(each.flatten() for each in lists))


def _sort_keys(distance: Float32[Tensor, "n k"]) -> Int64[Tensor, "n k"]:
    """Return whole numbers in the order of the distances, whose lower 32 bits are free.

    The bits of a nonnegative float increase with its value.
    """
    return distance.contiguous().view(torch.int32).long() << 32


def _sort_rows(keys: Int64[Tensor, "n k"]) -> Int64[Tensor, "n k"]:
    """Return each row sorted. On the CPU by numpy: for 1,024 x 1,024 torch took 35 ms, numpy
    3.5."""
    if keys.device.type == "cpu":
        return torch.from_numpy(np.sort(keys.numpy(), axis=1))
    return keys.sort(dim=1).values
