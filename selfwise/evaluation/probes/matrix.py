"""Features of examples as matrices: dense, sparse, or several blocks side by side."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from scipy.sparse import issparse, sparray, spmatrix

if TYPE_CHECKING:
    Block = Any
else:  # dense features, or bags of words
    Block = Float[np.ndarray, "_ _"] | sparray | spmatrix


@dataclass(frozen=True)
class FeatureBlocks:
    """Two or more kinds of features of the same examples, which a probe reads side by side.

    The blocks stay as they are, dense or sparse: each needs its own scaling, and a sparse block
    must not become dense.
    """

    blocks: tuple[Block, ...]
    weights: tuple[float, ...]  # of the blocks, at equal lengths of their vectors

    def __post_init__(self) -> None:
        assert len(self.blocks) == len(self.weights), (len(self.blocks), self.weights)
        assert len({block.shape[0] for block in self.blocks}) == 1, "blocks of other examples"

    @property
    def shape(self) -> tuple[int, int]:
        return self.blocks[0].shape[0], sum(block.shape[1] for block in self.blocks)

    @property
    def size(self) -> int:
        """How many numbers are stored."""
        return sum(int(block.size) for block in self.blocks)

    @property
    def shares(self) -> tuple[float, ...]:
        """The fraction of the squared length of a vector that each block has; their sum is 1."""
        squares = [weight**2 for weight in self.weights]
        return tuple(square / math.fsum(squares) for square in squares)

    @property
    def is_sparse(self) -> bool:
        return any(issparse(block) for block in self.blocks)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> "FeatureBlocks":
        return FeatureBlocks(tuple(block[rows] for block in self.blocks), self.weights)


if TYPE_CHECKING:
    Matrix = Any
else:
    Matrix = Block | FeatureBlocks


def list_blocks(features: Matrix) -> Sequence[Block]:
    """Return the blocks of features, or the features themselves if they are one block."""
    return features.blocks if isinstance(features, FeatureBlocks) else [features]
