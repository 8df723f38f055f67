"""The weighted nearest-neighbor classifier of InstDisc (Wu et al. 2018, arXiv:1805.01978, 3.4)."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from scipy.sparse import issparse
from torch import Tensor

from selfwise.core.device import to_float64
from selfwise.core.rng import shuffle_indices
from selfwise.evaluation.probes.linear import check_features, check_two_classes
from selfwise.evaluation.probes.matrix import FeatureBlocks, Matrix

MAX_SIMILARITIES = 2**26  # similarities held at once: 256 MB in float32
KS = (1, 2, 5, 10, 20, 50, 100, 200)  # numbers of neighbors to choose from
MAX_QUERIES = 5_000  # training examples, at most, that a choice looks at
TEMPERATURE = 0.1


class KNNPrediction(NamedTuple):
    """Predictions of a kNN probe on the test examples, and how many neighbors voted."""

    predicted: Int64[np.ndarray, "m"]
    k: int


def predict_knn(
    train: Matrix,
    labels: Int64[np.ndarray, "n"],
    test: Matrix,
    *,
    k: int = 200,
    temperature: float = TEMPERATURE,
    device: torch.device | str = "cpu",
) -> Int64[np.ndarray, "m"]:
    """Return the class of each test example by the votes of its k nearest training examples.

    A neighbor's vote has the weight exp(cosine / temperature). With fewer than k training examples
    all of them vote; `choose_k` chooses a k. The prediction is deterministic.

    Raises ValueError if there are no examples, a feature is not finite, all labels are equal, or k
    or the temperature is not above 0.
    """
    if k < 1 or not temperature > 0:
        raise ValueError(f"kNN needs k >= 1 and temperature > 0, got {k} and {temperature:g}")
    check_features(train, labels, test)
    check_two_classes(labels, what="kNN")
    targets = torch.from_numpy(labels).to(device)
    k, classes = min(k, len(labels)), int(labels.max()) + 1
    parts = iterate_cosines(
        train, test, at_once=max(1, MAX_SIMILARITIES // len(labels)), device=device
    )
    predictions = [_vote(*part.topk(k, dim=1), targets, temperature, classes) for part in parts]
    return torch.cat(predictions).cpu().numpy()


def choose_k(
    train: Matrix,
    labels: Int64[np.ndarray, "n"],
    *,
    candidates: Sequence[int] = KS,
    groups: Int64[np.ndarray, "n"] | None = None,
    temperature: float = TEMPERATURE,
    device: torch.device | str = "cpu",
) -> int:
    """Return the number of neighbors that is right most often on the training examples themselves.

    `score_ks` classifies them; of equally good candidates the largest is chosen. Raises ValueError
    as `predict_knn` does.
    """
    accuracies = score_ks(
        train,
        labels,
        candidates=candidates,
        groups=groups,
        temperature=temperature,
        device=device,
    )
    return max(accuracies, key=lambda k: (accuracies[k], k))


def score_ks(
    train: Matrix,
    labels: Int64[np.ndarray, "n"],
    *,
    candidates: Sequence[int] = KS,
    groups: Int64[np.ndarray, "n"] | None = None,
    temperature: float = TEMPERATURE,
    device: torch.device | str = "cpu",
) -> dict[int, float]:
    """Return the accuracy on the training examples themselves with each number of neighbors.

    Each example is classified by the other examples, or by examples of other `groups` (speakers).
    Of more than 5,000 examples, a fixed sample of 5,000 is classified. Candidates above the number
    of other examples count as that number.

    Raises ValueError as `predict_knn` does.
    """
    check_features(train, labels, train)
    check_two_classes(labels, what="kNN")
    ks = sorted({min(k, len(labels) - 1) for k in candidates})
    rows = np.sort(shuffle_indices(len(labels), 0, "number of neighbours")[:MAX_QUERIES])
    group_of = np.arange(len(labels)) if groups is None else groups
    at_once = max(1, MAX_SIMILARITIES // len(labels))
    num_correct = dict.fromkeys(ks, 0)
    parts = iterate_cosines(train, train[rows], at_once=at_once, device=device)
    for first, similarity in zip(range(0, len(rows), at_once), parts):
        part = rows[first : first + at_once]
        same_group = torch.from_numpy(group_of[part][:, None] == group_of[None]).to(device)
        for k, votes in _vote_for_each_k(
            similarity.masked_fill_(same_group, -torch.inf), labels, ks, temperature
        ):
            num_correct[k] += int((votes.cpu().numpy() == labels[part]).sum())
    return {k: num_correct[k] / len(rows) for k in ks}


def iterate_cosines(
    train: Matrix, test: Matrix, *, at_once: int, device: torch.device | str
) -> Iterator[Float[Tensor, "m n"]]:
    """Yield cosines of `at_once` test examples at a time with all training examples.

    Of blocks, the sum of the cosines of each block times its share: that is the cosine of vectors
    that join the blocks, each of the length that its weight says.
    """
    if isinstance(train, FeatureBlocks):
        assert isinstance(test, FeatureBlocks), type(test)
        blocks = [
            iterate_cosines(one, other, at_once=at_once, device=device)
            for one, other in zip(train.blocks, test.blocks)
        ]
        for parts in zip(*blocks):
            yield torch.stack([p * share for p, share in zip(parts, train.shares)]).sum(dim=0)
        return
    if issparse(train):
        from sklearn.preprocessing import normalize

        train_rows, test_rows = normalize(train), normalize(test)
        for first in range(0, test_rows.shape[0], at_once):
            part = (test_rows[first : first + at_once] @ train_rows.T).toarray()
            yield torch.from_numpy(part).to(device)
        return
    unit_train = F.normalize(torch.from_numpy(train).to(device), dim=1)
    for part in F.normalize(torch.from_numpy(test).to(device), dim=1).split(at_once):
        yield part @ unit_train.T


def _vote_for_each_k(
    similarity: Float[Tensor, "m n"], labels: np.ndarray, ks: Sequence[int], temperature: float
) -> Iterator[tuple[int, Int64[Tensor, "m"]]]:
    """Yield the classes that each of several numbers of neighbors elect."""
    targets, classes = torch.from_numpy(labels).to(similarity.device), int(labels.max()) + 1
    similarities, neighbours = similarity.topk(max(ks), dim=1)
    for k in ks:
        yield k, _vote(similarities[:, :k], neighbours[:, :k], targets, temperature, classes)


def _vote(
    similarities: Float[Tensor, "m k"],
    neighbours: Int64[Tensor, "m k"],
    targets: Int64[Tensor, "n"],
    temperature: float,
    classes: int,
) -> Int64[Tensor, "m"]:
    # float64: on a GPU the order of the additions varies, and must not decide an election
    weights = (to_float64(similarities) / temperature).exp()
    votes = weights.new_zeros(len(similarities), classes)
    elected = targets[neighbours].to(weights.device)
    return votes.scatter_add_(1, elected, weights).argmax(dim=1)
