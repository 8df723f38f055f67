"""Axes that look alike, and lines that are named at their ends instead of in a legend."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from selfwise.report.page.figures import COLORS, INK, figure, plain

NAMED = 12  # lines that can be named at their ends; more are named below
LINE = 10.5  # points from a name to the next
ROW = 0.15  # inches of a line of names below
LONGEST = 24  # characters of a name
GREY = COLORS[5]
MORE = ("#2a9aa8", "#6f6bd1", "#7a8f2f", "#a98600")  # for many runs; nearer to each other


class End(NamedTuple):
    """Where a line ends, and what it is."""

    x: float
    y: float
    name: str
    color: str


def plot(title: str, *, width: float = 4.6, height: float = 2.6) -> tuple[Figure, Any]:
    """A figure with empty axes under a title."""
    made, axes = figure(width, height)
    axes.set_title(plain(title), loc="left", fontsize=9.5, fontweight="bold", color=INK, pad=9)
    axes.grid(axis="y", color=INK, alpha=0.13, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=3, width=0.6, labelsize=8.5)
    for side in ("left", "bottom"):
        axes.spines[side].set(alpha=0.5, linewidth=0.6)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:,.6g}"))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    return made, axes


def by_step(axes: Any) -> None:
    """Steps along the bottom, counted in whole numbers."""
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:,.0f}"))
    axes.set_xlabel("step", fontsize=8.5, labelpad=2)


def name_ends(made: Figure, axes: Any, ends: Sequence[End]) -> None:
    """Write the name of each line beside its end, in its colour; many lines are named below."""
    if len(ends) > NAMED:
        handles = [
            axes.plot([], [], color=end.color, label=plain(short(end.name)))[0] for end in ends
        ]
        made.set_figheight(made.get_figheight() + ROW * -(-len(ends) // 2))
        made.legend(handles=handles, loc="outside lower left", ncols=2, fontsize=7.5)
        return
    made.draw_without_rendering()  # the heights are known from here on
    height = axes.get_window_extent().height * 72 / made.dpi
    low, high = axes.get_ylim()
    right = axes.get_xlim()[1]
    places = [(end.y - low) / (high - low) * height for end in ends]
    for end, place, moved in zip(ends, places, apart(places, LINE, height)):
        at = {"xycoords": ("axes fraction", "axes fraction"), "textcoords": "offset points"}
        told = {"va": "center_baseline", "fontsize": 8.5, "color": end.color}
        axes.annotate(plain(short(end.name)), (1, moved / height), xytext=(7, 0), **at, **told)
        if abs(moved - place) > LINE / 4 or end.x < right - (right - axes.get_xlim()[0]) / 20:
            axes.annotate(
                "",
                (1, moved / height),
                xytext=(end.x, end.y),
                xycoords="axes fraction",
                textcoords="data",
                annotation_clip=False,
                arrowprops={"arrowstyle": "-", "color": end.color, "linewidth": 0.5, "alpha": 0.6}
                | {"shrinkA": 2, "shrinkB": -4, "linestyle": (0, (1, 1.5))},
            )


def apart(places: Sequence[float], least: float, most: float) -> list[float]:
    """The places, moved so that neighbours are `least` apart, and no further than needed.

    They stay between 0 and `most`, unless there are too many for that.
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    groups = [[i] for i in order]
    while True:
        starts = [_start([places[i] for i in group], least, most) for group in groups]
        close = [
            k
            for k, (here, there) in enumerate(pairwise(starts))
            if there - here < least * len(groups[k]) - 1e-9
        ]
        if not close:
            break
        k = close[0]
        groups[k : k + 2] = [groups[k] + groups[k + 1]]
    moved = dict[int, float]()
    for group, start in zip(groups, starts):
        moved |= {i: start + least * rank for rank, i in enumerate(group)}
    return [moved[i] for i in range(len(places))]


def _start(places: Sequence[float], least: float, most: float) -> float:
    """Where the lowest of a group begins, so that the group is centred on its places."""
    centred = sum(place - least * rank for rank, place in enumerate(places)) / len(places)
    return max(0.0, min(centred, most - least * (len(places) - 1)))


def short(name: str) -> str:
    """A name that fits beside a figure: of a long one the middle goes, as ends tell runs apart."""
    if len(name) <= LONGEST:
        return name
    half = (LONGEST - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


def color(number: int) -> str:
    """Of the line with this number; grey is for what lines are compared with."""
    known = [*(one for one in COLORS if one != GREY), *MORE]
    return known[number % len(known)]


def other(number: int) -> str:
    """Of a further line of the same run, where colours tell runs apart."""
    known = [GREY, *MORE]
    return known[number % len(known)]
