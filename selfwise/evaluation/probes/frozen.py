"""Probes of frozen features under one signature: what `selfwise probe --kind` names."""

from typing import Protocol, runtime_checkable

import numpy as np

from selfwise.evaluation.probes.knn import KS, KNNPrediction, choose_k, predict_knn, score_ks
from selfwise.evaluation.probes.layer_mix import fit_layer_mix
from selfwise.evaluation.probes.linear import fit_linear, fit_sgd, search_linear
from selfwise.evaluation.probes.matrix import Matrix


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


@runtime_checkable
class FrozenSearch(Protocol):
    """Returns the best accuracy on training labels that it holds out in turn, 0 if it cannot hold
    out any. `groups` are those of the training examples."""

    def __call__(
        self,
        train: Matrix,
        labels: np.ndarray,
        seed: int,
        *,
        device: str,
        groups: np.ndarray | None = None,
    ) -> float: ...


def _search_linear(
    train: Matrix,
    labels: np.ndarray,
    seed: int,
    *,
    device: str,
    groups: np.ndarray | None = None,
) -> float:
    searched = search_linear(train, labels, seed=seed, groups=groups)
    return max((accuracy for _, accuracy in searched), default=0.0)


def _search_knn(
    train: Matrix,
    labels: np.ndarray,
    seed: int,
    *,
    device: str,
    groups: np.ndarray | None = None,
    k: int | None = None,
) -> float:
    ks = KS if k is None else (k,)
    return max(score_ks(train, labels, candidates=ks, groups=groups, device=device).values())


SEARCHES: dict[str, FrozenSearch] = {"linear": _search_linear, "knn": _search_knn}
