"""A learned weighted sum of an encoder's layers with a linear classifier, as SUPERB probes speech.

Yang et al. 2021 (arXiv:2105.01051, section 3): softmax weights over the layers, trained together
with the head, the encoder frozen.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from selfwise.core.device import float64_device
from selfwise.evaluation.probes.linear import (
    ITERATIONS,
    PENALTIES,
    check_features,
    check_two_classes,
    choose_best,
    search_penalty,
    split_folds,
    split_group_folds,
)


class LayerMixFit(NamedTuple):
    """Predictions of a weighted probe on the test examples, and its weights of the layers."""

    predicted: Int64[np.ndarray, "m"]
    weights: Float64[np.ndarray, "L"]  # of the layers, first to last; their sum is 1
    C: float  # inverse regularization, as in `linear.LinearFit`
    searched: tuple[tuple[float, float], ...]  # (C, accuracy on held-out labels), as tried

    @property
    def cross_validated(self) -> float | None:
        """Accuracy of the chosen C on held-out training labels; None if none could be held out."""
        return max((accuracy for _, accuracy in self.searched), default=None)


def fit_layer_mix(
    train: Float[np.ndarray, "n *layers d"],
    labels: Int64[np.ndarray, "n"],
    test: Float[np.ndarray, "m *layers d"],
    *,
    seed: int = 0,
    penalties: Sequence[float] = PENALTIES,
    groups: Int64[np.ndarray, "n"] | None = None,
    device: torch.device | str = "cpu",
) -> LayerMixFit:
    """Logistic regression on a weighted sum of layers (n, L, d), weights and classifier together.

    The features are means over the frames of a recording: a mean of weighted sums is the weighted
    sum of the means, so that this is SUPERB's probe with mean pooling. (It does not hold for
    deviations.) Features without layers (n, d) are one layer, and the probe is then that of
    `fit_linear`.

    Every layer is standardized on the part that is fitted, so that a weight is the layer's fraction
    of the sum. The objective is the mean cross-entropy + penalty / 2 (|W|^2 + |a|^2), the weights
    being softmax(a); L-BFGS in float64 minimizes it from equal weights and W = 0, without random
    draws. The objective is not convex, so the result is a minimum near the start. The penalty is
    chosen as in `linear`, on equal folds.

    Raises ValueError as `linear` does.
    """
    train, test = (x[:, None] if x.ndim == 2 else x for x in (train, test))
    check_features(train.reshape(len(train), -1), labels, test.reshape(len(test), -1))
    check_two_classes(labels)
    grid = [1 / (penalty * len(labels)) for penalty in sorted(penalties, reverse=True)]
    parts = split_folds(labels, seed=seed) if groups is None else split_group_folds(labels, groups)
    searched = search_penalty([_Fold(train, labels, held_out, device) for held_out in parts], grid)
    chosen = choose_best(searched, grid)
    classifier = _LayerMixClassifier(train, labels, tolerance=1e-4, device=device)
    classifier.fit(chosen)
    predicted = classifier.predict(test)
    return LayerMixFit(predicted, classifier.weights.cpu().numpy(), chosen, tuple(searched))


class _LayerMixClassifier:
    """Layer weights and a classifier; a further fit starts where the last one stopped."""

    def __init__(
        self, x: np.ndarray, labels: np.ndarray, *, tolerance: float, device: torch.device | str
    ):
        from sklearn.preprocessing import StandardScaler

        self.names, class_numbers = np.unique(labels, return_inverse=True)
        device = float64_device(device)
        self.device, self.tolerance = device, tolerance
        self.scale = StandardScaler().fit(_flatten_layers(x))
        self.x, self.y = self._scaled(x), torch.from_numpy(class_numbers).to(device)
        k = len(self.names)
        self.logits, self.W, self.bias = (
            torch.zeros(shape, dtype=torch.float64, device=device, requires_grad=True)
            for shape in ((x.shape[1],), (x.shape[2], k), (k,))
        )

    @property
    def weights(self) -> Float64[Tensor, "L"]:
        return self.logits.detach().softmax(dim=0)

    def fit(self, C: float) -> None:
        """To the minimum at C, or 1,000 iterations towards it."""
        penalty = 1 / (C * len(self.y))
        optimizer = torch.optim.LBFGS(
            [self.logits, self.W, self.bias],
            max_iter=ITERATIONS,
            tolerance_grad=self.tolerance,
            history_size=10,
            line_search_fn="strong_wolfe",
        )

        def loss() -> Tensor:
            optimizer.zero_grad()
            size = self.W.square().sum() + self.logits.square().sum()
            value = F.cross_entropy(self._compute_logits(self.x), self.y) + penalty / 2 * size
            value.backward()
            return value

        optimizer.step(loss)

    @torch.no_grad()
    def predict(self, x: np.ndarray) -> Int64[np.ndarray, "m"]:
        classes = self._compute_logits(self._scaled(x)).argmax(dim=1).cpu().numpy()
        return self.names[classes]

    def _compute_logits(self, x: Float64[Tensor, "L n d"]) -> Float64[Tensor, "n k"]:
        mixed = self.logits.softmax(dim=0) @ x.flatten(1)  # one product of a vector and a matrix
        return mixed.view(x.shape[1:]) @ self.W + self.bias

    def _scaled(self, x: np.ndarray) -> Float64[Tensor, "L n d"]:
        scaled = self.scale.transform(_flatten_layers(x)).reshape(x.shape).swapaxes(0, 1)
        return torch.from_numpy(np.ascontiguousarray(scaled)).to(self.device)


class _Fold:
    """One split of the training examples, for `linear.search_penalty`."""

    def __init__(
        self, x: np.ndarray, labels: np.ndarray, held_out: np.ndarray, device: torch.device | str
    ):
        fitted = np.setdiff1d(np.arange(len(labels)), held_out, assume_unique=True)
        # ten times the tolerance of the final fit, as in `linear`
        self.model = _LayerMixClassifier(x[fitted], labels[fitted], tolerance=1e-3, device=device)
        self.held_out, self.truth = x[held_out], labels[held_out]

    def count_correct(self, C: float) -> int:
        self.model.fit(C)
        return int((self.model.predict(self.held_out) == self.truth).sum())


def _flatten_layers(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1).astype(np.float64)
