"""What a row of the comparison is.

A row is a file of `rows/`: the same work done by selfwise and by a peer. Its module says

    PEER      who does the same work, and how
    PACKAGES  whose versions are written down with the results
    CASES     name of a case -> what it is
    GOALS     name of a case -> its contests
    ON_GPU    names of cases that are for a GPU, and
    ON_CPU    of those that are for a CPU: taken elsewhere only if they are named; either may lack
    QUICK_IS_LESS  True where a quick measurement is of a smaller piece of work
    OTHER_PROCESSES  names of cases for which other processes work, too; may lack
    SHARES    name of a case -> side -> its goal, a share of the measured matrix rate; may lack

and has `prepare(case, setting) -> Prepared`, which makes the sides, ready to be timed. It checks
that they do equal work, and says what it found; where they differ, it raises.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import NamedTuple

from benchmarks import rows
from selfwise.core.errors import did_you_mean

Run = Callable[[int], float]
"""Do piece `number` of the work; how much that was, in units."""


class Contest(NamedTuple):
    """`side` is to be `goal` times as fast as `against`, or `on_gpu` times on a GPU."""

    side: str
    against: str
    goal: float
    best: str = ""  # what differs, where the settings are not the same
    on_gpu: float | None = None  # where it is another

    def on(self, device: str) -> "Contest":
        """With the goal of that device."""
        other = None if device == "cpu" else self.on_gpu
        return self._replace(goal=self.goal if other is None else other, on_gpu=None)


@dataclass(frozen=True)
class Setting:
    """Under which setting sides are made."""

    device: str = "cpu"
    threads: int = 2
    quick: bool = False  # a smaller piece of the same work, where the work has a size


@dataclass(frozen=True)
class Prepared:
    """Sides that are ready to be timed."""

    unit: str  # of work: tokens, images
    sides: dict[str, Run]
    equal: str  # what was found equal, in a sentence
    told: dict[str, object] = field(default_factory=dict)  # sizes that the record keeps
    flops: dict[str, float] = field(default_factory=dict)  # side -> needed for a unit
    in_a_run: bool = False  # selfwise's sides are part of a run, which keeps freed memory


def names() -> list[str]:
    """Every row on disk."""
    return sorted(module.name for module in pkgutil.iter_modules(rows.__path__))


def find(name: str) -> ModuleType:
    """The row of this name.

    Raises:
        ValueError: there is none.
    """
    if name not in names():
        raise ValueError(f"row: there is no {name!r}{did_you_mean(name, names())}")
    return importlib.import_module(f"benchmarks.rows.{name}")


def cases(asked: list[str], device: str = "cpu") -> list[tuple[str, str]]:
    """Row and case of each `ROW` or `ROW:CASE`; all rows where nothing is asked for.

    A case of the other kind of device is taken only if it is named.

    Raises:
        ValueError: there is no such row or case.
    """
    found = []
    for name, _, case in (text.partition(":") for text in asked or names()):
        known = list(find(name).CASES)
        if case and case not in known:
            raise ValueError(f"case: {name} has no {case!r}{did_you_mean(case, known)}")
        others = getattr(find(name), "ON_GPU" if device == "cpu" else "ON_CPU", ())
        found += [(name, one) for one in ([case] if case else known) if case or one not in others]
    return found
