"""The number of steps in a number of epochs or minutes, measured before the first step."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from math import inf
from time import monotonic
from typing import NamedTuple

from selfwise.core.progress import print_progress
from selfwise.methods.method import Method
from selfwise.runs.prepare import PreparedRun, complete_record
from selfwise.training.config import ResolvedTraining
from selfwise.training.loop import Probe
from selfwise.training.memory_estimate import check_memory
from selfwise.training.progress import format_duration
from selfwise.training.step_time import Pace, measure_pace

MAX_PACE_SECONDS, PACE_SHARE = 10.0, 0.05  # seconds to measure, and that as a fraction of a budget
MAX_PROBE_SHARE = 0.1  # fraction of a budget: no single probe of the representation takes longer
ESTIMATE_SECONDS = 1.0  # of steps, and of a probe, where only the time is reported
MIN_USEFUL_STEPS = 50  # fewer steps teach an encoder little


class StepPlan(NamedTuple):
    """The options with their number of steps, and the expected time; 0 if it is not measured."""

    training: ResolvedTraining
    lasts: str
    seconds: float = 0.0
    step_seconds: float = 0.0


class FinalRun(NamedTuple):
    """A run before its first step, with every option set."""

    prepared: PreparedRun
    probes: Sequence[Probe]
    plan: StepPlan


def finish_plan(prepared: PreparedRun, *, estimate: bool, quiet: bool) -> FinalRun:
    """Measure the number of steps of a prepared run, and choose the defaults that depend on it.

    `estimate`: measure the time of a run whose number of steps is given. Nothing is written.
    """
    data, method, seed = prepared.data, prepared.method, prepared.seed
    probes = data.probes(method, prepared.training, seed=seed)
    plan = plan_steps(prepared, probes, estimate=estimate, quiet=quiet)
    training = prepared.fit_budget(plan.training).fix_warmup()
    if training.monitor_every != prepared.training.monitor_every:
        probes = data.probes(method, training, seed=seed)
    record = complete_record(prepared.record, training)
    return FinalRun(replace(prepared, record=record, training=training), probes, plan)


def plan_steps(
    prepared: PreparedRun, probes: Sequence[Probe], *, estimate: bool, quiet: bool
) -> StepPlan:
    """Return the options with the number of steps in the given epochs or minutes.

    Measures steps on copies of the method; if the number of steps is given, only to report how long
    they take. Raises ValueError if a step does not fit into memory.
    """
    training, source, seed, started = prepared.training, prepared.source, prepared.seed, monotonic()
    copy = partial(deepcopy, prepared.method)
    check_memory(copy, source, training, seed=seed)
    if training.steps:
        return _estimate_time(prepared, probes, copy) if estimate else StepPlan(training, "")
    length = source.steps_per_epoch
    budget = inf if training.minutes is None else 60 * training.minutes
    print_progress("measuring how long a step takes", quiet=quiet)
    pace = measure_pace(
        copy,
        source,
        training,
        seed=seed,
        probes=probes,
        patience=min(MAX_PACE_SECONDS, PACE_SHARE * budget),
        longest_look=MAX_PROBE_SHARE * budget,
    )
    if (
        training.minutes is not None
        and training.monitor_every
        and max(pace.looks) > MAX_PROBE_SHARE * budget
    ):
        print_progress(_describe_dropped_probes(training, max(pace.looks)), quiet=quiet)
        training, pace, probes = training.replace(monitor_every=0), Pace(pace.step, []), []
    if training.minutes is not None:
        steps = pace.count_steps(budget - (monotonic() - started), probes)
        if steps < MIN_USEFUL_STEPS:
            print_progress(_describe_few_steps(training, steps, pace.step), quiet=quiet)
    else:
        epochs = training.epochs or 0.0
        steps = max(1, round(epochs * length))
    return _describe_pace(training.replace(steps=steps, epochs=None, minutes=None), pace, probes)


def _describe_pace(training: ResolvedTraining, pace: Pace, probes: Sequence[Probe]) -> StepPlan:
    seconds = pace.estimate_seconds(training.steps, probes)
    return StepPlan(training, f"about {format_duration(seconds)}", seconds, pace.step)


def _estimate_time(
    prepared: PreparedRun, probes: Sequence[Probe], copy: Callable[[], Method]
) -> StepPlan:
    """Estimate the time of a run whose number of steps is given, from a few steps of a copy."""
    training = prepared.training
    if training.compile:
        return StepPlan(training, "not measured with --compile")
    pace = measure_pace(
        copy,
        prepared.source,
        training,
        seed=prepared.seed,
        probes=probes,
        patience=ESTIMATE_SECONDS,
        longest_look=ESTIMATE_SECONDS,
    )
    return _describe_pace(training, pace, probes)


def _describe_few_steps(training: ResolvedTraining, steps: int, seconds: float) -> str:
    count = "1 step" if steps == 1 else f"{steps} steps"
    return (
        f"warning: --minutes {training.minutes:g} is enough for {count} of {seconds:.2g} s each, "
        "too few to learn much: give more minutes, or use a smaller --batch-size, encoder or input"
    )


def _describe_dropped_probes(training: ResolvedTraining, seconds: float) -> str:
    return (
        f"--minutes {training.minutes:g}: measuring the representation would take about "
        f"{seconds:.0f} s, so it is turned off (--monitor-every 0)"
    )
