"""Cross-entropies over many classes, a few rows at a time, and cosine logits."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.autograd.function import FunctionCtx

from selfwise.losses.contrastive import check_temperature


def cosine_logits(
    hidden: Float[Tensor, "m d"], codes: Float[Tensor, "c d"], temperature: float = 0.1
) -> Float[Tensor, "m c"]:
    """Return cosines between rows and codes, over the temperature (HuBERT, arXiv:2106.07447, eq.
    3).

    Computes one product of unit vectors, where the published code builds a tensor (c + 1, m, d) of
    all pairs. Always computed in float32 or wider: in bf16, two scores near 10 that differ by 0.03
    are equal.

    Raises ValueError if the temperature is not above zero.
    """
    check_temperature(temperature)
    with torch.autocast(hidden.device.type, enabled=False):
        wide = torch.promote_types(hidden.dtype, torch.float32)
        a, b = (F.normalize(z.to(wide), dim=1) for z in (hidden, codes))
        return a @ b.T / temperature


def masked_cross_entropy(
    logits: Float[Tensor, "m v"], target: Int64[Tensor, "m"], chosen: Bool[Tensor, "m"]
) -> Float[Tensor, ""]:
    """Return the sum of the cross-entropies of the chosen rows, in float32 or wider.

    Computes all rows, so that no shape depends on the number of chosen rows.
    """
    loss: Tensor = _MaskedCrossEntropy.apply(logits, target, chosen)
    return loss


class _MaskedCrossEntropy(torch.autograd.Function):
    """Computes a few rows at a time, so that the wide copies stay in the processor's cache.

    With 30,522 tokens torch's own function writes every intermediate to memory, and in bf16 took a
    third of a training step of BERT mini. As there, the gradient has the dtype of the logits.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, logits: Tensor, target: Tensor, chosen: Tensor) -> Tensor:
        ctx.save_for_backward(logits, target, chosen)
        targets = target.split(_rows_at_once(logits))
        parts = [
            part.log_softmax(dim=1).gather(1, own[:, None])
            for part, own in zip(_split_wide(logits), targets)
        ]
        return torch.where(chosen, -torch.cat(parts)[:, 0], 0.0).sum()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        logits, target, chosen = ctx.saved_tensors
        weight = torch.where(chosen, grads[0], 0.0)[:, None]
        gradient, few = torch.empty_like(logits), _rows_at_once(logits)
        into = zip(gradient.split(few), target[:, None].split(few), weight.split(few))
        for part, (grad, own, share) in zip(_split_wide(logits), into):
            wide = part.softmax(dim=1)
            wide.scatter_(1, own, wide.gather(1, own) - 1)
            grad.copy_(wide.mul_(share))
        return gradient, None, None


def soft_cross_entropy(
    logits: Float[Tensor, "m v"], index: Int64[Tensor, "m k"], share: Float[Tensor, "m k"]
) -> Float[Tensor, "m"]:
    """Return each row's cross-entropy with a target that is divided among k different classes.

    This is minus the sum of share times log of the softmax, in float32 or wider. The shares of a
    row add up to 1, and are not trained.
    """
    loss: Tensor = _SoftCrossEntropy.apply(logits, index, share)
    return loss


class _SoftCrossEntropy(torch.autograd.Function):
    """Computes a few rows at a time, for the reason of `_MaskedCrossEntropy`."""

    @staticmethod
    def forward(ctx: FunctionCtx, logits: Tensor, index: Tensor, share: Tensor) -> Tensor:
        few = _rows_at_once(logits)
        into = zip(_split_wide(logits), index.split(few), share.split(few))
        parts = [
            part.logsumexp(dim=1) - (part.gather(1, own) * of).sum(dim=1) for part, own, of in into
        ]
        ctx.save_for_backward(logits, index, share)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        logits, index, share = ctx.saved_tensors
        gradient, few = torch.empty_like(logits), _rows_at_once(logits)
        into = zip(gradient.split(few), index.split(few), share.split(few), grads[0].split(few))
        for part, (grad, own, of, weight) in zip(_split_wide(logits), into):
            wide = part.softmax(dim=1)
            wide.scatter_(1, own, wide.gather(1, own) - of.to(wide.dtype))
            grad.copy_(wide.mul_(weight[:, None]))
        return gradient, None, None


def _rows_at_once(logits: Tensor) -> int:
    """Return the number of rows whose wide copy is 4 MB on the CPU, and 256 MB elsewhere."""
    max_scores = 1 << (20 if logits.device.type == "cpu" else 26)
    return max(1, max_scores // max(1, logits.shape[1]))


def _split_wide(logits: Tensor) -> Iterator[Tensor]:
    """Yield a few rows after another, in float32 or wider."""
    wide = torch.promote_types(logits.dtype, torch.float32)
    return (part.to(wide) for part in logits.split(_rows_at_once(logits)))


@torch.no_grad()
def count_correct(
    logits: Float[Tensor, "m v"], target: Int64[Tensor, "m"], chosen: Bool[Tensor, "m"]
) -> Float[Tensor, ""]:
    """Count the chosen rows in which the target has the highest score."""
    best = torch.cat([part.argmax(dim=1) for part in _split_wide(logits)])  # slow in bf16
    return ((best == target) & chosen).sum().float()
