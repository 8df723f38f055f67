"""The one loop, for every method.

A step is a pure function of the weights, the optimiser's state, the seed and the step number:
data, views and dropout are keyed by the step. So a run that is stopped and resumed is bitwise
the run that was not.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from selfwise.methods.method import Method
from selfwise.rng import Rng, generator, hashed
from selfwise.train import checkpoint, log, schedule
from selfwise.train.optim import build_optimizer
from selfwise.train.options import Options
from selfwise.train.process import locked, stop_signals, threads
from selfwise.train.progress import Clock, Progress
from selfwise.types import Batch, Step, Term, rows, to

# it announces its precision on stderr, where a user's error should be the only line
logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)

PRECISION = {"bf16": "bf16-mixed", "float32": "32-true"}


@runtime_checkable
class Batches(Protocol):
    """What the loop reads from: `batches[step]` is a pure function of the step."""

    def __getitem__(self, step: int) -> Batch: ...


@runtime_checkable
class Probe(Protocol):
    """A callback from above: measures the encoder every `every` steps, changes nothing."""

    every: int

    def __call__(self, method: Method) -> dict[str, float]: ...


class Parts(NamedTuple):
    """The moving parts of a run."""

    fabric: Fabric
    method: Method
    wrapped: nn.Module  # the method as the fabric runs it: device, precision
    optimizer: Any


def fit(
    method: Method,
    batches: Batches,
    options: Options,
    *,
    seed: int,
    out: Path | None = None,
    probes: Sequence[Probe] = (),
    quiet: bool = False,
) -> Method:
    """Train for `options.steps` steps, from the last whole checkpoint in `out` if there is one.

    Without `out` nothing is written. Raises FloatingPointError when the loss is no number any
    more and OSError when the disk is full; the earlier checkpoints stay.
    """
    assert options.steps is not None, "options are resolved first"
    assert options.batch is not None, "options are resolved first"
    with threads(options.threads), locked(out):
        parts = assemble(method, options)
        start, meter, keeper = _begin(parts, options, out, quiet)
        if start >= options.steps:
            return method
        progress = Progress(start=start, steps=options.steps, batch=options.batch, quiet=quiet)
        try:
            _loop(parts, batches, options, seed, start, meter, keeper, probes, progress)
        finally:
            progress.close()
            if keeper is not None:
                keeper.log.close()
    return method


def assemble(method: Method, options: Options) -> Parts:
    """Put the method on its device, build the optimiser, wrap both for the precision."""
    fabric = Fabric(
        accelerator=options.device.partition(":")[0],
        devices=1,
        precision=PRECISION[options.precision],  # type: ignore[arg-type]
    )
    method.to(fabric.device)
    method.train()
    optimizer = build_optimizer(
        options.optimizer or "",
        method,
        lr=float(options.lr or 0),
        weight_decay=float(options.weight_decay or 0),
    )
    wrapped, optimizer = fabric.setup(method, optimizer)
    return Parts(fabric, method, wrapped, optimizer)


class Keeper(NamedTuple):
    """Where a run is kept."""

    folder: Path
    keep: int
    log: log.Log

    def save(self, step: int, parts: Parts, meter: log.Meter) -> None:
        state = {"meter": meter.state(), "offset": self.log.offset()}
        log.check_finite(step, meter.read())
        checkpoint.save(self.folder, step, parts.method, parts.optimizer.optimizer, state)
        checkpoint.prune(self.folder, self.keep)


def _begin(
    parts: Parts, options: Options, out: Path | None, quiet: bool
) -> tuple[int, log.Meter, Keeper | None]:
    """Restore the last whole checkpoint, if there is one, and open the log behind it."""
    meter = log.Meter()
    if out is None:
        return 0, meter, None
    folder = out / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    found, torn = checkpoint.latest(folder)
    for sentence in torn:
        where = f"going on from step {found.step}" if found else "starting again from step 0"
        print(f"warning: {sentence}; {where}", flush=True)
    start, offset = 0, 0
    if found is not None:
        checkpoint.load_weights(found, parts.method)
        checkpoint.load_optimizer(found, parts.optimizer.optimizer)
        meter.restore(found.state["meter"], parts.fabric.device)
        start, offset = found.step, found.state["offset"]
    if start >= (options.steps or 0):
        return start, meter, None
    return start, meter, Keeper(folder, options.keep, log.Log(out, step=start, offset=offset))


def _loop(
    parts: Parts,
    batches: Batches,
    options: Options,
    seed: int,
    start: int,
    meter: log.Meter,
    keeper: Keeper | None,
    probes: Sequence[Probe],
    progress: Progress,
) -> None:
    steps = options.steps or 0
    clock = Clock()
    with stop_signals() as stopped:
        for step, batch in timed(load(batches, start, steps, options.workers or 0), clock):
            lr = set_lr(parts.optimizer, options, step)
            meter.add(train_step(parts, batch, step, seed=seed, options=options))
            done, clock.steps = step + 1, clock.steps + 1
            progress.advance(done)
            last = done == steps
            probed = _probe(parts.method, probes, done, last)
            if done % options.log_every == 0 or last or probed:
                values = {**meter.read(), "lr": lr, **probed}
                log.check_finite(done, values)
                meter.reset()
                times = clock.lap()
                if keeper is not None:
                    keeper.log.write(done, values)
                    keeper.log.time(done, times)
                progress.show(done, values, times)
            if keeper is not None and (done % options.save_every == 0 or last or stopped()):
                keeper.save(done, parts, meter)
            if stopped():
                raise KeyboardInterrupt(f"stopped after step {done}")


def train_step(parts: Parts, batch: Batch, step: int, *, seed: int, options: Options) -> Step:
    """One optimiser step on one global batch, in `options.accumulate` micro-batches."""
    fabric, method, wrapped, optimizer = parts
    torch.manual_seed(hashed(seed, "forward", step))  # dropout, drop path: the only global draws
    batch = to(batch, fabric.device)
    views = [
        method.view(rows(batch, part), Rng(generator(seed, "view", step), part, options.batch))
        for part in micro_batches(options.batch or 0, options.accumulate)
    ]
    counts = added([method.counts(view) for view in views])
    optimizer.zero_grad(set_to_none=True)
    steps: list[Step] = []
    for view in views:
        found: Step = wrapped(view)
        parts_of_loss = [term.sum / counts[name] for name, term in found.terms.items()]
        fabric.backward(torch.stack(parts_of_loss).sum())
        steps.append(found)
    if options.clip:
        fabric.clip_gradients(method, optimizer, max_norm=options.clip, error_if_nonfinite=False)
    optimizer.step()
    method.after_step()
    return Step(
        added_terms([found.terms for found in steps]),
        added_terms([found.metrics for found in steps]),
    )


def micro_batches(batch: int, accumulate: int) -> list[slice]:
    size = batch // accumulate
    return [slice(i, i + size) for i in range(0, batch, size)]


def added(counts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([c[name] for c in counts]).sum() for name in counts[0]}


@torch.no_grad()
def added_terms(terms: list[dict[str, Term]]) -> dict[str, Term]:
    """Sums and counts of each name over the micro-batches."""
    sums = added([{n: t.sum.detach() for n, t in part.items()} for part in terms])
    counts = added([{n: t.count for n, t in part.items()} for part in terms])
    return {name: Term(sums[name], counts[name]) for name in sums}


def set_lr(optimizer: Optimizer, options: Options, step: int) -> float:
    """The rate at this step, a pure function of it."""
    steps, warmup = options.steps or 0, options.warmup or 0.0
    rise = round(warmup * steps) if warmup < 1 else round(warmup)
    factor = schedule.factor(options.schedule or "", step, steps=steps, warmup=rise)
    lr = float(options.lr or 0) * factor
    for group in optimizer.param_groups:
        group["lr"] = lr
    return lr


def load(batches: Batches, start: int, stop: int, workers: int) -> Iterator[tuple[int, Batch]]:
    """The batches of the steps from `start`; worker processes read ahead but never reorder."""
    loader: Any = DataLoader(
        batches,  # type: ignore[arg-type]
        batch_size=None,
        sampler=range(start, stop),
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # otherwise a seed is drawn from the global state
    )
    return zip(range(start, stop), loader)


def timed(pairs: Iterator[tuple[int, Batch]], clock: Clock) -> Iterator[tuple[int, Batch]]:
    """The same, with the time spent waiting for each batch added to the clock."""
    while True:
        begun = monotonic()
        pair = next(pairs, None)
        clock.waited += monotonic() - begun
        if pair is None:
            return
        yield pair


def _probe(method: Method, probes: Sequence[Probe], done: int, last: bool) -> dict[str, float]:
    found: dict[str, float] = {}
    for probe in probes:
        if done % probe.every == 0 or last:
            found |= probe(method)
    return found
