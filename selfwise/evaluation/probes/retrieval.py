"""Retrieval by similarity: recall@k, and MAP@R of Musgrave et al. 2020 (arXiv:2003.08505)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from selfwise.core.device import float64_device
from selfwise.evaluation.probes.knn import iterate_cosines
from selfwise.evaluation.probes.label_checks import describe_equal_labels
from selfwise.evaluation.probes.linear import check_features_finite
from selfwise.evaluation.probes.matrix import Matrix

KS = (1, 2, 4, 8)  # of recall@k, as in the tables of metric learning
MAP, PRECISION = "MAP@R", "R-precision"
MAX_SIMILARITIES = (
    2**24
)  # similarities held at once: 64 MB in float32; more of them were not faster


class RetrievalMeasures(NamedTuple):
    """The measures of each query."""

    values: dict[str, Float[np.ndarray, "q"]]  # of each query, 0 to 1, by the name of the measure
    queries: Int64[np.ndarray, "q"]  # which examples they are, ascending
    left_out: int  # examples that were not a query: their class has no other example

    def mean(self, measure: str) -> float:
        """Over the queries. Raises KeyError if it was not measured."""
        return float(self.values[measure].mean())


class _ClassIndex(NamedTuple):
    """The examples of each class."""

    class_ids: Int64[np.ndarray, "n"]  # class of each example, 0 to c - 1
    size: Int64[np.ndarray, "c"]
    order: Int64[np.ndarray, "n"]  # the examples, class by class
    start: Int64[np.ndarray, "c"]  # where in `order` each class begins

    def of(self, rows: Int64[np.ndarray, "m"]) -> Int64[np.ndarray, "m w"]:
        """Return all examples of the class of each row; smaller classes are filled up with the
        row."""
        class_ids = self.class_ids[rows][:, None]
        column = np.arange(self.size[class_ids].max())
        inside = np.minimum(self.start[class_ids] + column, len(self.order) - 1)
        return np.where(column < self.size[class_ids], self.order[inside], rows[:, None])


def measure_retrieval(
    vectors: Matrix,
    labels: Int64[np.ndarray, "n"],
    *,
    ks: Sequence[int] = KS,
    device: torch.device | str = "cpu",
) -> RetrievalMeasures:
    """Use each example as a query, and search all other examples by their cosine with
    it.

    `recall@k`: whether one of the k nearest is of the query's class. With R others of that class,
    `R-precision` is their share among the R nearest, and `MAP@R` the sum of the precision at i
    over those i of 1 to R where the i-th nearest is one of them, divided by R (section 3.2).

    Of equally similar examples, examples of other classes come first. So ties count against the
    features, the order of the examples has no effect, and constant features find nothing. Examples
    whose class has no other example are not queries, but they are searched. `vectors` may be bags
    of words. Exact: every pair is compared, in the precision of the vectors.

    Raises ValueError for no examples, a feature that is not finite, labels that are all equal or
    all different, or a k that is not above 0.
    """
    if not len(ks) or min(ks) < 1:
        raise ValueError(f"recall@k needs k >= 1, got {', '.join(map(str, ks)) or 'none'}")
    assert vectors.shape[0] == len(labels), (vectors.shape, labels.shape)
    check_features_finite("test", vectors)
    _, class_numbers, count = np.unique(labels, return_inverse=True, return_counts=True)
    classes = _ClassIndex(
        class_numbers, count, class_numbers.argsort(kind="stable"), count.cumsum() - count
    )
    if len(count) < 2 or count.max() < 2:
        problem = f"all {len(labels):,} labels are different"
        if len(count) < 2:
            problem = describe_equal_labels(len(labels))
        raise ValueError(f"retrieval needs two classes, one of them with two examples; {problem}")
    num_others = count[class_numbers] - 1
    rows = num_others.argsort(kind="stable")  # so that a part has classes of about one size
    rows = rows[num_others[rows] > 0]
    at_once = max(1, MAX_SIMILARITIES // len(labels))
    parts = iterate_cosines(vectors, vectors[rows], at_once=at_once, device=device)
    measured: list[dict[str, Tensor]] = []
    for first, similarity in zip(range(0, len(rows), at_once), parts):
        part = rows[first : first + at_once]
        classmates, query = (torch.from_numpy(x).to(device) for x in (classes.of(part), part))
        ranks = _rank_classmates(similarity, classmates, query, min_rank=max(ks))
        measured.append(_measure_queries(ranks, torch.from_numpy(num_others[part]).to(device), ks))
    original_order = rows.argsort()
    values = {
        name: torch.cat([f[name] for f in measured]).cpu().numpy()[original_order]
        for name in measured[0]
    }
    return RetrievalMeasures(values, rows[original_order], len(labels) - len(rows))


def _rank_classmates(
    similarity: Float[Tensor, "m n"],
    classmates: Int64[Tensor, "m w"],
    query: Int64[Tensor, "m"],
    *,
    min_rank: int,
) -> Int64[Tensor, "m w"]:
    """Return the ranks at which each query finds its class `classmates`, ascending, from 1.

    They are right up to max(least, w); what is beyond stays beyond. `similarity` is written over.
    """
    width, n = classmates.shape[1], similarity.shape[1]
    similarity_own = similarity.gather(1, classmates).masked_fill_(
        classmates == query[:, None], -torch.inf
    )
    similarity_own = _sort_highest(similarity_own, width).flip(1)
    # no more of the other classes than this can stand before what counts
    num_others = min(n, max(min_rank, width))
    similarity_others = _sort_highest(similarity.scatter_(1, classmates, -torch.inf), num_others)
    # examples of other classes that are at least as similar
    num_before = num_others - torch.searchsorted(similarity_others, similarity_own)
    return torch.arange(1, width + 1, device=similarity_own.device) + num_before


def _sort_highest(values: Float[Tensor, "m n"], k: int) -> Float[Tensor, "m k"]:
    """Return the k highest of each row, ascending."""
    if values.device.type != "cpu":
        return values.topk(k, dim=1).values.flip(1)
    # numpy's take 0.1 s for 1,000 of 10,000 in 10,000 rows, `topk` 1.1 s and `sort` 6 s
    numbers = values.numpy()
    numbers.partition(numbers.shape[1] - k, axis=1)
    return torch.from_numpy(np.sort(numbers[:, -k:], axis=1))


def _measure_queries(
    ranks: Int64[Tensor, "m w"], num_others: Int64[Tensor, "m"], ks: Sequence[int]
) -> dict[str, Float[Tensor, "m"]]:
    """Return the measures of each query, from the ranks of its class and how many there are of
    it."""
    home = float64_device(ranks.device)
    ranks, num_others = ranks.to(home), num_others.to(home)
    is_inside = ranks <= num_others[:, None]
    # when the j-th of them is found at rank i, the precision at i is j / i
    precision = torch.arange(1, ranks.shape[1] + 1, device=ranks.device) / ranks.double()
    measures = {f"recall@{k}": (ranks[:, 0] <= k).double() for k in ks}
    measures[PRECISION] = is_inside.sum(dim=1) / num_others.double()
    measures[MAP] = (precision * is_inside).sum(dim=1) / num_others.double()
    return measures
