"""Smooth inverse frequency (Arora, Liang and Ma, ICLR 2017): sentence vectors from word vectors.

Algorithm 1: a sentence is the mean of its words' vectors v, each times a / (a + p(v)), and then all
sentences lose their common component, the first singular vector of the sentences' matrix.
"""

import numpy as np
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from selfwise.evaluation.probes.baselines import FeatureSplit

SMOOTHING = 1e-3  # a; the paper finds 1e-4 to 1e-3 best (section 4.1)


def weigh_by_rarity(counts: Int64[Tensor, "v"]) -> Float[Tensor, "v"]:
    """Return a / (a + p) for each token, where p is its fraction of the training text.

    Unknown words are words of the text too, so they are part of the sum.
    """
    fraction = counts.double() / counts.sum().clamp_min(1)
    return (SMOOTHING / (SMOOTHING + fraction)).float()


def remove_common_component(split: FeatureSplit) -> FeatureSplit:
    """Return the vectors without their projection on the common component.

    The component is fitted on the training vectors alone, and without centering, as in the paper.
    """
    component = find_common_component(split.train)
    return FeatureSplit(*(_project_out(vectors, component) for vectors in split))


def find_common_component(vectors: Float32[np.ndarray, "n d"]) -> np.ndarray:
    """Return the first right singular vector, float64 (d,), of the matrix of vectors."""
    wide = vectors.astype(np.float64)
    _, directions = np.linalg.eigh(wide.T @ wide)  # ascending; d is far smaller than n
    component: np.ndarray = directions[:, -1]
    return component


def _project_out(vectors: np.ndarray, component: np.ndarray) -> np.ndarray:
    rest = vectors - np.outer(vectors @ component, component)
    return rest.astype(np.float32)
