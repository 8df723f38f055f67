"""Negative sampling (Mikolov et al. 2013, arXiv:1310.4546, equation 4), with shared negatives.

All centers of a block have the same negatives, so that scores and gradients are products of small
matrices and each vector is fetched once for a block (Ji et al. 2016, arXiv:1604.04661).
"""

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def skipgram_loss(
    centers: Float[Tensor, "b c d"],
    contexts: Float[Tensor, "b n d"],
    negatives: Float[Tensor, "b k d"],
    pairs: Bool[Tensor, "b c n"],
    *,
    negatives_per_pair: int,
) -> Float[Tensor, ""]:
    """Return the sum over all pairs of a center v with a context u: -log sigmoid(u v), minus
    `negatives_per_pair` times the mean of log sigmoid(-n v) over the block's negatives n."""
    near = F.softplus(-(centers @ contexts.transpose(1, 2))) * pairs
    weight = pairs.sum(dim=2, keepdim=True) * (negatives_per_pair / negatives.shape[1])
    far = F.softplus(centers @ negatives.transpose(1, 2)) * weight
    return near.sum() + far.sum()


def cbow_loss(
    contexts: Float[Tensor, "b n d"],
    centers: Float[Tensor, "b c d"],
    negatives: Float[Tensor, "b k d"],
    pairs: Bool[Tensor, "b c n"],
    *,
    negatives_per_pair: int,
) -> Float[Tensor, ""]:
    """Return the sum over all centers u with contexts, whose mean is v: -log sigmoid(u v), minus
    `negatives_per_pair` times the mean of log sigmoid(-n v) over the block's negatives n."""
    size = pairs.sum(dim=2, keepdim=True)
    mean = (pairs.to(contexts.dtype) / size.clamp_min(1)) @ contexts
    weight = (size > 0).to(contexts.dtype)
    near = F.softplus(-(mean * centers).sum(dim=2, keepdim=True)) * weight
    each = negatives_per_pair / negatives.shape[1]
    far = F.softplus(mean @ negatives.transpose(1, 2)) * (weight * each)
    return near.sum() + far.sum()
