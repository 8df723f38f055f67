"""The one loop, for every method.

A step is a pure function of the weights, the optimiser's state, the seed and the step number:
data, views and dropout are keyed by the step. So a run that is stopped and resumed is bitwise
the run that was not.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Protocol, runtime_checkable

import torch
from torch.utils.data import DataLoader

from selfwise.methods.method import Method
from selfwise.train.keep import Keeper, opened
from selfwise.train.options import Resolved
from selfwise.train.process import locked, stop_signals, threads
from selfwise.train.progress import Clock, Progress
from selfwise.train.step import Parts, assemble, set_lr, train_step
from selfwise.types import Batch


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
    options: Resolved,
    *,
    seed: int,
    out: Path | None = None,
    probes: Sequence[Probe] = (),
    quiet: bool = False,
) -> Method:
    """Train for `options.steps` steps, from the last whole checkpoint in `out` if there is one.

    Without `out` nothing is written. Raises FloatingPointError when the loss is no number any
    more, OSError when the disk is full, KeyboardInterrupt after a signal and a last checkpoint;
    the earlier checkpoints stay.
    """
    with threads(options.threads), locked(out):
        parts = assemble(method, options)
        with opened(parts, options, out) as keeper:
            if keeper.step < options.steps:
                unit, scale = getattr(batches, "unit", "examples"), getattr(batches, "scale", 1)
                each = options.batch * scale
                progress = Progress(keeper.step, options.steps, each, unit=unit, quiet=quiet)
                try:
                    _loop(parts, keeper, batches, seed=seed, probes=probes, progress=progress)
                finally:
                    progress.close()
    return method


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
    with stop_signals() as stopped:
        for step, batch in timed(load(batches, keeper.step, options), clock):
            lr = set_lr(parts.optimizer, options, step)
            keeper.meter.add(train_step(parts, batch, step, seed=seed, options=options))
            done, stop = step + 1, stopped()
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
                raise KeyboardInterrupt(_stopped(done, keeper.out))


def _stopped(done: int, out: Path | None) -> str:
    go_on = f" and saved; go on with: selfwise resume {out}" if out is not None else ""
    return f"stopped after step {done}{go_on}"


def _probe(
    method: Method, probes: Sequence[Probe], done: int, *, last: bool, progress: Progress
) -> dict[str, float]:
    found: dict[str, float] = {}
    for probe in probes:
        if done % probe.every == 0 or last:
            values = probe(method)
            found |= values
            if warning := probe.warning(values):
                progress.say(f"warning: step {done}: {warning}")
    return found


def load(batches: Batches, start: int, options: Resolved) -> Iterator[tuple[int, Batch]]:
    """The batches of the steps from `start`; worker processes read ahead but never reorder."""
    steps = range(start, options.steps)
    loader: Any = DataLoader(
        batches,  # type: ignore[arg-type]
        batch_size=None,
        sampler=steps,
        num_workers=options.workers,
        pin_memory=options.device.startswith("cuda"),
        generator=torch.Generator(),  # otherwise a seed is drawn from the global state
    )
    return zip(steps, loader)


def timed(pairs: Iterator[tuple[int, Batch]], clock: Clock) -> Iterator[tuple[int, Batch]]:
    """The same, with the time spent waiting for each batch added to the clock."""
    while True:
        begun = monotonic()
        pair = next(pairs, None)
        clock.waited += monotonic() - begun
        if pair is None:
            return
        yield pair
