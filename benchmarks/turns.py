"""Timing by turns: what disturbs the machine disturbs all sides alike."""

import time
from statistics import median

import torch

from benchmarks.row import Contest, Run

CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
Rates = dict[str, list[float]]


def on_one_core() -> None:
    """One thread, and memory as after a first training step.

    The C library keeps blocks from now on that are as large as one that was freed; else page faults
    would be measured (docs/log.md).
    """
    torch.set_num_threads(1)
    torch.zeros(7 * 2**20)


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

    The order is turned round in every second round, so that no side always comes first.
    """
    for run in sides.values():
        rate(run, 0, seconds / 2, clock)
    found: Rates = {name: [] for name in sides}
    for turn in range(rounds):
        order = list(sides) if turn % 2 == 0 else list(reversed(sides))
        for name in order:
            found[name].append(rate(sides[name], 1000 * (turn + 1), seconds, clock))
    return found


def spread(values: list[float], digits: int = 4) -> list[float]:
    """Median, smallest and largest, to so many figures."""
    return [float(f"{value:.{digits}g}") for value in (median(values), min(values), max(values))]


def ratios(rates: Rates, contest: Contest) -> list[float]:
    """Of the two sides in each round."""
    return [a / b for a, b in zip(rates[contest.side], rates[contest.against], strict=True)]
