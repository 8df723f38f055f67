"""A training step of selfwise, end to end: the loop's own loader, view, step; and its loss."""

from collections.abc import Iterator
from math import isfinite
from typing import Any

from benchmarks.row import Run, Setting
from selfwise.methods.method import Method
from selfwise.training.config import ResolvedTraining, TrainingConfig, resolve_training
from selfwise.training.loop import load_batches
from selfwise.training.step import TrainState, build_state, set_lr, train_step


class Training:
    """What `pretrain` does from a method and its batches on.

    `batches[step]` is a source of selfwise; `workers` read ahead, as in a run.
    """

    def __init__(
        self,
        method: Method,
        batches: Any,
        setting: Setting,
        *,
        batch_size: int,
        num_workers: int = 0,
        **told: Any,
    ) -> None:
        asked = TrainingConfig(
            steps=1_000_000,
            batch_size=batch_size,
            cpu_threads=setting.threads,
            device=setting.device,
            **told,
        )
        self.options: ResolvedTraining = resolve_training(
            asked, type(method), num_workers=num_workers
        )
        self.parts: TrainState = build_state(method, self.options)
        self.batches, self.units = batches, float(batch_size)
        self.pairs: Iterator[Any] | None = None

    def __call__(self, number: int) -> float:
        """One step, on the next batch."""
        if self.pairs is None:
            self.pairs = iter(load_batches(self.batches, 0, self.options))
        step, batch = next(self.pairs)
        set_lr(self.parts.optimizer, self.options, step)
        train_step(self.parts, batch, step, seed=0, options=self.options)
        return self.units

    def loss(self, batch: Any, number: int) -> float:
        """Of one step on this batch, which it takes."""
        found = train_step(self.parts, batch, number, seed=0, options=self.options)
        terms = found.terms.values()
        return float(sum(term.sum / term.count for term in terms))


def counting(units: float, step: Run) -> Run:
    """The same step, counted in other units."""

    def run(number: int) -> float:
        step(number)
        return units

    return run


def agreed(ours: list[float], theirs: list[float], *, within: float, what: str) -> str:
    """A sentence for the record.

    Raises:
        AssertionError: they differ by more than `within`, relatively.
    """
    assert all(map(isfinite, [*ours, *theirs])), f"{what} are no numbers: {ours} and {theirs}"
    apart = max(abs(a - b) / max(abs(b), 1e-12) for a, b in zip(ours, theirs, strict=True))
    assert apart <= within, f"{what} differ by {apart:.1e}: {ours} and {theirs}"
    return f"{what} agree within {apart:.0e}"
