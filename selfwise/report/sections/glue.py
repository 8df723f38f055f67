"""GLUE on the page: what `selfwise glue` has left in the folders of runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfwise.core.errors import shorten_folder_names
from selfwise.evaluation.scores.bootstrap import ABOVE
from selfwise.evaluation.scores.probe_score import UNTRAINED, format_percent
from selfwise.glue.published import format_published
from selfwise.glue.scores import WORDS
from selfwise.report.page.parts import Picture, Rows, Section, Words
from selfwise.report.page.plots import color
from selfwise.report.sections.glue_dots import Place, Series, dots
from selfwise.report.sections.label_curve import competitor_color
from selfwise.runs import records
from selfwise.runs.records import PRETRAINED
from selfwise.training import checkpoint

HOW = {
    "frozen": "Linear probes of features that no gradient has changed; setting and penalty are "
    "chosen on a part of train.",
    "finetune": "All weights are trained, those of the run and those of an untrained encoder.",
}
# what runs must have in common, for their scores to be compared with each other
ALIKE = ("limit", "recipe", "start", "wnli")
BETWEEN = "Intervals compare each run with its own baselines, and not the runs with each other."

Found = Mapping[str, Any]  # a table, as it was left


def sections(folders: Sequence[Path]) -> list[Section]:
    """The tables of one run, or those of the newest weights of several, side by side.

    Raises ValueError for a file that is none of GLUE.
    """
    if len(folders) == 1:
        newest = newest_step(folders[0])
        return [_alone(found, newest=newest) for found in records.glue(folders[0])]
    measured: dict[str, dict[str, Found]] = {}
    for name, folder in zip(shorten_folder_names(folders), folders):
        for found in of_newest(folder):
            measured.setdefault(found["mode"], {})[name] = found
    names = shorten_folder_names(folders)
    return [
        _together(measured[mode], {name: color(names.index(name)) for name in measured[mode]})
        if len(measured[mode]) > 1
        else _alone(*measured[mode].values(), name=next(iter(measured[mode])))
        for mode in records.MODES
        if mode in measured
    ]


def of_newest(folder: Path) -> list[Found]:
    """The tables of the newest weights of a run, one for each mode that was measured."""
    step = newest_step(folder)
    return [found for found in records.glue(folder) if found["step"] == step]


def newest_step(folder: Path) -> int:
    """Of the newest whole checkpoint; 0 before the first one."""
    newest, _ = checkpoint.latest(folder / "checkpoints")
    return newest.step if newest else 0


def lead(folder: Path) -> str:
    """The mean of the tasks beside those of the baselines, and how many are above the noise."""
    said = []
    for found in of_newest(folder):
        every = found["averages"]
        told = [name for name, value in every[PRETRAINED].items() if value is not None]
        if told:  # the last one is of all tasks that were measured
            others = [name for name in found["competitors"] if name != PRETRAINED]
            values = {name: every[name].get(told[-1]) for name in others}
            beside = [
                f"{n} {format_percent(v, None)} %" for n, v in values.items() if v is not None
            ]
            own = f"{format_percent(every[PRETRAINED][told[-1]], None)} %"
            said.append(f"GLUE, {found['mode']}, {told[-1]}: {'; '.join([own, *beside])}.")
            said += _above(found)
    return " ".join(said)


def _above(found: Found) -> list[str]:
    rows = [row for row in found["rows"] if UNTRAINED in row["against"]]
    if not rows:
        return []
    good = sum(row["against"][UNTRAINED]["verdict"].startswith(ABOVE) for row in rows)
    said = [
        f"Beyond the noise it is above the untrained encoder on {good} of {len(rows)} dev sets."
    ]
    against = [(row["column"], row["against"].get(WORDS)) for row in rows]
    below = [column for column, one in against if one and one["difference"] < 0]
    return said + ([f"It is below {WORDS} on {', '.join(below)}."] if below else [])


def _alone(found: Found, *, newest: int | None = None, name: str = "") -> Section:
    """A table of a single run."""
    old = newest is not None and found["step"] != newest
    title = f"GLUE, {found['mode']}" + (f", {name}" if name else "")
    title += f", step {found['step']:,}" if old else ""
    about = f"Of step {found['step']:,}, and not of the newest, {newest:,}. " if old else ""
    tables = [_table(found), _against(found), _averages(found)]
    parts: list[Any] = [_figure(found), *(table for table in tables if table.rows)]
    parts += [Words(found["sentences"])] if found["sentences"] else []
    return Section(title, about + _about(found), parts)


def _about(found: Found) -> str:
    """What was done, and what the numbers are."""
    seeds = max(len(row[PRETRAINED]["values"]) for row in found["rows"])
    many = f"{found['centre']} of {seeds} seeds." if seeds > 1 else "one seed."
    return f"{HOW[found['mode']]} Measured on dev; {many}"


def _figure(found: Found) -> Picture:
    names = found["competitors"]
    colors = [competitor_color(name, i) for i, name in enumerate(names)]
    series = [_series(found, name, name, drawn) for name, drawn in zip(names, colors)]
    return dots(series, _firsts(found), _published([found]))


def _series(found: Found, competitor: str, name: str, drawn: str) -> Series:
    rows = {(row["column"], row["metric"]): row[competitor] for row in found["rows"]}
    values = {place: row["values"] for place, row in rows.items()}
    return Series(name, drawn, values, {place: row[found["centre"]] for place, row in rows.items()})


def _firsts(found: Found) -> list[Place]:
    """The first metric of each task, which is the one that is compared."""
    firsts: dict[str, Place] = {}
    for row in found["rows"]:
        firsts.setdefault(row["column"], (row["column"], row["metric"]))
    return list(firsts.values())


def _published(tables: Sequence[Found]) -> dict[Place, float]:
    rows = [row for found in tables for row in found["rows"] if row["published"] is not None]
    return {(row["column"], row["metric"]): row["published"] for row in rows}


def _table(found: Found) -> Rows:
    names, known = found["competitors"], _published([found])
    head = ["task", "metric", *names, *([found["published"]] if known else [])]
    rows = []
    for row in found["rows"]:
        cells = [row["column"], row["metric"], *(_value(row[name], found) for name in names)]
        rows.append([*cells, format_published(row["published"])] if known else cells)
    return Rows(head, rows, f"In percent, {found['centre']} and standard deviation over the seeds")


def _against(found: Found) -> Rows:
    """How much better the encoder is than what it is compared with."""
    rows = [
        [row["column"], row["metric"], other, *_points(one), one["verdict"]]
        for row in found["rows"]
        for other, one in row["against"].items()
    ]
    head = ["task", "metric", f"{PRETRAINED} minus", "points", "95 % interval", "which is"]
    return Rows(head, rows, "Differences, with intervals over dev's examples")


def _points(one: Mapping[str, Any]) -> tuple[str, str]:
    """A difference and its interval."""
    low, high = 100 * one["low"], 100 * one["high"]
    return f"{100 * one['difference']:+.1f}", f"{low:+.1f} to {high:+.1f}"


def _averages(found: Found) -> Rows:
    """Those that there are, of all competitors."""
    every, names = found["averages"], found["competitors"]
    means = [name for name, value in every[PRETRAINED].items() if value is not None]
    rows = [[name, *(_mean(every[one].get(name)) for one in names)] for name in means]
    return Rows(["average", *names], rows, "In percent")


def _mean(value: float | None) -> str:
    return "" if value is None else format_percent(value, None)


def _value(values: Mapping[str, Any], found: Found) -> str:
    return format_percent(values[found["centre"]], values["deviation"])


def _together(group: Mapping[str, Found], colors: Mapping[str, str]) -> Section:
    """The tables of several runs in one mode as one, with a column for each run."""
    tables = list(group.values())
    mode = tables[0]["mode"]
    series = [_series(found, PRETRAINED, name, colors[name]) for name, found in group.items()]
    places = list(dict.fromkeys(place for found in tables for place in _firsts(found)))
    parts: list[Any] = [dots(series, places, _published(tables)), _scores(group)]
    parts += [_differences(group), *_means(group), Words([*_others(tables), *_sentences(group)])]
    return Section(f"GLUE, {mode}", f"{HOW[mode]} Measured on dev. {BETWEEN}", parts)


def _rows(found: Found) -> dict[Place, Mapping[str, Any]]:
    return {(row["column"], row["metric"]): row for row in found["rows"]}


def _scores(group: Mapping[str, Found]) -> Rows:
    """The encoder of each run."""
    tables = [(_rows(found), found) for found in group.values()]
    known = _published(list(group.values()))
    rows = []
    for place in dict.fromkeys(place for rows, _ in tables for place in rows):
        there = [_value(r[place][PRETRAINED], found) if place in r else "" for r, found in tables]
        last = [format_published(known.get(place))] if known else []
        rows.append([*place, *there, *last])
    first = tables[0][1]
    head = ["task", "metric", *group, *([first["published"]] if known else [])]
    caption = f"The pretrained encoders, in percent, {first['centre']} and standard deviation"
    return Rows(head, rows, caption)


def _differences(group: Mapping[str, Found]) -> Rows:
    """How much better each encoder is than what it was compared with."""
    tables = [_rows(found) for found in group.values()]
    lines = []
    for place in dict.fromkeys(place for rows in tables for place in rows):
        known = [rows[place]["against"] if place in rows else {} for rows in tables]
        for other in dict.fromkeys(name for against in known for name in against):
            told = [_points(against[other]) if other in against else () for against in known]
            said = [against[other]["verdict"] if other in against else "" for against in known]
            cells = [f"{p[0]} ({p[1]}), {v}" if p else "" for p, v in zip(told, said)]
            lines.append([place[0], place[1], other, *cells])
    caption = "Differences in points, with 95 % intervals over dev's examples"
    return Rows(["task", "metric", f"{PRETRAINED} minus", *group], lines, caption)


def _means(group: Mapping[str, Found]) -> list[Rows]:
    """The averages that any of the runs has."""
    every = [found["averages"][PRETRAINED] for found in group.values()]
    names = dict.fromkeys(name for one in every for name in one)
    rows = [[name, *(_mean(one.get(name)) for one in every)] for name in names]
    rows = [row for row in rows if any(row[1:])]
    return [Rows(["average", *group], rows, "The pretrained encoders, in percent")] if rows else []


def _others(tables: Sequence[Found]) -> list[str]:
    """Tasks that runs were not measured alike on."""
    other = []
    for task in dict.fromkeys(task for found in tables for task in found["asked"]):
        there = [found for found in tables if task in found["asked"]]
        how = [[found["asked"][task].get(name) for name in ALIKE] for found in there]
        told = [[*asked, found["data"].get(task)] for asked, found in zip(how, there)]
        other += [task] if any(one != told[0] for one in told) else []
    said = "Measured on other data or with other options, and so not to be compared between runs"
    return [f"{said}: {', '.join(other)}."] if other else []


def _sentences(group: Mapping[str, Found]) -> list[str]:
    """What the tables of all say once, and the rest with its run."""
    every = [found["sentences"] for found in group.values()]
    said = dict.fromkeys(one for sentences in every for one in sentences)
    shared = [one for one in said if all(one in sentences for sentences in every)]
    alone = [
        f"{name}: {one}"
        for name, found in group.items()
        for one in found["sentences"]
        if one not in shared
    ]
    return [*alone, *shared]
