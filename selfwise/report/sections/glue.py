"""GLUE on the page: what `selfwise glue` has left in the folders of runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfwise.core.errors import shorten_folder_names
from selfwise.evaluation.scores.names import PRETRAINED
from selfwise.evaluation.scores.probe_score import format_percent
from selfwise.glue.published import format_published
from selfwise.report.page.parts import Paragraphs, Part, Picture, Section, Table
from selfwise.report.page.plots import choose_line_color
from selfwise.report.sections.glue_dots import Place, Series, draw_dots
from selfwise.report.sections.label_curve import choose_competitor_color
from selfwise.runs import logs_and_scores
from selfwise.training import checkpoint

MODE_SENTENCES = {
    "frozen": "Linear probes of frozen features; a part of the training set chooses setting and "
    "penalty.",
    "finetune": "Fine-tuning trains all weights, of the run and of an untrained encoder.",
}
# what runs must have in common, for their scores to be compared with each other
COMPARED_OPTIONS = ("limit", "recipe", "init_from", "wnli")
BASELINES_NOTE = "Intervals compare each run with its own baselines, not the runs with each other."

GlueTable = Mapping[str, Any]  # a table, as it was left


def build_sections(folders: Sequence[Path]) -> list[Section]:
    """Return the tables of one run, or those of the newest weights of several, side by side.

    Raises ValueError for a file that is none of GLUE.
    """
    if len(folders) == 1:
        newest = find_newest_step(folders[0])
        return [
            _build_single_section(table, newest=newest)
            for table in logs_and_scores.read_glue_tables(folders[0])
        ]
    tables: dict[str, dict[str, GlueTable]] = {}
    for name, folder in zip(shorten_folder_names(folders), folders):
        for table in read_newest_tables(folder):
            tables.setdefault(table["mode"], {})[name] = table
    names = shorten_folder_names(folders)
    return [
        _build_combined_section(
            tables[mode], {name: choose_line_color(names.index(name)) for name in tables[mode]}
        )
        if len(tables[mode]) > 1
        else _build_single_section(*tables[mode].values(), name=next(iter(tables[mode])))
        for mode in logs_and_scores.MODES
        if mode in tables
    ]


def read_newest_tables(folder: Path) -> list[GlueTable]:
    """Return the tables of the newest weights of a run, one for each mode that was measured."""
    step = find_newest_step(folder)
    return [table for table in logs_and_scores.read_glue_tables(folder) if table["step"] == step]


def find_newest_step(folder: Path) -> int:
    """Return the step of the newest complete checkpoint; 0 before the first one."""
    newest, _ = checkpoint.find_latest(folder / "checkpoints")
    return newest.step if newest else 0


def write_lead(folder: Path) -> str:
    """Return the mean over the tasks, with the means of the baselines."""
    sentences = []
    for table in read_newest_tables(folder):
        averages = table["averages"]
        names = [name for name, value in averages[PRETRAINED].items() if value is not None]
        if names:  # the last one is of all tasks that were measured
            others = [name for name in table["competitors"] if name != PRETRAINED]
            values = {name: averages[name].get(names[-1]) for name in others}
            baselines = [
                f"{n} {format_percent(v, None)} %" for n, v in values.items() if v is not None
            ]
            score = f"{format_percent(averages[PRETRAINED][names[-1]], None)} %"
            sentences.append(
                f"GLUE, {table['mode']}, {names[-1]}: {'; '.join([score, *baselines])}."
            )
    return " ".join(sentences)


def _build_single_section(
    table: GlueTable, *, newest: int | None = None, name: str = ""
) -> Section:
    """Return a table of a single run."""
    is_old = newest is not None and table["step"] != newest
    title = f"GLUE, {table['mode']}" + (f", {name}" if name else "")
    title += f", step {table['step']:,}" if is_old else ""
    about = f"Of step {table['step']:,}, not the newest step, {newest:,}. " if is_old else ""
    tables = [_tabulate_scores(table), _tabulate_differences(table), _tabulate_averages(table)]
    sentences = [Paragraphs(table["sentences"])] if table["sentences"] else []
    parts: list[Part] = [_draw_scores(table), *(part for part in tables if part.rows), *sentences]
    return Section(title, about + _describe_table(table), parts)


def _describe_table(table: GlueTable) -> str:
    """Describe the procedure and the numbers."""
    seeds = max(len(row[PRETRAINED]["values"]) for row in table["rows"])
    how = f"{table['centre']} of {seeds} seeds." if seeds > 1 else "one seed."
    return f"{MODE_SENTENCES[table['mode']]} Measured on dev; {how}"


def _draw_scores(table: GlueTable) -> Picture:
    names = table["competitors"]
    colors = [choose_competitor_color(name, i) for i, name in enumerate(names)]
    series = [_make_series(table, name, name, color) for name, color in zip(names, colors)]
    return draw_dots(series, _choose_first_metrics(table), _collect_published([table]))


def _make_series(table: GlueTable, competitor: str, name: str, color: str) -> Series:
    rows = {(row["column"], row["metric"]): row[competitor] for row in table["rows"]}
    values = {place: row["values"] for place, row in rows.items()}
    return Series(name, color, values, {place: row[table["centre"]] for place, row in rows.items()})


def _choose_first_metrics(table: GlueTable) -> list[Place]:
    """Return the first metric of each task, which is the one that is compared."""
    firsts: dict[str, Place] = {}
    for row in table["rows"]:
        firsts.setdefault(row["column"], (row["column"], row["metric"]))
    return list(firsts.values())


def _collect_published(tables: Sequence[GlueTable]) -> dict[Place, float]:
    rows = [row for table in tables for row in table["rows"] if row["published"] is not None]
    return {(row["column"], row["metric"]): row["published"] for row in rows}


def _tabulate_scores(table: GlueTable) -> Table:
    names, published = table["competitors"], _collect_published([table])
    head = ["task", "metric", *names, *([table["published"]] if published else [])]
    rows = []
    for row in table["rows"]:
        cells = [row["column"], row["metric"], *(_format_score(row[name], table) for name in names)]
        rows.append([*cells, format_published(row["published"])] if published else cells)
    return Table(head, rows, f"In percent, {table['centre']} and standard deviation over the seeds")


def _tabulate_differences(table: GlueTable) -> Table:
    """Return how much better the encoder is than what it is compared with."""
    rows = [
        [
            row["column"],
            row["metric"],
            other,
            *_format_difference(difference),
            difference["verdict"],
        ]
        for row in table["rows"]
        for other, difference in row["against"].items()
    ]
    head = ["task", "metric", f"{PRETRAINED} minus", "points", "95 % interval", "which means"]
    return Table(head, rows, "Differences, with intervals over dev's examples")


def _format_difference(difference: Mapping[str, Any]) -> tuple[str, str]:
    """Return a difference and its interval."""
    low, high = 100 * difference["low"], 100 * difference["high"]
    return f"{100 * difference['difference']:+.1f}", f"{low:+.1f} to {high:+.1f}"


def _tabulate_averages(table: GlueTable) -> Table:
    """Tabulate the known averages of all competitors."""
    averages, names = table["averages"], table["competitors"]
    means = [name for name, value in averages[PRETRAINED].items() if value is not None]
    rows = [
        [name, *(_format_mean(averages[competitor].get(name)) for competitor in names)]
        for name in means
    ]
    return Table(["average", *names], rows, "In percent")


def _format_mean(value: float | None) -> str:
    return "" if value is None else format_percent(value, None)


def _format_score(values: Mapping[str, Any], table: GlueTable) -> str:
    return format_percent(values[table["centre"]], values["deviation"])


def _build_combined_section(group: Mapping[str, GlueTable], colors: Mapping[str, str]) -> Section:
    """Return the tables of several runs in one mode as one, with a column for each run."""
    tables = list(group.values())
    mode = tables[0]["mode"]
    series = [_make_series(table, PRETRAINED, name, colors[name]) for name, table in group.items()]
    places = list(
        dict.fromkeys(place for table in tables for place in _choose_first_metrics(table))
    )
    parts: list[Part] = [
        draw_dots(series, places, _collect_published(tables)),
        _combine_scores(group),
        _combine_differences(group),
        *_combine_averages(group),
        Paragraphs([*_list_incomparable(tables), *_merge_sentences(group)]),
    ]
    return Section(
        f"GLUE, {mode}", f"{MODE_SENTENCES[mode]} Measured on dev. {BASELINES_NOTE}", parts
    )


def _index_rows(table: GlueTable) -> dict[Place, Mapping[str, Any]]:
    return {(row["column"], row["metric"]): row for row in table["rows"]}


def _combine_scores(group: Mapping[str, GlueTable]) -> Table:
    """Return the encoder of each run."""
    tables = [(_index_rows(table), table) for table in group.values()]
    published = _collect_published(list(group.values()))
    rows = []
    for place in dict.fromkeys(place for by_place, _ in tables for place in by_place):
        scores = [
            _format_score(by_place[place][PRETRAINED], table) if place in by_place else ""
            for by_place, table in tables
        ]
        published_cell = [format_published(published.get(place))] if published else []
        rows.append([*place, *scores, *published_cell])
    first_table = tables[0][1]
    head = ["task", "metric", *group, *([first_table["published"]] if published else [])]
    caption = f"The pretrained encoders, in percent, {first_table['centre']} and standard deviation"
    return Table(head, rows, caption)


def _combine_differences(group: Mapping[str, GlueTable]) -> Table:
    """Return how much better each encoder is than what it was compared with."""
    tables = [_index_rows(table) for table in group.values()]
    rows = []
    for place in dict.fromkeys(place for table in tables for place in table):
        differences = [table[place]["against"] if place in table else {} for table in tables]
        for other in dict.fromkeys(name for against in differences for name in against):
            cells = [_format_cell(against.get(other)) for against in differences]
            rows.append([place[0], place[1], other, *cells])
    caption = "Differences in points, with 95 % intervals over dev's examples"
    return Table(["task", "metric", f"{PRETRAINED} minus", *group], rows, caption)


def _format_cell(difference: Mapping[str, Any] | None) -> str:
    """Return a difference with its interval and verdict; empty where it was not measured."""
    if difference is None:
        return ""
    points, interval = _format_difference(difference)
    return f"{points} ({interval}), {difference['verdict']}"


def _combine_averages(group: Mapping[str, GlueTable]) -> list[Table]:
    """Return the averages that any of the runs has."""
    averages = [table["averages"][PRETRAINED] for table in group.values()]
    names = dict.fromkeys(name for one in averages for name in one)
    rows = [[name, *(_format_mean(one.get(name)) for one in averages)] for name in names]
    rows = [row for row in rows if any(row[1:])]
    return [Table(["average", *group], rows, "The pretrained encoders, in percent")] if rows else []


def _list_incomparable(tables: Sequence[GlueTable]) -> list[str]:
    """Tasks that runs were not measured alike on."""
    incomparable = []
    for task in dict.fromkeys(task for table in tables for task in table["asked"]):
        with_task = [table for table in tables if task in table["asked"]]
        settings = [
            [
                *(table["asked"][task].get(name) for name in COMPARED_OPTIONS),
                table["data"].get(task),
            ]
            for table in with_task
        ]
        incomparable += [task] if any(values != settings[0] for values in settings) else []
    sentence = "Measured on other data or with other options, so not comparable between runs"
    return [f"{sentence}: {', '.join(incomparable)}."] if incomparable else []


def _merge_sentences(group: Mapping[str, GlueTable]) -> list[str]:
    """Merge the sentences of all tables: common ones once, the rest with its run."""
    lists = [table["sentences"] for table in group.values()]
    distinct = dict.fromkeys(one for sentences in lists for one in sentences)
    shared = [one for one in distinct if all(one in sentences for sentences in lists)]
    own = [
        f"{name}: {one}"
        for name, table in group.items()
        for one in table["sentences"]
        if one not in shared
    ]
    return [*own, *shared]
