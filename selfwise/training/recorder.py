"""Keeping a run on the disk: checkpoints and logs, and going on from them."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfwise.training import checkpoint
from selfwise.training.config import ResolvedTraining
from selfwise.training.metrics_log import Log, Meter, check_finite
from selfwise.training.step import Parts


@dataclass
class Keeper:
    """Where a run is kept, and what of the loop changes from step to step."""

    options: ResolvedTraining
    out: Path | None  # None: nothing is written
    meter: Meter = field(default_factory=Meter)
    step: int = 0  # steps done when the run was opened
    newest: dict[str, float] = field(default_factory=dict)  # the last logged values
    best: dict[str, float] = field(default_factory=dict)  # step and value of the best checkpoint
    log: Log | None = None
    beside: Mapping[str, Any] = field(default_factory=dict)  # what checkpoints say besides

    @property
    def folder(self) -> Path:
        assert self.out is not None
        return self.out / "checkpoints"

    def write(self, step: int, values: dict[str, float], times: dict[str, float]) -> None:
        """A line of the logs. Raises FloatingPointError if a value is no number any more."""
        self._check(step, values)
        self.meter.reset()
        self.newest |= values
        if self.log is not None:
            self.log.write(step, values)
            self.log.time(step, times)

    def save(self, step: int, parts: Parts) -> None:
        """A checkpoint. Raises FloatingPointError rather than save what is no number."""
        if self.log is None:
            return
        self._check(step, self.meter.read())
        self._check(step, {"a weight": float(checkpoint.largest(parts.method, parts.optimizer))})
        self._rank(step)
        state = {"meter": self.meter.state(), "offset": self.log.offset()}
        state |= {"newest": self.newest, "best": self.best, "log": self.log.checksum()}
        state |= self.beside
        if parts.precision.scaler is not None:
            state["scaler"] = parts.precision.scaler.state_dict()
        checkpoint.save(self.folder, step, parts.method, parts.optimizer, state)
        kept = {int(self.best["step"])} if self.best else set()
        checkpoint.prune(self.folder, self.options.keep, also=kept)

    def _rank(self, step: int) -> None:
        """Remember the step if the chosen value is the best so far; "-loss": smaller is better."""
        name = self.options.best.lstrip("-")
        if not name:
            return
        if name not in self.newest and step < self.options.steps:
            return  # logged less often than checkpoints are saved
        if name not in self.newest:
            there = ", ".join(self.newest) or "nothing yet"
            raise ValueError(f"--best {name}: no such value is logged; there are: {there}")
        value = self.newest[name] * (-1 if self.options.best.startswith("-") else 1)
        if not self.best or value > self.best["value"]:
            self.best = {"step": step, "value": value}

    def _check(self, step: int, values: dict[str, float]) -> None:
        try:
            check_finite(step, values)
        except FloatingPointError as error:
            there = checkpoint.everything(self.folder) if self.out is not None else []
            good = f" The last good checkpoint is {there[-1]}." if there else ""
            raise FloatingPointError(f"{error}{good}") from error


@contextmanager
def opened(
    parts: Parts, options: ResolvedTraining, out: Path | None, beside: Mapping[str, Any]
) -> Iterator[Keeper]:
    """The run in `out`, restored from its last whole checkpoint if there is one.

    Of several processes all read it, and the first one writes.
    """
    keeper = Keeper(options, out, beside=beside)
    if out is None:
        yield keeper
        return
    keeper.folder.mkdir(parents=True, exist_ok=True)
    found, torn = checkpoint.latest(keeper.folder)
    first = parts.env.rank == 0  # the one process that writes
    for sentence in torn if first else ():
        where = f"going on from step {found.step}" if found else "starting again from step 0"
        print(f"warning: {sentence}; {where}", file=sys.stderr)
    state: dict[str, Any] = found.state if found else {"offset": 0}
    if found is not None:
        _restore(keeper, parts, found)
    if first and keeper.step < options.steps:
        keeper.log = Log(out, step=keeper.step, offset=state["offset"], wandb=options.wandb)
        keeper.log.check(state.get("log"))
    try:
        yield keeper
    finally:
        if keeper.log is not None:
            keeper.log.close()


def _restore(keeper: Keeper, parts: Parts, found: checkpoint.Checkpoint) -> None:
    checkpoint.load_weights(found, parts.method)
    checkpoint.load_optimizer(found, parts.optimizer)
    keeper.meter.restore(found.state["meter"], parts.device)
    keeper.step = found.step
    keeper.newest, keeper.best = dict(found.state["newest"]), dict(found.state["best"])
    if parts.precision.scaler is not None:
        parts.precision.scaler.load_state_dict(found.state["scaler"])
