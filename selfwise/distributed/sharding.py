"""The part of a step in each of several processes, and how the parts are combined.

The batch of a step is split into as many parts as there are processes, in order. Draws are made for
the whole batch; counts are summed before the backward passes, gradients and metrics after them.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from selfwise.core.sparse import coalesce_rows
from selfwise.core.types import Batch, Step, Term, batch_size, shard_slice, slice_batch
from selfwise.distributed.process_group import DistributedEnv

BUCKET_BYTES = 25 * 2**20  # bytes of gradients that are summed at once


class LocalBatch(NamedTuple):
    """The rows of a batch that one process computes."""

    batch: Batch
    first: int = 0  # the place of its first row in the whole batch
    total: int = 0  # rows of the whole batch; 0: the number of rows here
    weight: float = 1.0  # 0 for a placeholder row, if there are fewer rows than processes


@runtime_checkable
class BatchSource(Protocol):
    """The batch of each step."""

    def __getitem__(self, step: int, /) -> Batch: ...


@runtime_checkable
class ShardedSource(Protocol):
    """A source that can read the rows of one process alone."""

    def read_part(self, step: int, index: int, count: int, /) -> tuple[Batch, int, int]:
        """Read shard `index` of `count`: its rows, the number of the first, and the number of
        all."""
        ...


class ShardedBatches:
    """The rows of each step's batch that a process computes; a data set for the loader."""

    def __init__(self, batches: BatchSource, env: DistributedEnv):
        self.batches, self.env = batches, env

    def __getitem__(self, step: int) -> LocalBatch:
        rank, size = self.env.rank, self.env.size
        if isinstance(self.batches, ShardedSource):
            batch, first, total = self.batches.read_part(step, rank, size)
        else:
            whole = self.batches[step]
            total = batch_size(whole)
            rows = shard_slice(total, rank, size)
            batch, first = slice_batch(whole, rows), rows.start
        return LocalBatch(batch, first, total, weight=float(rank < total))


def sum_counts(counts: dict[str, Tensor]) -> dict[str, Tensor]:
    """Sum the counts of all processes."""
    sums = torch.stack(list(counts.values()))
    dist.all_reduce(sums)
    return dict(zip(counts, sums.unbind()))


@torch.no_grad()
def broadcast_weights(method: nn.Module) -> None:
    """Copy the weights of the first process to all; they differ only if machines differ."""
    for tensor in method.state_dict().values():
        dist.broadcast(tensor, src=0)


def check_same_step(step: int) -> None:
    """Raise ValueError unless all processes resume from one checkpoint."""
    numbers = torch.zeros(dist.get_world_size(), dtype=torch.int64)
    numbers[dist.get_rank()] = step
    numbers = numbers.to("cuda") if dist.get_backend() == "nccl" else numbers
    dist.all_reduce(numbers)
    steps = numbers.tolist()
    if len(set(steps)) > 1:
        raise ValueError(
            f"the processes found the checkpoints of the steps {', '.join(map(str, steps))}: all "
            "machines of a run must see one folder"
        )


@torch.no_grad()
def all_reduce_gradients(method: nn.Module) -> None:
    """Sum the gradients of all processes, once per step.

    This does not use DistributedDataParallel: it changes its buckets after its first step, so that
    a resumed run of three processes would add in another order than an uninterrupted run; and it
    must know which parameters have no gradient. Here the buckets never change. Each bucket is
    pending while the next one is packed.
    """
    for p in method.parameters():
        if p.grad is not None and p.grad.is_sparse:
            p.grad = _add_sparse(p.grad)
    grads = [p.grad for p in method.parameters() if p.grad is not None and not p.grad.is_sparse]
    pending = []
    for bucket in _buckets(grads):
        flat = torch.cat([grad.flatten() for grad in bucket])
        pending.append((bucket, flat, dist.all_reduce(flat, async_op=True)))
    for bucket, flat, work in pending:
        work.wait()
        sums = flat.split([grad.numel() for grad in bucket])
        torch._foreach_copy_(bucket, [s.view_as(grad) for s, grad in zip(sums, bucket)])


def _add_sparse(gradient: Tensor) -> Tensor:
    """Return the sum of the sparse gradients of all processes, added in the order of the ranks."""
    gradient = coalesce_rows(gradient)
    rows, values = gradient.indices()[0], gradient.values()
    sizes = [
        torch.empty((), dtype=torch.int64, device=rows.device) for _ in range(dist.get_world_size())
    ]
    dist.all_gather(sizes, torch.tensor(len(rows), device=rows.device))
    counts = [int(size) for size in sizes]
    all_rows, all_values = (_gather_ragged(part, counts) for part in (rows, values))
    together = torch.sparse_coo_tensor(
        all_rows[None], all_values, gradient.shape, check_invariants=False
    )
    return together.coalesce()


def _gather_ragged(part: Tensor, counts: list[int]) -> Tensor:
    """Return the parts of all processes one after another; they have these numbers of rows."""
    padded = part.new_zeros(max(counts), *part.shape[1:])
    padded[: len(part)] = part
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([one[:count] for one, count in zip(parts, counts)])


def _buckets(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    """Group consecutive tensors of one dtype into buckets of about BUCKET_BYTES."""
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        if bucket and (size >= BUCKET_BYTES or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.numel() * tensor.element_size()
    if bucket:
        yield bucket


@torch.no_grad()
def all_reduce_step(step: Step, stop: bool) -> tuple[Step, Tensor]:
    """Sum the terms and metrics of all processes, and count the processes that want to stop.

    One all-reduce in float64, the type of the recorded sums; it does not wait for the device.
    """
    all_terms = [*step.terms.values(), *step.metrics.values()]
    numbers = [number.double() for term in all_terms for number in term]
    flag = torch.full_like(numbers[0], float(stop))
    row = torch.stack([flag, *numbers])
    dist.all_reduce(row)
    flag, *rest = row.unbind()
    terms = iter([Term(*pair) for pair in zip(rest[::2], rest[1::2])])
    return Step({n: next(terms) for n in step.terms}, {n: next(terms) for n in step.metrics}), flag
