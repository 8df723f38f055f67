"""The training loop, used by every method.

A step is a pure function of the weights, the optimizer's state, the seed and the step number: data,
views and dropout are keyed by the step. So a run that is stopped and resumed is bitwise identical
to an uninterrupted run.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

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
from selfwise.training.listeners import NO_LISTENERS, Listeners
from selfwise.training.progress import Clock, Progress
from selfwise.training.recorder import RunRecorder, open_recorder
from selfwise.training.step import TrainState, build_state, set_lr, train_step


@runtime_checkable
class Batches(Protocol):
    """The loop's data: `batches[step]` is a pure function of the step.

    The optional `unit` and `scale` define how progress is counted: in which unit ("tokens"), and
    how many units an example has.
    """

    def __getitem__(self, step: int) -> Batch: ...


@runtime_checkable
class Probe(Protocol):
    """A callback that measures the method every `every` steps without changing it."""

    every: int

    def __call__(self, method: Method) -> dict[str, float]: ...

    def warning(self, values: dict[str, float]) -> str | None:
        """Return a sentence for the user if the values need attention."""
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
    extra_state: Mapping[str, Any] = MappingProxyType({}),
    listeners: Listeners = NO_LISTENERS,
) -> Method:
    """Train for `options.steps` steps, from the last whole checkpoint in `out` if one exists.

    Without `out`, nothing is written. In a run of several processes, all of them call this
    function, and only the first process writes, prints and probes; `probes` of the other processes
    must be empty. `extra_state` becomes part of the state of each checkpoint, as plain JSON.
    `listeners` holds what loggers in `options` need, and the user's functions to call at each log
    line.

    Raises FloatingPointError when the loss becomes NaN or infinite, OSError when the disk is full,
    and
    KeyboardInterrupt after a signal and a last checkpoint; the earlier checkpoints stay.
    """
    first = env.rank == 0
    with (
        limit_threads(options.cpu_threads),
        keep_freed_memory(),
        _lock_run(out if first else None),
        explain_loader_death(),
    ):
        # a separate function: its objects are freed before memory goes back to the system
        _train(
            build_state(method, options, env),
            batches,
            options,
            out,
            seed=seed,
            probes=probes,
            quiet=quiet or not first,
            extra_state=extra_state,
            listeners=listeners,
        )
    return method


@contextmanager
def _lock_run(folder: Path | None) -> Iterator[None]:
    """Hold the lock of the run folder.

    Raises ValueError if another process holds the lock: two processes would overwrite each other's
    steps.
    """
    with ExitStack() as stack:
        if folder is not None:
            try:
                stack.enter_context(hold_lock(folder / ".lock", wait=False))
            except TimeoutError as error:
                raise ValueError(f"{folder} is being trained by another process") from error
        yield


def _train(
    state: TrainState,
    batches: Batches,
    options: ResolvedTraining,
    out: Path | None,
    *,
    seed: int,
    probes: Sequence[Probe],
    quiet: bool,
    extra_state: Mapping[str, Any],
    listeners: Listeners,
) -> None:
    with open_recorder(
        state, options, out, extra_state, listeners=listeners, quiet=quiet
    ) as recorder:
        if state.env.size > 1:
            check_same_step(recorder.step)
        if recorder.step < options.steps:
            unit, scale = getattr(batches, "unit", "examples"), getattr(batches, "scale", 1)
            each = options.batch_size * scale
            progress = Progress(recorder.step, options.steps, each, unit=unit, quiet=quiet)
            try:
                _run_steps(state, recorder, batches, seed=seed, probes=probes, progress=progress)
            finally:
                progress.close()


def _run_steps(
    state: TrainState,
    recorder: RunRecorder,
    batches: Batches,
    *,
    seed: int,
    probes: Sequence[Probe],
    progress: Progress,
) -> None:
    options, clock = recorder.options, Clock()
    pairs = time_batches(load_batches(batches, recorder.step, options, state.env), clock)
    with catch_stop_signals() as stop_requested:
        for step, batch in pairs:
            lr = set_lr(state.optimizer, options, step)
            step_terms = train_step(state, batch, step, seed=seed, options=options)
            done, stop = step + 1, stop_requested()
            if state.env.size > 1:
                step_terms, any_stop = all_reduce_step(step_terms, stop)
                stop = _agree_to_stop(any_stop, done, options)
            recorder.meter.add_step(step_terms)
            clock.steps += 1
            progress.advance(done)
            last = done == options.steps
            probed = _run_probes(state.method, probes, done, last=last, progress=progress)
            if done % options.log_every == 0 or last or probed:
                values, times = {**recorder.meter.compute_means(), "lr": lr, **probed}, clock.lap()
                recorder.write_values(done, values, times)
                progress.show_values(done, values, times)
            if done % options.save_every == 0 or last or stop or done == options.decay_start:
                recorder.save_checkpoint(done, state)
            if stop and not last:
                if state.env.size > 1:
                    wait_for_all()  # the first process is still writing
                raise KeyboardInterrupt(_describe_stop(done, recorder.out))


def _agree_to_stop(any_stop: Tensor, done: int, options: ResolvedTraining) -> bool:
    """Return whether any process of the run must stop, so that all stop after one common step.

    Reads from a GPU only where the loop waits for it anyway.
    """
    return (any_stop.device.type == "cpu" or done % options.log_every == 0) and bool(any_stop)


def _describe_stop(done: int, out: Path | None) -> str:
    go_on = f" and saved; resume with: selfwise resume {out}" if out is not None else ""
    return f"stopped after step {done}{go_on}"


def _run_probes(
    method: Method, probes: Sequence[Probe], done: int, *, last: bool, progress: Progress
) -> dict[str, float]:
    measured: dict[str, float] = {}
    for probe in probes:
        if done % probe.every == 0 or last:
            with local_only():
                values = probe(method)
            measured |= values
            if warning := probe.warning(values):
                progress.print_line(f"warning: step {done}: {warning}")
    return measured


def load_batches(
    batches: Batches, start: int, options: ResolvedTraining, env: DistributedEnv = SINGLE_PROCESS
) -> Iterator[tuple[int, Batch | LocalBatch]]:
    """Return the batches of the steps from `start`; worker processes read ahead but never reorder.

    With several processes, each gets its part of every batch.
    """
    check_temporary_folder(options.num_workers)
    steps = range(start, options.steps)
    source = batches if env.size == 1 else ShardedBatches(batches, env)
    loader = DataLoader(
        cast(Dataset[Batch | LocalBatch], source),  # anything with __getitem__ works
        batch_size=None,
        sampler=steps,
        num_workers=limit_workers(options.num_workers, lambda: batches[start]),
        pin_memory=options.device.startswith("cuda"),
        generator=torch.Generator(),  # otherwise torch draws a seed from the global state
    )
    return zip(steps, loader)


def time_batches(
    pairs: Iterator[tuple[int, Batch | LocalBatch]], clock: Clock
) -> Iterator[tuple[int, Batch | LocalBatch]]:
    """Yield the batches, and add the time spent waiting for each to the clock."""
    while True:
        begun = monotonic()
        pair = next(pairs, None)
        clock.waited += monotonic() - begun
        if pair is None:
            return
        yield pair
