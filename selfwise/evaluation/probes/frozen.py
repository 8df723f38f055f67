"""Probes of frozen features under one signature: what `selfwise probe --kind` names."""

from typing import Any

import numpy as np

from selfwise.evaluation.probes.knn import Neighbours, choose_k, knn
from selfwise.evaluation.probes.layer_mix import weighted
from selfwise.evaluation.probes.linear import linear, sgd_probe

# with `groups` of the training examples where there are any; the last two choose nothing


def _by_linear(
    x: Any, y: np.ndarray, test: Any, seed: int, *, device: str, groups: Any = None
) -> np.ndarray:
    return linear(x, y, test, seed=seed, groups=groups).predicted


def _by_weighted(
    x: Any, y: np.ndarray, test: Any, seed: int, *, device: str, groups: Any = None
) -> np.ndarray:
    return weighted(x, y, test, seed=seed, groups=groups, device=device).predicted


def _by_sgd(
    x: Any, y: np.ndarray, test: Any, seed: int, *, device: str, groups: Any = None
) -> np.ndarray:
    return sgd_probe(x, y, test, seed=seed, device=device)


def _by_knn(
    x: Any,
    y: np.ndarray,
    test: Any,
    seed: int,
    *,
    device: str,
    groups: Any = None,
    k: int | None = None,
) -> Neighbours:
    k = choose_k(x, y, groups=groups, device=device) if k is None else min(k, len(y))
    return Neighbours(knn(x, y, test, k=k, device=device), k)


PROBES: dict[str, Any] = {
    "linear": _by_linear,
    "weighted": _by_weighted,
    "sgd": _by_sgd,
    "knn": _by_knn,
}
