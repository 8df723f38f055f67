"""The weighted nearest-neighbour classifier of InstDisc (Wu et al. 2018, arXiv:1805.01978, 3.4)."""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from scipy.sparse import issparse
from sklearn.preprocessing import normalize
from torch import Tensor

from selfwise.evaluate.linear import Matrix, check_features

CELLS = 2**26  # similarities held at once: 256 MB in float32


def knn(
    train: Matrix,
    labels: Int64[np.ndarray, "n"],
    test: Matrix,
    *,
    k: int = 200,
    temperature: float = 0.1,
    device: torch.device | str = "cpu",
) -> Int64[np.ndarray, "m"]:
    """The class of each test example by the votes of its k nearest training examples.

    A neighbour's vote weighs exp(cosine / temperature). With fewer than k training examples all
    of them vote. Nothing is drawn at random.

    Raises ValueError if there are no examples, a feature is not finite, or k or the temperature
    is not above 0.
    """
    if k < 1 or not temperature > 0:
        raise ValueError(f"kNN needs k >= 1 and temperature > 0, got {k} and {temperature:g}")
    check_features(train, labels, test)
    targets = torch.from_numpy(labels).to(device)
    k, classes = min(k, len(labels)), int(labels.max()) + 1
    parts = cosines(train, test, at_once=max(1, CELLS // len(labels)), device=device)
    voted = [_vote(part, targets, k, temperature, classes) for part in parts]
    return torch.cat(voted).cpu().numpy()


def cosines(
    train: Matrix, test: Matrix, *, at_once: int, device: torch.device | str
) -> Iterator[Float[Tensor, "m n"]]:
    """Cosines of `at_once` test examples at a time with all training examples."""
    if issparse(train):
        known, asked = normalize(train), normalize(test)
        for first in range(0, asked.shape[0], at_once):
            part = (asked[first : first + at_once] @ known.T).toarray()
            yield torch.from_numpy(part).to(device)
        return
    near = F.normalize(torch.from_numpy(train).to(device), dim=1)
    for part in F.normalize(torch.from_numpy(test).to(device), dim=1).split(at_once):
        yield part @ near.T


def _vote(
    similarity: Float[Tensor, "m n"],
    targets: Int64[Tensor, "n"],
    k: int,
    temperature: float,
    classes: int,
) -> Int64[Tensor, "m"]:
    near, which = similarity.topk(k, dim=1)
    # float64: on a GPU the order of the additions varies, and must not decide an election
    weights = (near.double() / temperature).exp()
    votes = weights.new_zeros(len(near), classes)
    return votes.scatter_add_(1, targets[which], weights).argmax(dim=1)
