"""Negative sampling (Mikolov et al. 2013, arXiv:1310.4546, equation 4), with shared negatives.

All centers of a block have the same negatives, so that scores and gradients are products of small
matrices and each vector is fetched once for a block (Ji et al. 2016, arXiv:1604.04661).
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def skipgram_loss(
    centers: Float[Tensor, "b c d"],
    others: Float[Tensor, "b o d"],
    pairs: Bool[Tensor, "b c n"],
    *,
    negatives_per_pair: int,
) -> Float[Tensor, ""]:
    """Return the sum over all pairs of a center v with a context u: -log sigmoid(u v), minus
    `negatives_per_pair` times the mean of log sigmoid(-w v) over the block's negatives w.

    Args:
        centers: vectors of the centers.
        others: vectors of n contexts, then of the block's negatives.
        pairs: True where a context is one of a center.
        negatives_per_pair: the weight of the negatives.
    """
    near = pairs.to(centers.dtype)
    shared = others.shape[1] - pairs.shape[2]
    each = near.sum(dim=2, keepdim=True) * (negatives_per_pair / shared)
    loss: Tensor = _Logistic.apply(
        centers, others, torch.cat([near, each.expand(-1, -1, shared)], dim=2), pairs.shape[2]
    )
    return loss


def cbow_loss(
    contexts: Float[Tensor, "b n d"],
    centers: Float[Tensor, "b c d"],
    negatives: Float[Tensor, "b k d"],
    pairs: Bool[Tensor, "b c n"],
    *,
    negatives_per_pair: int,
) -> Float[Tensor, ""]:
    """Return the sum over all centers u with contexts, whose mean is v: -log sigmoid(u v), minus
    `negatives_per_pair` times the mean of log sigmoid(-w v) over the block's negatives w."""
    size = pairs.sum(dim=2, keepdim=True)
    with torch.autocast(contexts.device.type, enabled=False):
        mean = (pairs.to(contexts.dtype) / size.clamp_min(1)) @ contexts
    real = (size > 0).to(contexts.dtype)
    near = F.softplus(-(mean * centers).sum(dim=2, keepdim=True)) * real
    k = negatives.shape[1]
    weight = (real * (negatives_per_pair / k)).expand(-1, -1, k)
    far: Tensor = _Logistic.apply(mean, negatives, weight, 0)
    return near.sum() + far


def _softplus(x: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Return -log sigmoid(-x), to the rounding of 1.

    In a third of the time of torch's own on a CPU, whose log1p is slow. The sigmoid of |x| is at
    least a half, so that its logarithm loses nothing that a sum of such terms would keep.
    """
    return x.relu().sub_(x.abs().sigmoid_().log_())


class _Logistic(torch.autograd.Function):
    """The weighted sum of -log sigmoid(u v) over the first `near` others u of each v, and of
    -log sigmoid(-u v) over the rest.

    The derivative of both is a sigmoid that the sum needs as well, so it is computed once, which
    autograd would not do.
    """

    @staticmethod
    def forward(ctx: Any, v: Tensor, others: Tensor, weight: Tensor, near: int) -> Tensor:
        with torch.autocast(v.device.type, enabled=False):
            scores = v @ others.transpose(1, 2)
        scores[..., :near].neg_()
        loss = (_softplus(scores) * weight).sum()
        slope = scores.sigmoid_().mul_(weight)
        slope[..., :near].neg_()
        ctx.save_for_backward(v, others, slope)
        return loss

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        v, others, slope = ctx.saved_tensors
        slope = slope * gradient
        return slope @ others, slope.transpose(1, 2) @ v, None, None
