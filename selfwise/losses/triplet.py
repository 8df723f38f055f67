"""The triplet loss of FaceNet, as a pure function of embeddings."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from selfwise.losses.contrastive import check_shapes


def triplet_loss(
    anchor: Float[Tensor, "n d"],
    positive: Float[Tensor, "n d"],
    negative: Float[Tensor, "n d"],
    margin: float = 0.2,
) -> Float[Tensor, ""]:
    """Return the mean of max(|a - p|^2 - |a - n|^2 + margin, 0) (FaceNet, Schroff et al. 2015, eq.
    3).

    Raises ValueError if the shapes differ, or if the margin is not above zero: at 0 a constant
    embedding is optimal.
    """
    if not margin > 0:
        raise ValueError(f"margin must be above 0, got {margin:g}")
    check_shapes({"anchor": anchor, "positive": positive, "negative": negative})
    near = (anchor - positive).square().sum(dim=1)
    far = (anchor - negative).square().sum(dim=1)
    return F.relu(near - far + margin).mean()
