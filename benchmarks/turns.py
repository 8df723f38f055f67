"""Timing by turns: what disturbs the machine disturbs all sides alike."""

import time
from contextlib import nullcontext
from statistics import median

import torch

from benchmarks.row import Contest, Run
from selfwise.core.memory import keep_freed_memory

CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
Rates = dict[str, list[float]]


def rate(run: Run, first: int, seconds: float, clock: str = "wall") -> float:
    """Units in a second, from piece `first` on; one piece at least."""
    now = CLOCKS[clock]
    start, number, done = now(), first, 0.0
    while not done or now() - start < seconds:
        done += run(number)
        number += 1
    _wait()  # what was launched has to be done, too
    return done / (now() - start)


def by_turns(
    sides: dict[str, Run],
    *,
    rounds: int,
    seconds: float,
    clock: str = "wall",
    in_a_run: bool = False,
) -> Rates:
    """Units in a second of each side in each round, after a warm-up.

    The order is turned round in every second round, so that no side always comes first. For work
    that is part of a run selfwise's sides keep freed memory, as a run does; the others have what
    the C library comes to by itself. There a piece comes before each turn, untimed, for the pages
    that the side before has given back.
    """
    turn = _in_a_run if in_a_run else _as_it_is
    for name, run in sides.items():
        turn(name, run, 0, seconds / 2, clock)
    found: Rates = {name: [] for name in sides}
    for number in range(rounds):
        order = list(sides) if number % 2 == 0 else list(reversed(sides))
        for name in order:
            found[name].append(turn(name, sides[name], 1000 * (number + 1), seconds, clock))
    return found


def _as_it_is(name: str, run: Run, first: int, seconds: float, clock: str) -> float:
    return rate(run, first, seconds, clock)


def _in_a_run(name: str, run: Run, first: int, seconds: float, clock: str) -> float:
    with keep_freed_memory() if name.split()[0] == "selfwise" else nullcontext():
        run(first)
        _wait()
        return rate(run, first + 1, seconds, clock)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def spread(values: list[float], digits: int = 4) -> list[float]:
    """Median, smallest and largest, to so many figures."""
    return [float(f"{value:.{digits}g}") for value in (median(values), min(values), max(values))]


def ratios(rates: Rates, contest: Contest) -> list[float]:
    """Of the two sides in each round."""
    return [a / b for a, b in zip(rates[contest.side], rates[contest.against], strict=True)]
