"""What each of several processes does of a step, and how their shares become one.

The batch of a step is cut into as many parts as there are processes, in their order. Draws are
made for the whole batch, counts are added before the backward passes, gradients and metrics after.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from selfwise.core.types import Batch, Step, Term, batch_size, shard_slice, slice_batch
from selfwise.distributed.process_group import DistributedEnv

BUCKET_BYTES = 25 * 2**20  # bytes of gradients that are added at once


class LocalBatch(NamedTuple):
    """The rows of a batch that one process computes."""

    batch: Batch
    first: int = 0  # the place of its first row in the whole batch
    total: int = 0  # rows of the whole batch; 0: as many as there are here
    weight: float = 1.0  # 0 where there are fewer rows than processes: a row to go along with


class ShardedBatches:
    """The part of each step's batch that a process computes; as a data set for the loader.

    A source with `part(step, rank, size) -> (batch, first row, rows in all)` reads no more.
    """

    def __init__(self, batches: Any, env: DistributedEnv):
        self.batches, self.env = batches, env

    def __getitem__(self, step: int) -> LocalBatch:
        rank, size = self.env.rank, self.env.size
        if hasattr(self.batches, "part"):
            batch, first, total = self.batches.part(step, rank, size)
        else:
            whole = self.batches[step]
            total = batch_size(whole)
            mine = shard_slice(total, rank, size)
            batch, first = slice_batch(whole, mine), mine.start
        return LocalBatch(batch, first, total, weight=float(rank < total))


def sum_counts(counts: dict[str, Tensor]) -> dict[str, Tensor]:
    """The counts of all processes, added."""
    found = torch.stack(list(counts.values()))
    dist.all_reduce(found)
    return dict(zip(counts, found.unbind()))


@torch.no_grad()
def broadcast_weights(method: nn.Module) -> None:
    """Those of the first process; they are the same already, unless machines differ."""
    for tensor in method.state_dict().values():
        dist.broadcast(tensor, src=0)


def check_same_step(step: int) -> None:
    """Raises ValueError unless all processes go on from the same checkpoint."""
    found = torch.zeros(dist.get_world_size(), dtype=torch.int64)
    found[dist.get_rank()] = step
    found = found.to("cuda") if dist.get_backend() == "nccl" else found
    dist.all_reduce(found)
    steps = found.tolist()
    if len(set(steps)) > 1:
        raise ValueError(
            f"the processes found the checkpoints of the steps {', '.join(map(str, steps))}: all "
            "machines of a run have to see the same folder"
        )


@torch.no_grad()
def all_reduce_gradients(method: nn.Module) -> None:
    """Add the gradients of all processes, once a step.

    Not by DistributedDataParallel: after its first step it adds them in other pieces, so that a
    run of three processes that goes on would add in another order than the one that was not
    stopped; and it must be told of parameters that have no gradient. Here the pieces are always
    the same, and a sum is what is wanted. They are on their way while the next are packed.
    """
    grads = [p.grad for p in method.parameters() if p.grad is not None]
    sent = []
    for piece in _buckets(grads):
        flat = torch.cat([grad.flatten() for grad in piece])
        sent.append((piece, flat, dist.all_reduce(flat, async_op=True)))
    for piece, flat, work in sent:
        work.wait()
        sums = flat.split([grad.numel() for grad in piece])
        torch._foreach_copy_(piece, [s.view_as(grad) for s, grad in zip(sums, piece)])


def _buckets(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    """Neighbours of one dtype, about PIECE bytes of them."""
    piece: list[Tensor] = []
    size = 0
    for tensor in tensors:
        if piece and (size >= BUCKET_BYTES or tensor.dtype != piece[0].dtype):
            yield piece
            piece, size = [], 0
        piece.append(tensor)
        size += tensor.numel() * tensor.element_size()
    if piece:
        yield piece


@torch.no_grad()
def all_reduce_step(step: Step, stop: bool) -> tuple[Step, Tensor]:
    """Terms and metrics of all processes, added, and how many of them were told to stop.

    In one go, and nothing waits for the device; in float64, as they are kept.
    """
    found = [*step.terms.values(), *step.metrics.values()]
    numbers = [number.double() for term in found for number in term]
    flag = torch.full_like(numbers[0], float(stop))
    row = torch.stack([flag, *numbers])
    dist.all_reduce(row)
    flag, *rest = row.unbind()
    terms = iter([Term(*pair) for pair in zip(rest[::2], rest[1::2])])
    return Step({n: next(terms) for n in step.terms}, {n: next(terms) for n in step.metrics}), flag
