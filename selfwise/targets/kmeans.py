"""K-means in torch, on any device, with scikit-learn's results from an equal start.

K-means++: Arthur and Vassilvitskii 2007. Mini-batches: Sculley 2010.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from selfwise.core.rng import generator

CHUNK_SCORES = 2**17  # scores in memory at once: they stay in the processor's cache
CHUNK_SCORES_CUDA = 2**26


class Clustering(NamedTuple):
    """The result of `run_lloyd`."""

    centres: Float[Tensor, "k d"]
    ids: Int64[Tensor, "n"]  # of the nearest of these centers
    inertia: Float64[Tensor, ""]  # sum of squared distances to the nearest centers
    iterations: int


class FarthestPoints(NamedTuple):
    """The points that are farthest from their centers, farthest first."""

    x: Float[Tensor, "e d"]
    distance: Float[Tensor, "e"]  # squared
    ids: Int64[Tensor, "e"]


def check_num_clusters(n: int, clusters: int, what: str = "frames") -> None:
    """Raise ValueError unless there are at least two clusters, and not more than points."""
    if clusters < 2:
        raise ValueError(f"clusters must be at least 2, got {clusters}")
    if clusters > n:
        raise ValueError(
            f"{clusters:,} clusters are too many for {n:,} {what}: give at most {n:,}, better a "
            "hundredth of that"
        )


@torch.no_grad()
def assign_clusters(x: Float[Tensor, "n d"], centres: Float[Tensor, "k d"]) -> Int64[Tensor, "n"]:
    """Return the number of the nearest center of each point; the first of equally near centers.

    Compares half the squared distance without |x|^2, which is equal for all centers: one matrix
    product per chunk.
    """
    half, across = centres.square().sum(dim=1) / 2, centres.mT.neg()
    size = max(1, (CHUNK_SCORES_CUDA if x.is_cuda else CHUNK_SCORES) // len(centres))
    scores = x.new_empty((min(size, len(x)), len(centres)))  # reused: new pages cost time
    with torch.autocast(x.device.type, enabled=False):
        parts = (torch.addmm(half, p, across, out=scores[: len(p)]) for p in x.split(size))
        return torch.cat([_argmin(part) for part in parts])


def _argmin(scores: Float[Tensor, "n k"]) -> Int64[Tensor, "n"]:
    if scores.device.type == "cpu":  # numpy's is three times as fast as torch's
        return torch.from_numpy(scores.numpy().argmin(axis=1))
    return scores.argmin(dim=1)


@torch.no_grad()
def sum_clusters(
    x: Float[Tensor, "n d"], ids: Int64[Tensor, "n"], clusters: int
) -> tuple[Float64[Tensor, "k d"], Float64[Tensor, "k"]]:
    """Return sum and number of the points of each cluster, added in a fixed order."""
    counts = torch.bincount(ids, minlength=clusters).double()
    if not x.is_cuda:
        return x.new_zeros((clusters, x.shape[1]), dtype=torch.float64).index_add_(
            0, ids, x.double()
        ), counts
    # index_add_ on CUDA adds in the order in which threads arrive
    sums = x.new_zeros((clusters, x.shape[1]), dtype=torch.float64)
    size = max(1, CHUNK_SCORES_CUDA // clusters)
    for part, own in zip(x.split(size), ids.split(size)):
        sums += torch.nn.functional.one_hot(own, clusters).double().mT @ part.double()
    return sums, counts


@torch.no_grad()
def centre_distances(
    x: Float[Tensor, "n d"], centres: Float[Tensor, "k d"], ids: Int64[Tensor, "n"]
) -> Float[Tensor, "n"]:
    """Return the squared distance of each point to its center, without the short formula's
    rounding."""
    return (x - centres.index_select(0, ids)).square().sum(dim=1)


@torch.no_grad()
def init_plus_plus(
    x: Float[Tensor, "n d"], k: int, generator: torch.Generator
) -> Float[Tensor, "k d"]:
    """Draw starting points, each with a probability that grows with its squared distance.

    Of 2 + log k candidates, the one that lowers the inertia most is chosen, as in scikit-learn. The
    draws are from `generator`, on the CPU. Raises ValueError if k exceeds the number of points.
    """
    check_num_clusters(len(x), k)
    trials, square = 2 + int(math.log(k)), x.square().sum(dim=1)
    chosen = torch.randint(len(x), (1,), generator=generator).to(x.device)
    places, nearest = [chosen], _distances_to(x, square, chosen)[0]
    for _ in range(1, k):
        reach = nearest.double().cumsum(dim=0)
        draws = torch.rand(trials, generator=generator, dtype=torch.float64).to(x.device)
        candidates = torch.searchsorted(reach, draws * reach[-1]).clamp(max=len(x) - 1)
        after = torch.minimum(nearest, _distances_to(x, square, candidates))
        best = after.double().sum(dim=1).argmin()
        places.append(candidates[best][None])
        nearest = after[best]
    return x[torch.cat(places)].clone()


def _distances_to(
    x: Float[Tensor, "n d"], square: Float[Tensor, "n"], places: Int64[Tensor, "t"]
) -> Float[Tensor, "t n"]:
    """Return squared distances of all points to some of them; exactly zero to itself."""
    squared = (square + square[places, None]).addmm(x[places], x.mT, alpha=-2).clamp_(min=0)
    return squared.scatter_(1, places[:, None], 0.0)


def find_farthest(
    x: Float[Tensor, "n d"],
    distance: Float[Tensor, "n"],
    ids: Int64[Tensor, "n"],
    max_points: int,
) -> FarthestPoints:
    """Return the `most` points that are farthest from their centers."""
    top = distance.topk(min(max_points, len(x)))
    return FarthestPoints(x[top.indices], top.values, ids[top.indices])


@torch.no_grad()
def update_centres(
    sums: Float64[Tensor, "k d"],
    counts: Float64[Tensor, "k"],
    far: FarthestPoints,
    old: Float[Tensor, "k d"],
) -> Float[Tensor, "k d"]:
    """Return the next centers. An empty cluster moves to the point farthest from its center.

    This matches scikit-learn. If all points are at their centers already, an empty cluster keeps
    its old center.
    """
    sums, counts = sums.clone(), counts.clone()
    empty = (counts == 0).nonzero()[:, 0]
    for cluster, point, distance, own in zip(empty, *far):
        if distance > 0:
            sums[own] -= point
            counts[own] -= 1
            sums[cluster], counts[cluster] = point.double(), 1
    has_points = counts[:, None] > 0
    return torch.where(has_points, sums / counts[:, None].clamp(min=1), old.double()).to(old.dtype)


def run_lloyd(
    x: Float[Tensor, "n d"],
    centres: Float[Tensor, "k d"],
    iterations: int,
    *,
    tolerance: float = 1e-4,
) -> Clustering:
    """Run plain k-means from these centers: scikit-learn's KMeans(algorithm="lloyd", init=centers).

    It ends when no point changes its cluster, or when the squared shifts of all centers add up to
    at most `tolerance` times the mean variance of the features. Raises ValueError if there are more
    centers than points.
    """
    check_num_clusters(len(x), len(centres))
    enough = tolerance * x.double().var(dim=0, unbiased=False).mean()
    before, done, same = None, 0, False
    while done < iterations and not same:
        ids = assign_clusters(x, centres)
        same = before is not None and torch.equal(ids, before)
        far = find_farthest(x, centre_distances(x, centres, ids), ids, len(centres))
        after = update_centres(*sum_clusters(x, ids, len(centres)), far, centres)
        shift = (after - centres).double().square().sum()
        before, centres, done = ids, after, done + 1
        if shift <= enough:
            break
    ids = assign_clusters(x, centres)
    return Clustering(centres, ids, centre_distances(x, centres, ids).double().sum(), done)


def fit_kmeans(
    x: Float[Tensor, "n d"], clusters: int, *, seed: int = 0, iterations: int = 300
) -> Clustering:
    """Fit k-means from k-means++ starts, in memory.

    Raises ValueError if there are fewer points than clusters, or fewer than two clusters.
    """
    start = init_plus_plus(x, clusters, generator(seed, "kmeans"))
    return run_lloyd(x, start, iterations)


class MiniBatchCentres:
    """Mini-batch k-means: each center is the mean of all points assigned to it so far.

    From an equal start and equal batches, the centers equal those of scikit-learn's
    MiniBatchKMeans.partial_fit with reassignment_ratio=0, HuBERT's setting.
    """

    def __init__(self, centres: Float[Tensor, "k d"], counts: Float64[Tensor, "k"] | None = None):
        """`counts`: the number of points in each center's mean; by default 0."""
        self.centres = centres.clone()
        zeros = torch.zeros(len(centres), dtype=torch.float64, device=centres.device)
        self.counts = zeros if counts is None else counts.clone()

    @torch.no_grad()
    def step(self, x: Float[Tensor, "n d"]) -> Int64[Tensor, "n"]:
        """Move the centers by a batch. Returns the ids that the points had before."""
        ids = assign_clusters(x, self.centres)
        sums, counts = sum_clusters(x, ids, len(self.centres))
        after = self.counts + counts
        moved = (self.centres.double() * self.counts[:, None] + sums) / after.clamp(min=1)[:, None]
        self.centres = torch.where(counts[:, None] > 0, moved.to(x.dtype), self.centres)
        self.counts = after
        return ids
