"""Collectives over the rows of several processes, with gradients."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor

_local_only: ContextVar[bool] = ContextVar("local_only", default=False)


@contextmanager
def local_only() -> Iterator[None]:
    """Make this process act as if it were the only one: no collective waits for other processes."""
    token = _local_only.set(True)
    try:
        yield
    finally:
        _local_only.reset(token)


def world_size() -> int:
    """Count the processes that compute a loss together."""
    if _local_only.get() or not (dist.is_available() and dist.is_initialized()):
        return 1
    return dist.get_world_size()


def gather_rows(x: Shaped[Tensor, "n ..."]) -> Shaped[Tensor, "m ..."]:
    """Gather the rows of all processes, in the order of the ranks; gradients return to their rows.

    Every process has the same number of rows. The gradient of a row is the sum over all processes,
    which is the gradient of the sum of their losses. With one process the result is `x`.
    """
    return x if world_size() == 1 else _Gather.apply(x)


def gather_views(x: Shaped[Tensor, "n ..."]) -> Shaped[Tensor, "m ..."]:
    """Gather two views of each example; in `x` and the result, all first views come first."""
    if world_size() == 1:
        return x
    return torch.cat([gather_rows(view) for view in x.chunk(2)])


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
