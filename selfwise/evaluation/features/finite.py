"""Check that vectors are finite before they are written or probed."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.sparse import issparse

from selfwise.core.progress import format_all
from selfwise.evaluation.probes.matrix import Matrix


def check_vectors(
    vectors: Matrix | Float[np.ndarray, "n *layers d"], ids: Sequence[str], *, of: str
) -> None:
    """Raise ValueError for NaN and infinity, with the first example that has them.

    Args:
        of: what gives the vectors, as in "the encoder".
    """
    if issparse(vectors) or not len(vectors):
        return
    is_finite = np.isfinite(vectors).reshape(len(vectors), -1).all(axis=1)
    bad_rows = np.flatnonzero(~is_finite)
    if len(bad_rows):
        subject = (
            format_all(len(is_finite), "example")
            if len(bad_rows) == len(is_finite)
            else (f"{len(bad_rows):,} of {len(is_finite):,} examples")
        )
        raise ValueError(
            f"{of} gives values that are not finite for {subject}, first for "
            f"{ids[int(bad_rows[0])]}: its weights, or that example, are damaged"
        )
