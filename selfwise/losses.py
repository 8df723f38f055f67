"""Losses as pure functions of embeddings, and what several processes have of them together."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor


def nt_xent(
    a: Float[Tensor, "n d"], b: Float[Tensor, "n d"], temperature: float = 0.5
) -> Float[Tensor, ""]:
    """NT-Xent (Chen et al. 2020, arXiv:2002.05709, eq. 1), the mean over both directions.

    Rows i of `a` and `b` are two views of example i. For each of the 2n embeddings: the
    cross-entropy of finding its partner among the 2n - 1 others by cosine similarity /
    temperature. Always computed in float32: in bf16 a similarity keeps only 8 bits.

    Raises ValueError if the shapes differ, if there is one example alone, whose loss is 0 whatever
    the encoder does, or if the temperature is not above zero.
    """
    check_temperature(temperature)
    _check_shapes(a=a, b=b)
    if len(a) < 2:
        raise ValueError(f"a contrastive loss compares two examples or more, and got {len(a)}")
    with torch.autocast(a.device.type, enabled=False):
        wide = torch.promote_types(a.dtype, torch.float32)
        z = F.normalize(torch.cat([a, b]).to(wide), dim=1)
        similarity = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
        partner = torch.arange(len(z), device=z.device).roll(len(a))
        return F.cross_entropy(similarity, partner)


def nt_xent_everywhere(
    a: Float[Tensor, "n d"], b: Float[Tensor, "n d"], temperature: float = 0.5
) -> Float[Tensor, ""]:
    """NT-Xent of this process's rows among the rows of all processes, with gradients to all.

    Each process has equally many rows; the mean of their results is `nt_xent` of all rows in one
    process. With one process it is `nt_xent`.

    Raises ValueError as `nt_xent` does.
    """
    if processes() == 1:
        return nt_xent(a, b, temperature)
    check_temperature(temperature)
    _check_shapes(a=a, b=b)
    with torch.autocast(a.device.type, enabled=False):
        wide = torch.promote_types(a.dtype, torch.float32)
        own = F.normalize(torch.cat([a, b]).to(wide), dim=1)
        every = gather_views(own)
        n, total = len(a), len(every) // 2
        row = torch.arange(n, device=a.device) + dist.get_rank() * n
        itself, partner = torch.cat([row, row + total]), torch.cat([row + total, row])
        similarity = own @ every.T / temperature
        return F.cross_entropy(similarity.scatter(1, itself[:, None], -torch.inf), partner)


def triplet(
    anchor: Float[Tensor, "n d"],
    positive: Float[Tensor, "n d"],
    negative: Float[Tensor, "n d"],
    margin: float = 0.2,
) -> Float[Tensor, ""]:
    """Mean of max(|a - p|^2 - |a - n|^2 + margin, 0) (FaceNet, Schroff et al. 2015, eq. 3).

    Raises ValueError if the shapes differ, or if the margin is not above zero: at 0 a constant
    embedding is optimal.
    """
    if not margin > 0:
        raise ValueError(f"margin must be above 0, got {margin:g}")
    _check_shapes(anchor=anchor, positive=positive, negative=negative)
    near = (anchor - positive).square().sum(dim=1)
    far = (anchor - negative).square().sum(dim=1)
    return F.relu(near - far + margin).mean()


def code_cosines(
    hidden: Float[Tensor, "m d"], codes: Float[Tensor, "c d"], temperature: float = 0.1
) -> Float[Tensor, "m c"]:
    """Cosines between rows and codes, over the temperature (HuBERT, arXiv:2106.07447, eq. 3).

    One product of unit vectors, where the published code builds a tensor (c + 1, m, d) of all
    pairs. Always computed in float32 or more: in bf16 two scores near 10 that differ by 0.03 are
    the same.

    Raises ValueError if the temperature is not above zero.
    """
    check_temperature(temperature)
    with torch.autocast(hidden.device.type, enabled=False):
        wide = torch.promote_types(hidden.dtype, torch.float32)
        a, b = (F.normalize(z.to(wide), dim=1) for z in (hidden, codes))
        return a @ b.T / temperature


def chosen_cross_entropy(
    logits: Float[Tensor, "m v"], target: Int64[Tensor, "m"], chosen: Bool[Tensor, "m"]
) -> Float[Tensor, ""]:
    """The sum of the cross-entropies of the rows that are chosen; in float32 at least.

    All rows are computed, so that no shape depends on how many are chosen.
    """
    return _ChosenCrossEntropy.apply(logits, target, chosen)  # type: ignore[no-any-return]


class _ChosenCrossEntropy(torch.autograd.Function):
    """A few rows at a time, so that the wide copies stay in the processor's cache.

    With 30,522 tokens torch's own goes through the memory for every intermediate, and in bf16 took
    a third of a training step of BERT mini. Its gradient has the dtype of the logits here too.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, chosen: Tensor) -> Tensor:
        ctx.save_for_backward(logits, target, chosen)
        wanted = target.split(_few(logits))
        parts = [
            part.log_softmax(dim=1).gather(1, own[:, None])
            for part, own in zip(_wide_parts(logits), wanted)
        ]
        return torch.where(chosen, -torch.cat(parts)[:, 0], 0.0).sum()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        logits, target, chosen = ctx.saved_tensors
        weight = torch.where(chosen, grads[0], 0.0)[:, None]
        found, few = torch.empty_like(logits), _few(logits)
        into = zip(found.split(few), target[:, None].split(few), weight.split(few))
        for part, (grad, own, share) in zip(_wide_parts(logits), into):
            wide = part.softmax(dim=1)
            wide.scatter_(1, own, wide.gather(1, own) - 1)
            grad.copy_(wide.mul_(share))
        return found, None, None


def soft_cross_entropy(
    logits: Float[Tensor, "m v"], index: Int64[Tensor, "m k"], share: Float[Tensor, "m k"]
) -> Float[Tensor, "m"]:
    """Each row's cross-entropy with a target that is shared out to k different classes.

    Minus the sum of share times log of the softmax; in float32 at least. The shares of a row add up
    to 1, and are not trained.
    """
    return _SoftCrossEntropy.apply(logits, index, share)  # type: ignore[no-any-return]


class _SoftCrossEntropy(torch.autograd.Function):
    """A few rows at a time, for the reason of `_ChosenCrossEntropy`."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, index: Tensor, share: Tensor) -> Tensor:
        few = _few(logits)
        into = zip(_wide_parts(logits), index.split(few), share.split(few))
        parts = [
            part.logsumexp(dim=1) - (part.gather(1, own) * of).sum(dim=1) for part, own, of in into
        ]
        ctx.save_for_backward(logits, index, share)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        logits, index, share = ctx.saved_tensors
        found, few = torch.empty_like(logits), _few(logits)
        into = zip(found.split(few), index.split(few), share.split(few), grads[0].split(few))
        for part, (grad, own, of, weight) in zip(_wide_parts(logits), into):
            wide = part.softmax(dim=1)
            wide.scatter_(1, own, wide.gather(1, own) - of.to(wide.dtype))
            grad.copy_(wide.mul_(weight[:, None]))
        return found, None, None


def _few(logits: Tensor) -> int:
    """So many rows that their wide copy is 4 MB on the CPU, and 256 MB elsewhere."""
    most = 1 << (20 if logits.device.type == "cpu" else 26)
    return max(1, most // max(1, logits.shape[1]))


def _wide_parts(logits: Tensor) -> Iterator[Tensor]:
    """A few rows after the other, in float32 at least."""
    wide = torch.promote_types(logits.dtype, torch.float32)
    return (part.to(wide) for part in logits.split(_few(logits)))


@torch.no_grad()
def chosen_hits(
    logits: Float[Tensor, "m v"], target: Int64[Tensor, "m"], chosen: Bool[Tensor, "m"]
) -> Float[Tensor, ""]:
    """In how many of the chosen rows the target has the highest score."""
    best = torch.cat([part.argmax(dim=1) for part in _wide_parts(logits)])  # slow in bf16
    return ((best == target) & chosen).sum().float()


_apart: ContextVar[bool] = ContextVar("apart", default=False)


@contextmanager
def alone() -> Iterator[None]:
    """Inside of it this process asks nothing of the others: for what one process does alone."""
    before = _apart.set(True)
    try:
        yield
    finally:
        _apart.reset(before)


def processes() -> int:
    """How many processes compute a loss together."""
    if _apart.get() or not (dist.is_available() and dist.is_initialized()):
        return 1
    return dist.get_world_size()


def gather(x: Shaped[Tensor, "n ..."]) -> Shaped[Tensor, "m ..."]:
    """The rows of all processes, in the order of the processes; gradients go back to their rows.

    Each process has equally many rows, and the gradient of a row is the sum over all processes:
    that of the sum of their losses. With one process it is `x`.
    """
    return x if processes() == 1 else _Gather.apply(x)  # type: ignore[no-any-return]


def gather_views(x: Shaped[Tensor, "n ..."]) -> Shaped[Tensor, "m ..."]:
    """`gather` of rows that are two views of each example, all first views before all second."""
    if processes() == 1:
        return x
    return torch.cat([gather(view) for view in x.chunk(2)])


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format)]
        parts += [torch.empty_like(parts[0]) for _ in range(dist.get_world_size() - 1)]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[dist.get_rank() * ctx.rows :][: ctx.rows]


def check_temperature(temperature: float) -> None:
    """Raises ValueError unless the temperature is a number above zero."""
    if not temperature > 0:
        raise ValueError(
            f"temperature must be above 0, got {temperature:g} (the paper uses 0.1 to 1)"
        )


def _check_shapes(**embeddings: Tensor) -> None:
    """Row i of each is example i; torch would broadcast, or pair the wrong rows."""
    shapes = {name: tuple(z.shape) for name, z in embeddings.items()}
    if len(set(shapes.values())) > 1 or len(next(iter(shapes.values()))) != 2:
        got = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"{' and '.join(shapes)} must have one shape (n, d), got {got}")
