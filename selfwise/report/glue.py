"""GLUE on the page: what `selfwise glue` has left in the folders of runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfwise import records
from selfwise.names import told_apart
from selfwise.records import PRETRAINED
from selfwise.report.figures import INK, picture, plain
from selfwise.report.parts import Picture, Rows, Section, Words
from selfwise.report.plots import GREY, color, plot

HOW = {
    "frozen": "Linear probes of features that no gradient has changed; setting and penalty are "
    "chosen on a part of train.",
    "finetune": "All weights are trained, those of the run and those of an untrained encoder.",
}
STEP = 0.24  # from a competitor's line to the next, where tasks are 1 apart

Found = Mapping[str, Any]


def sections(folders: Sequence[Path]) -> list[Section]:
    """A section for each run and mode that was measured.

    Raises ValueError for a file that is none of GLUE.
    """
    names = told_apart(folders) if len(folders) > 1 else [""]
    return [_section(found, name) for folder, name in zip(folders, names) for found in _of(folder)]


def _of(folder: Path) -> list[dict[str, Any]]:
    return records.glue(folder)


def _section(found: Found, run: str) -> Section:
    title = f"GLUE, {found['mode']}" + (f", {run}" if run else "")
    seeds = max(len(row[PRETRAINED]["values"]) for row in found["rows"])
    about = f"{HOW[found['mode']]} Measured at step {found['step']:,}, on dev; "
    about += f"{found['centre']} of {seeds} seeds." if seeds > 1 else "one seed."
    parts: list[Any] = [_figure(found), _table(found)]
    averages = _averages(found)
    parts += [averages] if averages.rows else []
    parts += [Words(found["sentences"])] if found["sentences"] else []
    return Section(title, about, parts)


def _figure(found: Found) -> Picture:
    """For each metric of each task a line for each competitor: seeds as dots, the centre large."""
    rows, names = found["rows"], found["competitors"]
    made, axes = plot("dev, %", width=5.2, height=0.9 + 0.52 * len(rows))
    for place, row in enumerate(rows):
        for number, name in enumerate(names):
            values = [100 * value for value in row[name]["values"]]
            y, drawn = place + STEP * (number - (len(names) - 1) / 2), _color(number, len(names))
            axes.plot(values, [y] * len(values), "o", markersize=3, alpha=0.5, color=drawn)
            centre = 100 * row[name][found["centre"]]
            label = plain(name) if not place else None
            axes.plot([centre], [y], "o", markersize=6.5, color=drawn, label=label)
    ticks = [f"{row['column']}  {row['metric']}" for row in rows]
    axes.set_yticks(range(len(rows)), [plain(name) for name in ticks])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="x", color=INK, alpha=0.13, linewidth=0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    made.legend(loc="outside lower left", ncols=3, fontsize=8)
    told = [f"{name} {_value(row[PRETRAINED], found)} %" for name, row in zip(ticks, rows)]
    alt = f"Scores on dev of GLUE; of the pretrained encoder: {'; '.join(told)}."
    return picture(made, alt=alt, caption="Small: single seeds. Large: what the table has.")


def _color(number: int, count: int) -> str:
    return GREY if number == count - 1 else color(number)


def _table(found: Found) -> Rows:
    names = found["competitors"]
    head = ["task", "metric", *names, f"{PRETRAINED} minus untrained", "which is"]
    published = any(row["published"] is not None for row in found["rows"])
    head += [found["published"]] if published else []
    rows = []
    for row in found["rows"]:
        against = row["against"].get("untrained")
        cells = [row["column"], row["metric"], *(_value(row[name], found) for name in names)]
        cells += _against(against) if against else ["", ""]
        last = "" if row["published"] is None else f"{row['published']:.1f}"
        rows.append([*cells, last] if published else cells)
    caption = f"In percent, {found['centre']} and standard deviation; differences in points, with "
    return Rows(head, rows, f"{caption}95 % intervals over dev's examples")


def _against(one: Mapping[str, Any]) -> list[str]:
    low, high = 100 * one["low"], 100 * one["high"]
    return [f"{100 * one['difference']:+.1f} ({low:+.1f} to {high:+.1f})", one["verdict"]]


def _averages(found: Found) -> Rows:
    every, names = found["averages"], found["competitors"]
    rows = [
        [average, *("" if (v := every[name].get(average)) is None else f"{100 * v:.1f}"
                    for name in names)]
        for average, value in every[PRETRAINED].items() if value is not None
    ]  # fmt: skip
    return Rows(["average", *names], rows, "In percent")


def _value(values: Mapping[str, Any], found: Found) -> str:
    spread = values["deviation"]
    centre = f"{100 * values[found['centre']]:.1f}"
    return centre if spread is None else f"{centre} ± {100 * spread:.1f}"
