"""The one loop, for every method.

A step is a pure function of the weights, the optimiser's state, the seed and the step number:
data, views and dropout are keyed by the step. So a run that is stopped and resumed is bitwise
the run that was not.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from selfwise.core.files import hold_lock
from selfwise.core.memory import keep_freed_memory
from selfwise.core.process import (
    catch_stop_signals,
    check_temporary_folder,
    explain_loader_death,
    limit_threads,
    limit_workers,
)
from selfwise.core.types import Batch
from selfwise.distributed.collectives import local_only
from selfwise.distributed.process_group import SINGLE_PROCESS, DistributedEnv, wait_for_all
from selfwise.distributed.sharding import (
    LocalBatch,
    ShardedBatches,
    all_reduce_step,
    check_same_step,
)
from selfwise.methods.method import Method
from selfwise.training.config import ResolvedTraining
from selfwise.training.progress import Clock, Progress
from selfwise.training.recorder import Keeper, opened
from selfwise.training.step import Parts, assemble, set_lr, train_step


@runtime_checkable
class Batches(Protocol):
    """What the loop reads from: `batches[step]` is a pure function of the step.

    `unit` and `scale`, where it has them, say what progress is counted in ("tokens") and how many
    of them an example has.
    """

    def __getitem__(self, step: int) -> Batch: ...


@runtime_checkable
class Probe(Protocol):
    """A callback from above: measures the method every `every` steps, and changes nothing."""

    every: int

    def __call__(self, method: Method) -> dict[str, float]: ...

    def warning(self, values: dict[str, float]) -> str | None:
        """A sentence for the user, if the values call for one."""
        ...


def fit(
    method: Method,
    batches: Batches,
    options: ResolvedTraining,
    *,
    seed: int,
    out: Path | None = None,
    probes: Sequence[Probe] = (),
    quiet: bool = False,
    env: DistributedEnv = SINGLE_PROCESS,
    beside: Mapping[str, Any] = MappingProxyType({}),
) -> Method:
    """Train for `options.steps` steps, from the last whole checkpoint in `out` if there is one.

    Without `out` nothing is written. Where this is one of several processes, all of them call it,
    and only the first one writes, shows and probes; `probes` of the others must be empty. `beside`
    becomes part of the state of each checkpoint, as plain JSON.

    Raises FloatingPointError when the loss is no number any more, OSError when the disk is full,
    KeyboardInterrupt after a signal and a last checkpoint; the earlier checkpoints stay.
    """
    first = env.rank == 0
    with (
        limit_threads(options.threads),
        keep_freed_memory(),
        _lock_run(out if first else None),
        explain_loader_death(),
    ):
        told: dict[str, Any] = {"seed": seed, "probes": probes, "quiet": quiet or not first}
        told["beside"] = beside
        # a call of its own: what it made for the run is free before memory is given back
        _train(assemble(method, options, env), batches, options, out, **told)
    return method


@contextmanager
def _lock_run(folder: Path | None) -> Iterator[None]:
    """Hold the run folder.

    Raises ValueError if another process holds it: two would write over each other's steps.
    """
    with ExitStack() as stack:
        if folder is not None:
            try:
                stack.enter_context(hold_lock(folder / ".lock", wait=False))
            except TimeoutError as error:
                raise ValueError(f"{folder} is being trained by another process") from error
        yield


def _train(
    parts: Parts,
    batches: Batches,
    options: ResolvedTraining,
    out: Path | None,
    *,
    seed: int,
    probes: Sequence[Probe],
    quiet: bool,
    beside: Mapping[str, Any],
) -> None:
    with opened(parts, options, out, beside) as keeper:
        if parts.env.size > 1:
            check_same_step(keeper.step)
        if keeper.step < options.steps:
            unit, scale = getattr(batches, "unit", "examples"), getattr(batches, "scale", 1)
            each = options.batch * scale
            progress = Progress(keeper.step, options.steps, each, unit=unit, quiet=quiet)
            try:
                _loop(parts, keeper, batches, seed=seed, probes=probes, progress=progress)
            finally:
                progress.close()


def _loop(
    parts: Parts,
    keeper: Keeper,
    batches: Batches,
    *,
    seed: int,
    probes: Sequence[Probe],
    progress: Progress,
) -> None:
    options, clock = keeper.options, Clock()
    with catch_stop_signals() as stopped:
        for step, batch in timed(load(batches, keeper.step, options, parts.env), clock):
            lr = set_lr(parts.optimizer, options, step)
            found = train_step(parts, batch, step, seed=seed, options=options)
            done, stop = step + 1, stopped()
            if parts.env.size > 1:
                found, told = all_reduce_step(found, stop)
                stop = _agreed(told, done, options)
            keeper.meter.add(found)
            clock.steps += 1
            progress.advance(done)
            last = done == options.steps
            probed = _probe(parts.method, probes, done, last=last, progress=progress)
            if done % options.log_every == 0 or last or probed:
                values, times = {**keeper.meter.read(), "lr": lr, **probed}, clock.lap()
                keeper.write(done, values, times)
                progress.show(done, values, times)
            if done % options.save_every == 0 or last or stop:
                keeper.save(done, parts)
            if stop and not last:
                if parts.env.size > 1:
                    wait_for_all()  # the first process is still writing
                raise KeyboardInterrupt(_stopped(done, keeper.out))


def _agreed(told: Tensor, done: int, options: ResolvedTraining) -> bool:
    """Whether any process was told to stop, so that all do after the same step.

    A GPU is asked only where it is waited for anyway.
    """
    return (told.device.type == "cpu" or done % options.log_every == 0) and bool(told)


def _stopped(done: int, out: Path | None) -> str:
    go_on = f" and saved; go on with: selfwise resume {out}" if out is not None else ""
    return f"stopped after step {done}{go_on}"


def _probe(
    method: Method, probes: Sequence[Probe], done: int, *, last: bool, progress: Progress
) -> dict[str, float]:
    found: dict[str, float] = {}
    for probe in probes:
        if done % probe.every == 0 or last:
            with local_only():
                values = probe(method)
            found |= values
            if warning := probe.warning(values):
                progress.say(f"warning: step {done}: {warning}")
    return found


def load(
    batches: Batches, start: int, options: ResolvedTraining, env: DistributedEnv = SINGLE_PROCESS
) -> Iterator[tuple[int, Batch | LocalBatch]]:
    """The batches of the steps from `start`; worker processes read ahead but never reorder.

    Of several processes each gets its part of every batch.
    """
    check_temporary_folder(options.workers)
    steps = range(start, options.steps)
    loader: Any = DataLoader(
        batches if env.size == 1 else ShardedBatches(batches, env),  # type: ignore[arg-type]
        batch_size=None,
        sampler=steps,
        num_workers=limit_workers(options.workers, lambda: batches[start]),
        pin_memory=options.device.startswith("cuda"),
        generator=torch.Generator(),  # otherwise a seed is drawn from the global state
    )
    return zip(steps, loader)


def timed(
    pairs: Iterator[tuple[int, Batch | LocalBatch]], clock: Clock
) -> Iterator[tuple[int, Batch | LocalBatch]]:
    """The same, with the time spent waiting for each batch added to the clock."""
    while True:
        begun = monotonic()
        pair = next(pairs, None)
        clock.waited += monotonic() - begun
        if pair is None:
            return
        yield pair
