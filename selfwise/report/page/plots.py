"""Axes that look alike, and lines that are named at their ends instead of in a legend."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from selfwise.report.page.figures import COLORS, INK, create_figure, escape_dollars

MAX_END_LABELS = 12  # lines that can be named at their ends; more are named below
LABEL_HEIGHT = 10.5  # points from a name to the next
LEGEND_ROW = 0.15  # inches of a line of names below
MAX_NAME = 24  # characters of a name
GREY = COLORS[5]
MORE_COLORS = ("#2a9aa8", "#6f6bd1", "#7a8f2f", "#a98600")  # for many runs; nearer to each other


class LineEnd(NamedTuple):
    """The end of a line, and its name."""

    x: float
    y: float
    name: str
    color: str


def create_plot(title: str, *, width: float = 4.6, height: float = 2.6) -> tuple[Figure, Axes]:
    """Return a figure with empty axes under a title."""
    figure, axes = create_figure(width, height)
    axes.set_title(
        escape_dollars(title), loc="left", fontsize=9.5, fontweight="bold", color=INK, pad=9
    )
    axes.grid(axis="y", color=INK, alpha=0.13, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=3, width=0.6, labelsize=8.5)
    for side in ("left", "bottom"):
        axes.spines[side].set(alpha=0.5, linewidth=0.6)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:,.6g}"))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    return figure, axes


def set_step_axis(axes: Axes) -> None:
    """Steps along the bottom, counted in whole numbers."""
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:,.0f}"))
    axes.set_xlabel("step", fontsize=8.5, labelpad=2)


def label_line_ends(figure: Figure, axes: Axes, ends: Sequence[LineEnd]) -> None:
    """Write the name of each line at its end, in its color; name many lines below."""
    if len(ends) > MAX_END_LABELS:
        _add_legend(figure, axes, ends)
        return
    figure.draw_without_rendering()  # the heights are known from here on
    height = axes.get_window_extent().height * 72 / figure.dpi
    low, high = axes.get_ylim()
    left, right = axes.get_xlim()
    heights = [(end.y - low) / (high - low) * height for end in ends]
    for end, own, moved in zip(ends, heights, spread_labels(heights, LABEL_HEIGHT, height)):
        axes.annotate(
            escape_dollars(shorten_name(end.name)),
            (1, moved / height),
            xytext=(7, 0),
            xycoords=("axes fraction", "axes fraction"),
            textcoords="offset points",
            va="center_baseline",
            fontsize=8.5,
            color=end.color,
        )
        if abs(moved - own) > LABEL_HEIGHT / 4 or end.x < right - (right - left) / 20:
            _connect_label(axes, end, moved / height)


def _add_legend(figure: Figure, axes: Axes, ends: Sequence[LineEnd]) -> None:
    """Name the lines below the axes, in two columns."""
    handles = [
        axes.plot([], [], color=end.color, label=escape_dollars(shorten_name(end.name)))[0]
        for end in ends
    ]
    figure.set_figheight(figure.get_figheight() + LEGEND_ROW * -(-len(ends) // 2))
    figure.legend(handles=handles, loc="outside lower left", ncols=2, fontsize=7.5)


def _connect_label(axes: Axes, end: LineEnd, height: float) -> None:
    """A dotted line from the end of a line to its label, which is at this share of the height."""
    axes.annotate(
        "",
        (1, height),
        xytext=(end.x, end.y),
        xycoords="axes fraction",
        textcoords="data",
        annotation_clip=False,
        arrowprops={"arrowstyle": "-", "color": end.color, "linewidth": 0.5, "alpha": 0.6}
        | {"shrinkA": 2, "shrinkB": -4, "linestyle": (0, (1, 1.5))},
    )


def spread_labels(heights: Sequence[float], min_gap: float, top: float) -> list[float]:
    """Return the heights, moved so that neighbors are `min_gap` apart, and no further than needed.

    They stay between 0 and `top`, unless there are too many for that.
    """
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    groups = [[i] for i in order]
    while True:
        starts = [_group_start([heights[i] for i in group], min_gap, top) for group in groups]
        overlaps = [
            k
            for k, (lower, upper) in enumerate(pairwise(starts))
            if upper - lower < min_gap * len(groups[k]) - 1e-9
        ]
        if not overlaps:
            break
        k = overlaps[0]
        groups[k : k + 2] = [groups[k] + groups[k + 1]]
    moved = dict[int, float]()
    for group, start in zip(groups, starts):
        moved |= {i: start + min_gap * rank for rank, i in enumerate(group)}
    return [moved[i] for i in range(len(heights))]


def _group_start(heights: Sequence[float], min_gap: float, top: float) -> float:
    """Return where the lowest of a group begins, so that the group is centered on its heights."""
    centred = sum(height - min_gap * rank for rank, height in enumerate(heights)) / len(heights)
    return max(0.0, min(centred, top - min_gap * (len(heights) - 1)))


def shorten_name(name: str) -> str:
    """Return a name that fits next to a figure: a long one loses its middle, as ends tell runs
    apart."""
    if len(name) <= MAX_NAME:
        return name
    half = (MAX_NAME - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


def choose_line_color(number: int) -> str:
    """Return the color of the line with this number; gray is for what lines are compared with."""
    colors = [*(color for color in COLORS if color != GREY), *MORE_COLORS]
    return colors[number % len(colors)]


def choose_extra_line_color(number: int) -> str:
    """Return the color of a further line of the same run, where colors tell runs apart."""
    colors = [GREY, *MORE_COLORS]
    return colors[number % len(colors)]
