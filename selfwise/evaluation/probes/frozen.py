"""Probes of frozen features under one signature: what `selfwise probe --kind` names."""

from typing import Any

import numpy as np

from selfwise.evaluation.probes.knn import KNNPrediction, choose_k, predict_knn
from selfwise.evaluation.probes.layer_mix import fit_layer_mix
from selfwise.evaluation.probes.linear import fit_linear, fit_sgd

# with `groups` of the training examples where there are any; the last two choose nothing


def _predict_linear(
    x: Any, y: np.ndarray, test: Any, seed: int, *, device: str, groups: Any = None
) -> np.ndarray:
    return fit_linear(x, y, test, seed=seed, groups=groups).predicted


def _predict_weighted(
    x: Any, y: np.ndarray, test: Any, seed: int, *, device: str, groups: Any = None
) -> np.ndarray:
    return fit_layer_mix(x, y, test, seed=seed, groups=groups, device=device).predicted


def _predict_sgd(
    x: Any, y: np.ndarray, test: Any, seed: int, *, device: str, groups: Any = None
) -> np.ndarray:
    return fit_sgd(x, y, test, seed=seed, device=device)


def _predict_knn(
    x: Any,
    y: np.ndarray,
    test: Any,
    seed: int,
    *,
    device: str,
    groups: Any = None,
    k: int | None = None,
) -> KNNPrediction:
    k = choose_k(x, y, groups=groups, device=device) if k is None else min(k, len(y))
    return KNNPrediction(predict_knn(x, y, test, k=k, device=device), k)


PROBES: dict[str, Any] = {
    "linear": _predict_linear,
    "weighted": _predict_weighted,
    "sgd": _predict_sgd,
    "knn": _predict_knn,
}
