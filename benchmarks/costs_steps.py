"""The ten-thousandth step against the first ones, in one run with all that it writes."""

import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.costs_record import Clock, Found, Goal, anonymous, middle

WHAT = "steps of one run of a small GPT, with its logs and checkpoints, all in one epoch"
SIZES = {"10,000 steps": 10_000}
QUICK = {"1,000 steps": 1_000}
ROUNDS = 7  # early and late are a minute apart, in which a machine changes
GROWS = False  # early and late are figures of the same run
# A run that kept 16 numbers of each step would add 1.2 MiB in 10,000 steps.
GOALS = [Goal("late against early", "is", 1.1), Goal("added MiB", "is", 1.0)]
STEPS = SIZES | QUICK
WARM_UP, WINDOW = 10, 100
# Before which step memory is first looked at: logs and two checkpoints are written. Then every so
# many steps, and rises are added up: once in a run Python gives 12 MiB back, which would hide them.
LOOK, EVERY = 401, 300
ENCODER: dict[str, Any] = {
    "encoder": "gpt-mini",
    "encoder_options": {"depth": 1, "dim": 32, "heads": 2, "length": 32},
}
BATCH, LENGTH = 4, 32
TEXT = 1_500_000  # characters: with another epoch another plan comes


class Marked:
    """Batches that note when they are asked for, which the loop does once a step."""

    def __init__(self, source: Any, now: Clock, last: int) -> None:
        self.source, self.now, self.looks = source, now, range(LOOK, last + 1, EVERY)
        self.times: list[float] = []
        self.memory: list[int] = []

    def __getitem__(self, step: int) -> Any:
        if step in self.looks:
            self.memory.append(anonymous())
        self.times.append(self.now())
        return self.source[step]

    def between(self, first: int) -> float:
        """Milliseconds of a step, the median of a window."""
        part = self.times[first : first + WINDOW + 1]
        return 1000 * middle([b - a for a, b in pairwise(part)])


def prepare(home: Path, sizes: list[str]) -> dict[str, Any]:
    """Nothing but what is told: the run makes all that it needs."""
    return {"warm_up": WARM_UP, "window": WINDOW, "first_look": LOOK}


def measure(home: Path, size: str, now: Clock) -> Found:
    """A whole run, as `pretrain` has it when data are open."""
    from benchmarks.texts import one_text, opened
    from selfwise.training.config import TrainingConfig, resolve_training
    from selfwise.training.loop import fit

    out, last = home / "run", STEPS[size]
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    shape: dict[str, Any] = {"batch": BATCH, "length": LENGTH, "tokenizer": "chars"}
    made = opened("gpt", ENCODER, data=[one_text()[:TEXT]], **shape)
    asked = TrainingConfig(
        steps=last + WINDOW + 2, batch_size=BATCH, cpu_threads=1, precision="float32"
    )
    options = resolve_training(asked, type(made.method), num_workers=0)
    assert made.source.plan(0).size >= options.steps * BATCH, "a run has to end within an epoch"
    marked = Marked(made.source, now, last)
    fit(made.method, marked, options, seed=0, out=out, quiet=True)
    early, late = marked.between(WARM_UP), marked.between(last)
    rises = [max(0, then - before) for before, then in pairwise(marked.memory)]
    return Found({
        "early ms": early, "late ms": late, "late against early": late / early,
        "added MiB": sum(rises) / 2**20,
    })  # fmt: skip
