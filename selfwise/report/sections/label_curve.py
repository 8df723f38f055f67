"""Accuracies as figures: against the number of labels, or beside each other."""

from collections.abc import Mapping, Sequence
from math import inf, log
from typing import Any, NamedTuple

from matplotlib.ticker import FixedLocator, NullLocator

from selfwise.report.page.figures import COLORS, INK, picture, plain
from selfwise.report.page.parts import Picture
from selfwise.report.page.plots import GREY, End, color, name_ends, plot, short
from selfwise.runs.score_groups import Measured, Row, value

# of the encoder and what it is compared with; the same in every figure
OWN = {"pretrained": COLORS[0], "raw input": COLORS[1], "supervised": COLORS[2]}
OWN |= {"untrained": GREY, "bag of words": COLORS[1]}
APART = 0.09  # of the axis: nearer ticks would have their words in each other


class Entry(NamedTuple):
    """One line, or one row of points."""

    name: str
    color: str
    rows: Mapping[int | str, Row]  # by label budget or measure
    main: bool = True  # what the figure is about; else what it is compared with
    style: Any = "-"  # as matplotlib takes it
    named: bool = True  # else the words beside the figure tell which line it is


def competitor_color(name: str, number: int) -> str:
    """The colour of a competitor; of one that is not known, by its number."""
    return OWN.get(name, color(3 + number))


def curve(entries: Sequence[Entry], places: Sequence[int | str], about: str) -> Picture:
    """Accuracy against labels for each class, on a logarithmic axis, with deviations as bars.

    Lines that are not named have no bars: there are as many as runs.
    """
    made, axes = plot("accuracy, %", width=5.0, height=3.0)
    at = positions(entries, places)
    ends = []
    for number, entry in enumerate(entries):
        shift = 1.012 ** (number - (len(entries) - 1) / 2)  # so that bars do not hide each other
        known = [place for place in places if place in entry.rows]
        x = [at[place] * shift for place in known]
        y = [100 * entry.rows[place]["mean"] for place in known]
        bars = [100 * (entry.rows[place]["deviation"] or 0.0) for place in known]
        axes.errorbar(
            x,
            y,
            yerr=bars if entry.named else None,  # of many lines, bars would hide each other
            color=entry.color,
            linestyle=entry.style,
            linewidth=2 if entry.main else 1.3,
            marker="o",
            markersize=4.5 if entry.main else 3.2,
            capsize=2.5,
            elinewidth=1.1,
        )
        if entry.named:
            ends.append(End(x[-1], y[-1], entry.name, entry.color))
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator([at[place] for place in places]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels(_ticks(at, places))
    axes.set_xlabel("labels for each class", fontsize=8.5, labelpad=2)
    axes.margins(x=0.04)
    name_ends(made, axes, ends)
    return picture(
        made, alt=f"Accuracy against labels for each class. {_last(entries, places)}", caption=about
    )


def positions(entries: Sequence[Entry], places: Sequence[int | str]) -> dict[int | str, float]:
    """Where each budget stands: its labels for each class; all labels are so many on average."""
    numbers = [place for place in places if not isinstance(place, str)]
    at: dict[int | str, float] = {place: float(place) for place in numbers}
    everything = [entry.rows["all"]["n_train"] for entry in entries if "all" in entry.rows]
    if not everything:
        return at
    # a budget takes as many labels of every class, so it tells how many classes there are
    classes = next(e.rows[p]["n_train"] / p for e in entries for p in numbers if p in e.rows)
    return {**at, "all": everything[0] / classes}


def _ticks(at: Mapping[int | str, float], places: Sequence[int | str]) -> list[str]:
    """What stands below the budgets; of two that are too near for that, below the larger."""
    span = log(max(at.values()) / min(at.values()))
    words: dict[int | str, str] = {}
    last = inf
    for place in sorted(places, key=lambda place: -at[place]):
        apart = last - log(at[place]) >= APART * span
        told = f"all\n({at[place]:,.0f})" if isinstance(place, str) else f"{place:,}"
        words[place] = told if apart else ""
        last = log(at[place]) if apart else last
    return [words[place] for place in places]


def points(entries: Sequence[Entry], places: Sequence[int | str], about: str, what: str) -> Picture:
    """A line for each entry (and measure), with its value as a point and its deviation as a bar."""
    several = len(places) > 1
    lines = [(place, entry) for place in places for entry in entries if place in entry.rows]
    made, axes = plot(f"{what}, %", width=5.0, height=0.9 + 0.27 * len(lines) + 0.12 * len(places))
    ticks: dict[float, str] = {}
    y = 0.0
    for number, (place, entry) in enumerate(lines):
        y += 0.5 if number and place != lines[number - 1][0] else 0.0
        row = entry.rows[place]
        mean, spread = 100 * row["mean"], 100 * (row["deviation"] or 0.0)
        bar = None if row["deviation"] is None else [spread]
        told: Any = {"color": entry.color, "capsize": 2.5, "elinewidth": 1.4}
        axes.errorbar([mean], [y], xerr=bar, marker="o", markersize=5, **told)
        axes.annotate(
            value(row),
            (mean + spread, y),
            xytext=(8, 0),
            textcoords="offset points",
            va="center_baseline",
            fontsize=8.5,
            color=entry.color,
        )
        ticks[y] = f"{place}  {entry.name}" if several else entry.name
        y += 1
    axes.set_yticks(list(ticks), [plain(short(name)) for name in ticks.values()])
    axes.set_ylim(y - 0.4, -0.6)
    axes.grid(axis="x", color=INK, alpha=0.13, linewidth=0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    low, high = axes.get_xlim()
    axes.set_xticks([tick for tick in axes.get_xticks() if low <= tick <= min(high, 100)])
    axes.set_xlim(low, high + 0.22 * (high - low))  # room for the values
    return picture(made, alt=f"{what}. {_last(entries, places)}", caption=about)


def _last(entries: Sequence[Entry], places: Sequence[int | str]) -> str:
    """What is seen, in words: the values at the last place."""
    known = [(e.name, e.rows[p]) for e in entries if e.name for p in places[-1:] if p in e.rows]
    return "; ".join(f"{name} {value(row)} %" for name, row in known[:12])


def by_competitor(one: Measured) -> list[Entry]:
    """The lines of a single run: the encoder and what it is compared with."""
    return [
        Entry(
            name,
            competitor_color(name, i),
            {p: r for (p, n), r in one.rows.items() if n == name},
            not i,
        )
        for i, name in enumerate(one.competitors)
    ]
