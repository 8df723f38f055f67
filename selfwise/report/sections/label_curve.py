"""Accuracies as figures: against the number of labels, or next to each other."""

from collections.abc import Mapping, Sequence
from math import inf, log
from typing import Any, NamedTuple

from matplotlib.ticker import FixedLocator, NullLocator

from selfwise.evaluation.scores.names import COMBINED
from selfwise.report.page.figures import COLORS, INK, escape_dollars, render_svg
from selfwise.report.page.parts import Picture
from selfwise.report.page.plots import (
    GREY,
    LineEnd,
    choose_line_color,
    create_plot,
    label_line_ends,
    shorten_name,
)
from selfwise.runs.score_groups import Row, ScoreGroup, format_row

# of the encoder and what it is compared with; the same in every figure
COMPETITOR_COLORS = {"pretrained": COLORS[0], "raw input": COLORS[1], "supervised": COLORS[2]}
COMPETITOR_COLORS |= {COMBINED: COLORS[3], "untrained": GREY, "bag of words": COLORS[1]}
MIN_TICK_GAP = 0.09  # of the axis: nearer ticks would have their words in each other


class CurveEntry(NamedTuple):
    """One line, or one row of points."""

    name: str
    color: str
    rows: Mapping[int | str, Row]  # by label budget or measure
    main: bool = True  # what the figure is about; else what it is compared with
    style: Any = "-"  # as matplotlib takes it
    labelled: bool = True  # else the text next to the figure identifies the line


def choose_competitor_color(name: str, number: int) -> str:
    """Return the color of a competitor; of one that is not known, by its number."""
    return COMPETITOR_COLORS.get(name, choose_line_color(3 + number))


def plot_curve(entries: Sequence[CurveEntry], places: Sequence[int | str], about: str) -> Picture:
    """Accuracy against labels for each class, on a logarithmic axis, with deviations as bars.

    Lines that are not named have no bars: there are as many as runs.
    """
    figure, axes = create_plot("accuracy, %", width=5.0, height=3.0)
    budget_x = place_budgets(entries, places)
    ends = []
    for number, entry in enumerate(entries):
        shift = 1.012 ** (number - (len(entries) - 1) / 2)  # so that bars do not hide each other
        budgets = [place for place in places if place in entry.rows]
        x = [budget_x[place] * shift for place in budgets]
        y = [100 * entry.rows[place]["mean"] for place in budgets]
        bars = [100 * (entry.rows[place]["deviation"] or 0.0) for place in budgets]
        axes.errorbar(
            x,
            y,
            yerr=bars if entry.labelled else None,  # of many lines, bars would hide each other
            color=entry.color,
            linestyle=entry.style,
            linewidth=2 if entry.main else 1.3,
            marker="o",
            markersize=4.5 if entry.main else 3.2,
            capsize=2.5,
            elinewidth=1.1,
        )
        if entry.labelled:
            ends.append(LineEnd(x[-1], y[-1], entry.name, entry.color))
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator([budget_x[place] for place in places]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels(_make_tick_labels(budget_x, places))
    axes.set_xlabel("labels for each class", fontsize=8.5, labelpad=2)
    axes.margins(x=0.04)
    label_line_ends(figure, axes, ends)
    return render_svg(
        figure,
        alt=f"Accuracy against labels for each class. {_describe_last(entries, places)}",
        caption=about,
    )


def place_budgets(
    entries: Sequence[CurveEntry], places: Sequence[int | str]
) -> dict[int | str, float]:
    """Return where each budget stands: its labels for each class; all labels are so many on
    average."""
    numbers = [place for place in places if not isinstance(place, str)]
    budget_x: dict[int | str, float] = {place: float(place) for place in numbers}
    sizes_of_all = [entry.rows["all"]["n_train"] for entry in entries if "all" in entry.rows]
    if not sizes_of_all:
        return budget_x
    # a budget takes as many labels of every class, so it tells how many classes there are
    classes = next(e.rows[p]["n_train"] / p for e in entries for p in numbers if p in e.rows)
    return {**budget_x, "all": sizes_of_all[0] / classes}


def _make_tick_labels(
    budget_x: Mapping[int | str, float], places: Sequence[int | str]
) -> list[str]:
    """Label the ticks of the budgets; of two that are too close, only the larger one."""
    span = log(max(budget_x.values()) / min(budget_x.values()))
    labels: dict[int | str, str] = {}
    last = inf
    for place in sorted(places, key=lambda place: -budget_x[place]):
        has_room = last - log(budget_x[place]) >= MIN_TICK_GAP * span
        label = f"all\n({budget_x[place]:,.0f})" if isinstance(place, str) else f"{place:,}"
        labels[place] = label if has_room else ""
        last = log(budget_x[place]) if has_room else last
    return [labels[place] for place in places]


def plot_points(
    entries: Sequence[CurveEntry], places: Sequence[int | str], about: str, quantity: str
) -> Picture:
    """Return a line for each entry (and measure), with its value as a point and its deviation as a
    bar."""
    several = len(places) > 1
    lines = [(place, entry) for place in places for entry in entries if place in entry.rows]
    figure, axes = create_plot(
        f"{quantity}, %", width=5.0, height=0.9 + 0.27 * len(lines) + 0.12 * len(places)
    )
    ticks: dict[float, str] = {}
    y = 0.0
    for number, (place, entry) in enumerate(lines):
        y += 0.5 if number and place != lines[number - 1][0] else 0.0
        row = entry.rows[place]
        mean, spread = 100 * row["mean"], 100 * (row["deviation"] or 0.0)
        bar = None if row["deviation"] is None else [spread]
        axes.errorbar(
            [mean],
            [y],
            xerr=bar,
            marker="o",
            markersize=5,
            color=entry.color,
            capsize=2.5,
            elinewidth=1.4,
        )
        axes.annotate(
            format_row(row),
            (mean + spread, y),
            xytext=(8, 0),
            textcoords="offset points",
            va="center_baseline",
            fontsize=8.5,
            color=entry.color,
        )
        ticks[y] = f"{place}  {entry.name}" if several else entry.name
        y += 1
    axes.set_yticks(list(ticks), [escape_dollars(shorten_name(name)) for name in ticks.values()])
    axes.set_ylim(y - 0.4, -0.6)
    axes.grid(axis="x", color=INK, alpha=0.13, linewidth=0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    low, high = axes.get_xlim()
    axes.set_xticks([tick for tick in axes.get_xticks() if low <= tick <= min(high, 100)])
    axes.set_xlim(low, high + 0.22 * (high - low))  # room for the values
    return render_svg(figure, alt=f"{quantity}. {_describe_last(entries, places)}", caption=about)


def _describe_last(entries: Sequence[CurveEntry], places: Sequence[int | str]) -> str:
    """Describe the figure in words: the values at the last place."""
    rows = [(e.name, e.rows[p]) for e in entries if e.name for p in places[-1:] if p in e.rows]
    return "; ".join(f"{name} {format_row(row)} %" for name, row in rows[:12])


def make_entries(score: ScoreGroup) -> list[CurveEntry]:
    """Return the lines of a single run: the encoder and what it is compared with."""
    return [
        CurveEntry(
            name,
            choose_competitor_color(name, i),
            {p: r for (p, n), r in score.rows.items() if n == name},
            not i,
        )
        for i, name in enumerate(score.competitors)
    ]
