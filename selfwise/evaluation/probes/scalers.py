"""Scalers of features before a linear fit, with the methods of scikit-learn's scalers."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_array, hstack, issparse

from selfwise.evaluation.probes.matrix import FeatureBlocks, Matrix

# scikit-learn takes a second to import, and few runs need it: functions import it

# Bags of words are rows of length 1, not standardized: a rare word would count as much as all
# others. Times 16 they have the spread of 256 standardized features, so one grid serves both.
BAG_SCALE = 16.0


@runtime_checkable
class Scaler(Protocol):
    """A scaler as scikit-learn has them."""

    def fit_transform(self, x: Matrix) -> Matrix: ...

    def transform(self, x: Matrix) -> Matrix: ...


def build_scaler(train: Matrix) -> Scaler:
    """Return a scaler that standardizes features; bags of words are only multiplied."""
    from sklearn.preprocessing import StandardScaler

    is_wide = train.shape[1] > train.shape[0]
    if isinstance(train, FeatureBlocks):
        scaler = BlockScaler()
        return RotatingScaler(scaler) if is_wide and not train.is_sparse else scaler
    if issparse(train):
        return BagScaler()
    return RotatingScaler() if is_wide else StandardScaler()


class RotatingScaler:
    """Scales features of which there are more than examples, and rotates them into the space of
    the examples.

    The weights of L2-regularized logistic regression are sums of the examples that are fitted, and
    L-BFGS from zero takes the same steps in any rotation. So the predictions are those of the
    features themselves, from n numbers of an example in place of d.

    Args:
        scale: scales the features first; by default it standardizes them.
    """

    def __init__(self, scale: Scaler | None = None):
        from sklearn.preprocessing import StandardScaler

        self.scale = StandardScaler() if scale is None else scale

    def fit_transform(self, x: Matrix) -> Float[np.ndarray, "n r"]:
        # the SVD by way of the products of the examples: a tenth of the time of a QR
        self.x = self.scale.fit_transform(_to_float64(x))
        squares, eigenvectors = np.linalg.eigh(self.x @ self.x.T)
        present = squares >= 1e-12 * squares[-1]
        lengths = np.sqrt(np.maximum(squares[present], 1e-30))  # all are 0 where nothing varies
        self.axes = eigenvectors[:, present] / lengths
        return eigenvectors[:, present] * lengths

    def transform(self, x: Matrix) -> Float[np.ndarray, "m r"]:
        return self.scale.transform(_to_float64(x)) @ self.x.T @ self.axes


class BagScaler:
    """Scales bags of words."""

    def fit_transform(self, x: Matrix) -> Matrix:
        return x * BAG_SCALE

    transform = fit_transform


class BlockScaler:
    """Scales each block as it would be scaled alone, and puts the blocks side by side.

    The vectors of a block get the length that the first block has alone, times the root of the
    block's share. So all together are as long as the first block alone, and one grid of penalties
    serves both. A sparse block makes the result sparse.
    """

    def fit_transform(self, x: FeatureBlocks) -> Matrix:
        from sklearn.preprocessing import StandardScaler

        self.scalers: list[Any] = [
            BagScaler() if issparse(block) else StandardScaler() for block in x.blocks
        ]
        scaled = [scaler.fit_transform(block) for scaler, block in zip(self.scalers, x.blocks)]
        squares = [_squared_length(scaler) for scaler in self.scalers]
        self.factors = [
            (share * squares[0] / square) ** 0.5 for share, square in zip(x.shares, squares)
        ]
        return self._join(scaled)

    def transform(self, x: FeatureBlocks) -> Matrix:
        return self._join([scaler.transform(b) for scaler, b in zip(self.scalers, x.blocks)])

    def _join(self, scaled: list[Matrix]) -> Matrix:
        weighted = [block * factor for block, factor in zip(scaled, self.factors)]
        if not any(issparse(block) for block in weighted):
            return np.concatenate(weighted, axis=1)
        return hstack([csr_array(block) for block in weighted], format="csr")


def _squared_length(scaler: Any) -> float:
    """Return the mean squared length of scaled vectors: features that vary count 1 each."""
    if isinstance(scaler, BagScaler):
        return BAG_SCALE**2
    return max(1.0, float(np.count_nonzero(scaler.var_)))


def _to_float64(x: Matrix) -> Matrix:
    if isinstance(x, FeatureBlocks):
        return FeatureBlocks(tuple(block.astype(np.float64) for block in x.blocks), x.weights)
    return x.astype(np.float64)
