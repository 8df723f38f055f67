"""Time per step, to convert minutes into steps and steps into minutes."""

from collections.abc import Callable, Sequence
from math import inf
from time import monotonic
from typing import NamedTuple

from selfwise.core.device import wait_for_device
from selfwise.core.memory import keep_freed_memory
from selfwise.core.process import explain_loader_death, limit_threads
from selfwise.distributed.collectives import local_only
from selfwise.distributed.process_group import DistributedEnv
from selfwise.methods.method import Method
from selfwise.training.config import ResolvedTraining
from selfwise.training.loop import Batches, Probe, load_batches
from selfwise.training.step import build_state, train_step

WARM_UP, ENOUGH, MOST = 5, 15, 1_000  # steps


class Pace(NamedTuple):
    """Times of the parts of a run, in seconds."""

    step: float
    looks: list[float]  # one call of each probe

    def count_steps(self, seconds: float, probes: Sequence[Probe]) -> int:
        """Return how many steps fit, counting the probes during the run and at its end."""
        shares = sum(look / probe.every for look, probe in zip(self.looks, probes))
        return max(1, int((seconds - sum(self.looks)) / (self.step + shares)))

    def estimate_seconds(self, steps: int, probes: Sequence[Probe]) -> float:
        """Return the seconds that this many steps take, including the probes."""
        shares = sum(look / probe.every for look, probe in zip(self.looks, probes))
        return steps * (self.step + shares) + sum(self.looks)


def measure_pace(
    method: Callable[[], Method],
    batches: Batches,
    options: ResolvedTraining,
    *,
    seed: int,
    probes: Sequence[Probe] = (),
    patience: float = 10.0,
    longest_look: float = inf,
) -> Pace:
    """Measure the time of a step and of each probe on a copy that is discarded.

    Measures steps for `patience` seconds, at least one. The first five steps are warm-up if there
    are fifteen or more, the first step if there are two or more. A probe that would take longer
    than `longest_look` seconds, judged by the examples that it reads, is estimated and not called.
    With several processes, the first process measures its part of a step alone.
    """
    with (
        limit_threads(options.cpu_threads),
        keep_freed_memory(),
        local_only(),
        explain_loader_death(),
    ):
        trial = method()
        # a separate function: the copy is freed before memory goes back to the system
        step = _measure_step(trial, batches, options, seed=seed, patience=patience)
        looks = [_measure_look(probe, trial, options, step, longest_look) for probe in probes]
        return Pace(step, looks)


def _measure_step(
    trial: Method, batches: Batches, options: ResolvedTraining, *, seed: int, patience: float
) -> float:
    state, env = build_state(trial, options), DistributedEnv(size=options.devices)
    marks = [monotonic()]
    for step, batch in load_batches(batches, 0, options.replace(steps=MOST), env):
        # a short run is measured over more steps than it has
        number = step % options.steps if options.steps else step
        train_step(state, batch, number, seed=seed, options=options)
        wait_for_device(options.device)
        marks.append(monotonic())
        if marks[-1] - marks[0] > patience:
            break
    return mean_after_warm_up(marks)


def _measure_look(
    probe: Probe, trial: Method, options: ResolvedTraining, step: float, longest: float
) -> float:
    """Estimate a probe: it reads `examples`, each at most as expensive as a forward pass in a
    step."""
    expected = step * getattr(probe, "examples", 0) / options.batch_size
    if expected > longest:
        return expected
    begun = monotonic()
    probe(trial)
    return monotonic() - begun


def mean_after_warm_up(marks: Sequence[float]) -> float:
    """Return the seconds per step, from the n + 1 moments around n steps."""
    done = len(marks) - 1
    skipped = WARM_UP if done >= ENOUGH else min(1, done - 1)
    return (marks[-1] - marks[skipped]) / (done - skipped)
