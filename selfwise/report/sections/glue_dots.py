"""Scores of GLUE as a figure: a line for each task, a dot for each seed."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from selfwise.glue.published import NAME
from selfwise.report.page.figures import INK, escape_dollars, render_svg
from selfwise.report.page.parts import Picture
from selfwise.report.page.plots import create_plot, shorten_name

SERIES_GAP = 0.15  # inches from a series to the next
TASK_GAP = 0.16  # inches more from a task to the next

Place = tuple[str, str]  # column and metric


class Series(NamedTuple):
    """The scores of one color: of an encoder, or of bags of words."""

    name: str
    color: str
    values: Mapping[Place, Sequence[float]]  # of all seeds, 0 to 1
    centre: Mapping[Place, float]  # the values in the table


def draw_dots(
    series: Sequence[Series], places: Sequence[Place], published: Mapping[Place, float]
) -> Picture:
    """Return all seeds of all series, at each place in its row, in percent.

    Args:
        series: in their order from the top of a row.
        places: the rows, from the top; a series may lack some.
        published: published scores, 0 to 1, which are strokes.
    """
    row_height = SERIES_GAP * len(series) + TASK_GAP
    figure, axes = create_plot("dev, %", width=5.2, height=0.9 + row_height * len(places))
    for number, one in enumerate(series):
        shift = SERIES_GAP / row_height * (number - (len(series) - 1) / 2)
        placed = [(y + shift, place) for y, place in enumerate(places) if place in one.centre]
        seeds = [(100 * value, y) for y, place in placed for value in one.values[place]]
        axes.plot(*zip(*seeds), marker="o", markersize=3, alpha=0.55, color=one.color, linestyle="")
        centres = [(100 * one.centre[place], y) for y, place in placed]
        label = escape_dollars(shorten_name(one.name))
        axes.plot(
            *zip(*centres), marker="o", markersize=6, label=label, color=one.color, linestyle=""
        )
    strokes = [(100 * published[place], y) for y, place in enumerate(places) if place in published]
    if strokes:
        axes.plot(
            *zip(*strokes),
            marker="|",
            markersize=13,
            markeredgewidth=1.6,
            color=INK,
            linestyle="",
            label=escape_dollars(NAME),
        )
    axes.set_yticks(
        range(len(places)), [escape_dollars(f"{name}  {metric}") for name, metric in places]
    )
    axes.set_ylim(len(places) - 0.5, -0.5)
    axes.grid(axis="x", color=INK, alpha=0.13, linewidth=0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    figure.legend(loc="outside lower left", ncols=2, fontsize=8)
    return render_svg(figure, alt=_describe_scores(series, places), caption=_caption(series))


def _describe_scores(series: Sequence[Series], places: Sequence[Place]) -> str:
    """Describe the figure in words, by its first series."""
    first = series[0]
    texts = [f"{' '.join(p)} {100 * first.centre[p]:.1f} %" for p in places if p in first.centre]
    return f"GLUE dev scores of {first.name}: {'; '.join(texts)}."


def _caption(series: Sequence[Series]) -> str:
    if all(len(values) == 1 for one in series for values in one.values.values()):
        return "One seed."
    return "Small: single seeds. Large: the values of the table."
