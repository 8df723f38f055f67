"""How many steps a number of epochs or minutes comes to, measured before the first one."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from math import inf
from time import monotonic
from typing import Any

from selfwise.modalities.modality import Steps
from selfwise.runs.build import build
from selfwise.training.config import Resolved
from selfwise.training.loop import Probe
from selfwise.training.memory_estimate import check_memory
from selfwise.training.progress import span
from selfwise.training.step_time import Pace, measure_pace

PATIENCE, MEASURED = 10.0, 0.05  # seconds that are measured, and the share of a budget
LOOK = 0.1  # of a budget: no single look at the representation takes longer
FEW = 50  # steps that teach an encoder little


def plan_steps(
    training: Resolved,
    settings: dict[str, Any],
    kept: Any,
    source: Steps,
    probes: Sequence[Probe],
    *,
    quiet: bool,
) -> Resolved:
    """The options with the number of steps that the epochs or minutes come to; both are kept."""
    seed, length, begun = settings["options"]["seed"], source.steps_per_epoch, monotonic()
    check_memory(lambda: build(settings, kept), source, training, seed=seed)
    if training.steps:
        return training
    budget = inf if training.minutes is None else 60 * training.minutes
    say("measuring how long a step takes", quiet=quiet)
    how: dict[str, Any] = {"probes": probes, "patience": min(PATIENCE, MEASURED * budget)}
    how["longest_look"] = LOOK * budget
    pace = measure_pace(lambda: build(settings, kept), source, training, seed=seed, **how)
    if training.minutes is not None and training.health_every and max(pace.looks) > LOOK * budget:
        say(_no_looks(training, max(pace.looks)), quiet=quiet)
        training, pace, probes = replace(training, health_every=0), Pace(pace.step, []), []
    if training.minutes is not None:
        steps = pace.steps_in(budget - (monotonic() - begun), probes)
        settings["found"]["asked"] = {"minutes": training.minutes}
        if steps < FEW:
            say(_few_steps(training, steps, pace.step), quiet=quiet)
    else:
        epochs = training.epochs or 0.0
        steps = max(1, round(epochs * length))
        settings["found"]["asked"] = {"epochs": epochs}
    lasts = span(pace.seconds_of(steps, probes))
    say(f"{steps} steps ({steps / length:.1f} epochs), about {lasts}", quiet=quiet)
    return replace(training, steps=steps, epochs=None, minutes=None)


def _few_steps(training: Resolved, steps: int, seconds: float) -> str:
    count = "1 step" if steps == 1 else f"{steps} steps"
    return (
        f"warning: --minutes {training.minutes:g} buys {count} of {seconds:.2g} s each, too few to "
        "learn much from: give more minutes, or take a smaller --batch, encoder or input"
    )


def _no_looks(training: Resolved, seconds: float) -> str:
    return (
        f"--minutes {training.minutes:g}: a look at the representation would take about "
        f"{seconds:.0f} s, so there is none (--health-every 0)"
    )


def say(text: str, *, quiet: bool) -> None:
    """Print it on stderr, unless nothing is to be printed."""
    if not quiet:
        print(text, file=sys.stderr, flush=True)
