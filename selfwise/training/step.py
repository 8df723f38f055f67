"""One optimizer step on one global batch."""

from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from selfwise.core.rng import Rng, generator, seed_global, shared_across_ranks
from selfwise.core.types import Batch, Step, Term, batch_size, slice_batch, to_device
from selfwise.distributed.process_group import SINGLE_PROCESS, DistributedEnv, process_device
from selfwise.distributed.sharding import (
    LocalBatch,
    all_reduce_gradients,
    broadcast_weights,
    sum_counts,
)
from selfwise.distributed.sync_batchnorm import sync_batch_norms
from selfwise.methods.method import Method
from selfwise.nn.channels_last import supports_channels_last
from selfwise.training.compile import COMPILED_RUNS, check_compiled, compile_encoder
from selfwise.training.config import ResolvedTraining
from selfwise.training.metrics_log import GRAD_NORM
from selfwise.training.optimizers import build_optimizer
from selfwise.training.precision import Precision, choose_precision


class TrainState(NamedTuple):
    """The mutable parts of a run."""

    device: torch.device
    method: Method
    optimizer: Optimizer
    precision: Precision
    env: DistributedEnv = SINGLE_PROCESS


def build_state(
    method: Method, options: ResolvedTraining, env: DistributedEnv = SINGLE_PROCESS
) -> TrainState:
    """Move the method to its device, build the optimizer, and prepare both for the precision.

    With several processes, they must be connected, and each must call this function.
    """
    device = choose_device(options.device, env)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if env.size > 1:
        sync_batch_norms(method, device.type)
    method.to(device)
    if env.size > 1:
        broadcast_weights(method)
    method.train()
    if device.type == "cuda" or (
        options.precision == "float32" and supports_channels_last(method)
    ):  # the layout that tensor cores read
        method.to(memory_format=torch.channels_last)  # affects 4-D weights only
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    if options.compile:
        compile_encoder(method.encoder)
    beta1, beta2 = method.paper.betas
    optimizer = build_optimizer(
        options.optimizer,
        method,
        lr=options.lr,
        weight_decay=options.weight_decay,
        betas=(beta1, beta2 if options.adam_beta2 is None else options.adam_beta2),
        eps=method.paper.eps,
    )
    precision = choose_precision(options.precision, device.type, rounds_view=method.rounded_view)
    return TrainState(device, method, optimizer, precision, env)


def choose_device(name: str, env: DistributedEnv = SINGLE_PROCESS) -> torch.device:
    """Return the device of this process. `cuda` is the first GPU: torch needs a number to set
    it."""
    device = torch.device(name)
    if env.size > 1:
        return process_device(env, device.type)
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def train_step(
    state: TrainState, batch: Batch | LocalBatch, step: int, *, seed: int, options: ResolvedTraining
) -> Step:
    """Take the step with number `step`, in `options.grad_accum_steps` micro-batches.

    A pure function of the weights, the optimizer's state, the batch, the seed and the number. With
    several processes, each has a part of the batch and returns the sums and counts of its part.
    """
    device, method, optimizer, precision, env = state
    rank = (env.rank,) if env.rank else ()
    seed_global(device, seed, "forward", step, *rank)  # dropout: the only draws from a global state
    local_batch = batch if isinstance(batch, LocalBatch) else LocalBatch(batch)
    views = make_views(state, local_batch, step, seed=seed, options=options)
    counts = add_counts([method.counts(view) for view in views])
    if env.size > 1:
        counts = sum_counts({name: count * local_batch.weight for name, count in counts.items()})
    optimizer.zero_grad(set_to_none=True)
    steps, before = list[Step](), COMPILED_RUNS.count
    for view in views:
        with shared_across_ranks(seed, "layers", step) if env.size > 1 else nullcontext():
            step_terms = precision.forward(method, view)
        shares = [term.sum / counts[name] for name, term in step_terms.terms.items()]
        loss = torch.stack(shares).sum()
        precision.backward(loss if local_batch.weight == 1 else loss * local_batch.weight)
        steps.append(step_terms)
    if options.compile:
        check_compiled(before, method.encoder)
    if env.size > 1:
        all_reduce_gradients(method)
    norm = precision.clip_gradients(optimizer, options.grad_clip)
    precision.update_weights(optimizer)
    method.after_step()
    return Step(
        add_terms([micro_batch.terms for micro_batch in steps], local_batch.weight),
        add_terms([micro_batch.metrics for micro_batch in steps], local_batch.weight)
        | {GRAD_NORM: norm},  # equal in all processes, which have added their gradients
    )


def make_views(
    state: TrainState, local_batch: LocalBatch, step: int, *, seed: int, options: ResolvedTraining
) -> list[Any]:
    """Return the view of each micro-batch of a step, on the device."""
    own = to_device(local_batch.batch, state.device)
    progress = step / options.steps if options.steps else 0.0  # not yet known while steps are timed
    n = batch_size(own)  # not options.batch_size: where seconds decide, that is only the mean
    return [
        state.method.view(
            slice_batch(own, part), _make_rng(seed, step, part, local_batch, n, progress)
        )
        for part in split_micro_batches(n, options.grad_accum_steps)
    ]


def _make_rng(
    seed: int, step: int, part: slice, local_batch: LocalBatch, n: int, progress: float
) -> Rng:
    first, total = local_batch.first, local_batch.total or n
    rows = slice(first + part.start, first + part.stop)
    return Rng(generator(seed, "view", step), rows, total, seed=seed, progress=progress)


def split_micro_batches(batch: int, accumulate: int) -> list[slice]:
    """Return the rows of each micro-batch: an equal number in each, or fewer in the last."""
    size = -(-batch // accumulate)
    return [slice(i, min(i + size, batch)) for i in range(0, batch, size)]


def add_counts(counts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the sum of each name over the micro-batches."""
    return {name: torch.stack([c[name] for c in counts]).sum() for name in counts[0]}


@torch.no_grad()
def add_terms(terms: list[dict[str, Term]], weight: float = 1.0) -> dict[str, Term]:
    """Return sums and counts of each name over the micro-batches, times the weight."""
    sums = add_counts([{n: t.sum.detach() for n, t in part.items()} for part in terms])
    counts = add_counts([{n: t.count for n, t in part.items()} for part in terms])
    if weight != 1:
        sums, counts = ({n: v * weight for n, v in part.items()} for part in (sums, counts))
    return {name: Term(sums[name], counts[name]) for name in sums}


def set_lr(optimizer: Optimizer, options: ResolvedTraining, step: int) -> float:
    """Set and return the learning rate of this step, a pure function of the step."""
    lr = options.lr_at(step)
    for group in optimizer.param_groups:
        group["lr"] = lr
    return lr
