"""Timing by turns: what disturbs the machine disturbs all sides alike."""

import time
from contextlib import AbstractContextManager, nullcontext
from statistics import median

import torch

from benchmarks.row import Contest, Run
from selfwise.train.memory import kept_memory

CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
Rates = dict[str, list[float]]


def rate(run: Run, first: int, seconds: float, clock: str = "wall") -> float:
    """Units in a second, from piece `first` on; one piece at least."""
    now = CLOCKS[clock]
    start, number, done = now(), first, 0.0
    while not done or now() - start < seconds:
        done += run(number)
        number += 1
    if torch.cuda.is_available():
        torch.cuda.synchronize()  # what was launched has to be done, too
    return done / (now() - start)


def by_turns(sides: dict[str, Run], *, rounds: int, seconds: float, clock: str = "wall") -> Rates:
    """Units in a second of each side in each round, after a warm-up.

    The order is turned round in every second round, so that no side always comes first. selfwise's
    sides have the memory that a run gives them, the others what the C library comes to by itself.
    """
    for name, run in sides.items():
        with _memory(name):
            rate(run, 0, seconds / 2, clock)
    found: Rates = {name: [] for name in sides}
    for turn in range(rounds):
        order = list(sides) if turn % 2 == 0 else list(reversed(sides))
        for name in order:
            with _memory(name):
                found[name].append(rate(sides[name], 1000 * (turn + 1), seconds, clock))
    return found


def _memory(side: str) -> AbstractContextManager[None]:
    return kept_memory() if side.split()[0] == "selfwise" else nullcontext()


def spread(values: list[float], digits: int = 4) -> list[float]:
    """Median, smallest and largest, to so many figures."""
    return [float(f"{value:.{digits}g}") for value in (median(values), min(values), max(values))]


def ratios(rates: Rates, contest: Contest) -> list[float]:
    """Of the two sides in each round."""
    return [a / b for a, b in zip(rates[contest.side], rates[contest.against], strict=True)]
