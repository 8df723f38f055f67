"""Probes of frozen features under one signature: what `selfwise probe --kind` names."""

from typing import Protocol, runtime_checkable

import numpy as np

from selfwise.evaluation.probes.knn import KNNPrediction, choose_k, predict_knn
from selfwise.evaluation.probes.layer_mix import fit_layer_mix
from selfwise.evaluation.probes.linear import Matrix, fit_linear, fit_sgd


@runtime_checkable
class FrozenProbe(Protocol):
    """Predicts the classes of test examples. `groups` are those of the training examples."""

    def __call__(
        self,
        train: Matrix,
        labels: np.ndarray,
        test: Matrix,
        seed: int,
        *,
        device: str,
        groups: np.ndarray | None = None,
    ) -> np.ndarray | KNNPrediction: ...


def _predict_linear(
    train: Matrix,
    labels: np.ndarray,
    test: Matrix,
    seed: int,
    *,
    device: str,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    return fit_linear(train, labels, test, seed=seed, groups=groups).predicted


def _predict_layer_mix(
    train: np.ndarray,
    labels: np.ndarray,
    test: np.ndarray,
    seed: int,
    *,
    device: str,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    return fit_layer_mix(train, labels, test, seed=seed, groups=groups, device=device).predicted


def _predict_sgd(
    train: np.ndarray,
    labels: np.ndarray,
    test: np.ndarray,
    seed: int,
    *,
    device: str,
    groups: np.ndarray | None = None,  # chooses nothing
) -> np.ndarray:
    return fit_sgd(train, labels, test, seed=seed, device=device)


def _predict_knn(
    train: Matrix,
    labels: np.ndarray,
    test: Matrix,
    seed: int,
    *,
    device: str,
    groups: np.ndarray | None = None,
    k: int | None = None,
) -> KNNPrediction:
    k = choose_k(train, labels, groups=groups, device=device) if k is None else min(k, len(labels))
    return KNNPrediction(predict_knn(train, labels, test, k=k, device=device), k)


PROBES: dict[str, FrozenProbe] = {
    "linear": _predict_linear,
    "weighted": _predict_layer_mix,
    "sgd": _predict_sgd,
    "knn": _predict_knn,
}
