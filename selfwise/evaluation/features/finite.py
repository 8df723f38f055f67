"""Vectors that are numbers: nothing else is written or probed."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.sparse import issparse

from selfwise.evaluation.probes.linear import Matrix


def check_vectors(
    vectors: Matrix | Float[np.ndarray, "n *layers d"], ids: Sequence[str], *, of: str
) -> None:
    """Raises ValueError for NaN and infinity, with the first example that has them.

    Args:
        of: what gives the vectors, as in "the encoder".
    """
    if issparse(vectors) or not len(vectors):
        return
    right = np.isfinite(vectors).reshape(len(vectors), -1).all(axis=1)
    bad = np.flatnonzero(~right)
    if len(bad):
        which = (
            f"all {len(right):,} examples"
            if len(bad) == len(right)
            else (f"{len(bad):,} of {len(right):,} examples")
        )
        raise ValueError(
            f"{of} gives values that are not finite for {which}, first for {ids[int(bad[0])]}: "
            "its weights, or that example, are damaged"
        )
