"""One optimiser step on one global batch."""

import logging
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from torch import Tensor, nn
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
from selfwise.training import schedules
from selfwise.training.compile import RUNS, check_compiled, compile_encoder
from selfwise.training.config import ResolvedTraining
from selfwise.training.optimizers import build_optimizer

# it announces its precision on stderr, where a user's error should be the only line
for name in ("lightning.fabric", "lightning_fabric"):
    logging.getLogger(name).setLevel(logging.WARNING)

PRECISION: dict[str, Any] = {"bf16": "bf16-mixed", "fp16": "16-mixed", "float32": "32-true"}


class Unrounded(MixedPrecision):
    """Half precision where autocast says so, and the view as it is.

    The fabric would round the view itself, all of it and first. A wave in bf16 has the noise of
    eight bits in every band, which an encoder of 80 bands takes for speech.
    """

    def convert_input(self, data: Any) -> Any:
        return data


class Parts(NamedTuple):
    """The moving parts of a run."""

    fabric: Fabric
    method: Method  # bare: makes the views
    wrapped: nn.Module  # as the fabric runs it, with its precision: makes the forward pass
    optimizer: Any
    env: DistributedEnv = SINGLE_PROCESS

    @property
    def inner(self) -> Optimizer:
        """The optimiser without the fabric's wrapper, as it is saved."""
        return self.optimizer.optimizer

    @property
    def scaler(self) -> Any:
        """What keeps fp16 gradients in range, or None."""
        return getattr(self.fabric.strategy.precision, "scaler", None)


def assemble(
    method: Method, options: ResolvedTraining, env: DistributedEnv = SINGLE_PROCESS
) -> Parts:
    """Put the method on its device, build the optimiser, wrap both for the precision.

    Where it is one of several processes, these must be connected, and each must call this.
    """
    kind, _, index = options.device.partition(":")
    told: dict[str, Any] = {"precision": PRECISION[options.precision]}
    if options.precision != "float32" and not method.rounded_view:
        told = {"plugins": Unrounded(told["precision"], kind)}
    if env.size > 1:
        index = "" if kind == "cpu" else str(process_device(env, kind).index)
    fabric = Fabric(accelerator=kind, devices=[int(index)] if index else 1, **told)
    if env.size > 1:
        sync_batch_norms(method, kind)
    method.to(fabric.device)
    if env.size > 1:
        broadcast_weights(method)
    method.train()
    if fabric.device.type == "cuda" or (
        options.precision == "float32" and supports_channels_last(method)
    ):  # what tensor cores read
        method.to(memory_format=torch.channels_last)  # of 4-D weights only
    if fabric.device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    if options.compile:
        compile_encoder(method.encoder)
    beta1, beta2 = method.paper.betas
    optimizer = build_optimizer(
        options.optimizer,
        method,
        lr=options.lr,
        weight_decay=options.weight_decay,
        betas=(beta1, beta2 if options.beta2 is None else options.beta2),
        eps=method.paper.eps,
    )
    wrapped, optimizer = fabric.setup(method, optimizer)
    return Parts(fabric, method, wrapped, optimizer, env)


def train_step(
    parts: Parts, batch: Batch | LocalBatch, step: int, *, seed: int, options: ResolvedTraining
) -> Step:
    """The step with number `step`, in `options.accumulate` micro-batches.

    A pure function of the weights, the optimiser's state, the batch, the seed and the number. Of
    several processes each has a part of the batch, and returns the sums and counts of its part.
    """
    fabric, method, wrapped, optimizer, env = parts
    rank = (env.rank,) if env.rank else ()
    seed_global(fabric.device, seed, "forward", step, *rank)  # dropout: the only global draws
    mine = batch if isinstance(batch, LocalBatch) else LocalBatch(batch)
    views = made_views(parts, mine, step, seed=seed, options=options)
    counts = added([method.counts(view) for view in views])
    if env.size > 1:
        counts = sum_counts({name: count * mine.weight for name, count in counts.items()})
    optimizer.zero_grad(set_to_none=True)
    steps, before = list[Step](), RUNS.count
    for view in views:
        with shared_across_ranks(seed, "layers", step) if env.size > 1 else nullcontext():
            found: Step = wrapped(view)
        shares = [term.sum / counts[name] for name, term in found.terms.items()]
        loss = torch.stack(shares).sum()
        fabric.backward(loss if mine.weight == 1 else loss * mine.weight)
        steps.append(found)
    if options.compile:
        check_compiled(before, method.encoder)
    if env.size > 1:
        all_reduce_gradients(method)
    if options.clip:
        fabric.clip_gradients(method, optimizer, max_norm=options.clip, error_if_nonfinite=False)
    optimizer.step()
    method.after_step()
    return Step(
        added_terms([found.terms for found in steps], mine.weight),
        added_terms([found.metrics for found in steps], mine.weight),
    )


def made_views(
    parts: Parts, mine: LocalBatch, step: int, *, seed: int, options: ResolvedTraining
) -> list[Any]:
    """The view of each micro-batch of a step, on the device."""
    own = to_device(mine.batch, parts.fabric.device)
    n = batch_size(own)  # not options.batch: where seconds decide, it is only their mean
    return [
        parts.method.view(slice_batch(own, part), _draws(seed, step, part, mine, n))
        for part in micro_batches(n, options.accumulate)
    ]


def _draws(seed: int, step: int, part: slice, mine: LocalBatch, n: int) -> Rng:
    part, total = slice(mine.first + part.start, mine.first + part.stop), mine.total or n
    return Rng(generator(seed, "view", step), part, total, seed=seed)


def micro_batches(batch: int, accumulate: int) -> list[slice]:
    """The rows of each micro-batch: the same number in all, or fewer in the last."""
    size = -(-batch // accumulate)
    return [slice(i, min(i + size, batch)) for i in range(0, batch, size)]


def added(counts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The sum of each name over the micro-batches."""
    return {name: torch.stack([c[name] for c in counts]).sum() for name in counts[0]}


@torch.no_grad()
def added_terms(terms: list[dict[str, Term]], weight: float = 1.0) -> dict[str, Term]:
    """Sums and counts of each name over the micro-batches, times the weight."""
    sums = added([{n: t.sum.detach() for n, t in part.items()} for part in terms])
    counts = added([{n: t.count for n, t in part.items()} for part in terms])
    if weight != 1:
        sums, counts = ({n: v * weight for n, v in part.items()} for part in (sums, counts))
    return {name: Term(sums[name], counts[name]) for name in sums}


def set_lr(optimizer: Optimizer, options: ResolvedTraining, step: int) -> float:
    """The rate at this step, a pure function of it."""
    warmup = options.warmup
    rise = round(warmup * options.steps) if warmup < 1 else round(warmup)
    lr = options.lr * schedules.factor(options.schedule, step, steps=options.steps, warmup=rise)
    for group in optimizer.param_groups:
        group["lr"] = lr
    return lr
