"""What a cost is: figures at several sizes, how they grow, and whether that is little enough."""

from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any, NamedTuple

from benchmarks.turns import spread

Figures = dict[str, float]
Clock = Callable[[], float]
Turns = dict[str, list[Figures]]  # size -> what each turn found, sizes from the smallest on


class Goal(NamedTuple):
    """`figure` is to be at most `most`: its growth, what it adds, or itself at a size."""

    figure: str
    how: str  # a name in HOW, or "is"
    most: float
    size: str = ""  # for "is": at which size; by default the largest


def growth(small: float, large: float) -> float:
    """How many times as much the largest size takes."""
    return large / small


def added(small: float, large: float) -> float:
    """How much more the largest size takes."""
    return large - small


HOW: dict[str, Callable[[float, float], float]] = {"growth": growth, "added": added}


def compared(turns: Turns, figure: str, how: str) -> list[float]:
    """Median, smallest and largest over the turns, of the largest size against the smallest.

    Both sizes of a turn were measured one soon after the other, so that a machine that is busy for
    a while is busy for both.
    """
    sizes = list(turns.values())
    pairs = zip(sizes[0], sizes[-1], strict=True)
    return spread([HOW[how](small[figure], large[figure]) for small, large in pairs], 3)


def judged(turns: Turns, goal: Goal) -> dict[str, Any]:
    """What was found of a goal, and whether it is met."""
    if goal.how == "is":
        found = spread([turn[goal.figure] for turn in turns[goal.size or list(turns)[-1]]])
    else:
        found = compared(turns, goal.figure, goal.how)
    return {**goal._asdict(), "found": found, "met": found[0] <= goal.most}


def record(name: str, module: ModuleType, turns: Turns, told: dict[str, Any]) -> dict[str, Any]:
    """All of a cost, as results.jsonl keeps it."""
    sizes = _spreads(turns)
    goals = [judged(turns, goal) for goal in module.GOALS if goal.size in ("", *turns)]
    smallest = next(iter(turns.values())) if module.GROWS else [{}]
    # what is nothing at the smallest size is no number of times more at the largest
    figures = [name for name in smallest[0] if all(turn[name] > 0 for turn in smallest)]
    grown = {figure: compared(turns, figure, "growth") for figure in figures}
    return {
        "benchmark": "cost", "name": name, "what": module.WHAT, "sizes": sizes, "growth": grown,
        "goals": goals, "met": all(goal["met"] for goal in goals), **told,
    }  # fmt: skip


def _spreads(turns: Turns) -> dict[str, dict[str, list[float]]]:
    return {
        size: {name: spread([turn[name] for turn in found]) for name in found[0]}
        for size, found in turns.items()
    }


def said(goal: dict[str, Any]) -> str:
    """A goal in a line."""
    middle, low, high = goal["found"]
    times = " times" if goal["how"] == "growth" else ""
    where = f" at {goal['size']}" if goal["size"] else ""
    kind = {"growth": "grows to", "added": "adds", "is": "is"}[goal["how"]]
    met = "" if goal["met"] else "  MISSED"
    return (
        f"  {goal['figure']}{where} {kind} {middle:.3g}{times} ({low:.3g} to {high:.3g}), "
        f"at most {goal['most']:g}{met}"
    )


def table(found: dict[str, Any]) -> str:
    """A record in a few lines: sizes below each other, then the goals."""
    made = [f"{found['name']}: {found['what']}"]
    for size, figures in found["sizes"].items():
        made.append(f"  {size}")
        for name, (middle, low, high) in figures.items():
            made.append(f"    {name:24s}{middle:12,.5g}  ({low:,.5g} to {high:,.5g})")
    return "\n".join([*made, *(said(goal) for goal in found["goals"])])


class Found(NamedTuple):
    """What a measuring process has found.

    `phases` are parts of its life, by the monotonic clock, of which the peak of memory is wanted;
    whoever started the process has watched it.
    """

    figures: Figures
    phases: dict[str, tuple[float, float]] = {}  # noqa: RUF012 (never changed)


def anonymous(process: int | str = "self") -> int:
    """Bytes of a process's memory that belong to no file, as Linux counts them.

    Pages of a memory map are left out: the system takes them back when others need the room, and
    reads them again from the disk. So the peak that the system keeps (VmHWM), which counts them,
    says how much of a corpus was looked at and not what the process needs.
    """
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    return 0  # it has ended: a process that lives has the line on Linux


def peaks(found: Found, seen: list[tuple[float, int]]) -> Figures:
    """MiB of the whole process in each phase, of (moment, bytes)."""
    most = {
        name: max((held for moment, held in seen if begin <= moment <= end), default=0)
        for name, (begin, end) in found.phases.items()
    }
    short = [name for name, held in most.items() if not held]
    assert not short, f"{short[0]} was over before its memory was looked at"
    return {f"{name} MiB": held / 2**20 for name, held in most.items()}


def middle(values: list[float]) -> float:
    """The median, for times of many steps."""
    return float(median(values))
