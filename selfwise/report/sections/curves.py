"""The curves of training, from the logs of one or several runs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from selfwise.core.errors import shorten_folder_names
from selfwise.report.page import quantities
from selfwise.report.page.figures import render_svg
from selfwise.report.page.parts import Paragraphs, Part, Picture, Section, Table
from selfwise.report.page.plots import (
    LineEnd,
    choose_extra_line_color,
    choose_line_color,
    create_plot,
    label_line_ends,
    set_step_axis,
)
from selfwise.report.sections.logged_runs import (
    LoggedRun,
    describe_health,
    describe_omissions,
    describe_points,
    get_metrics,
    get_timing,
    list_quantities,
    read_logs,
    select_runs_with,
    thin_points,
)
from selfwise.runs.logs_and_scores import Logged
from selfwise.runs.run_yaml import RunRecord, read_record
from selfwise.workflows.comparability import explain_differences, group_comparable, join_names


class Line(NamedTuple):
    """One curve of a plot."""

    name: str
    steps: Sequence[int]
    values: Sequence[float]
    color: str
    dashed: bool = False


def build_sections(folders: Sequence[Path]) -> list[Section]:
    """Return the curves of one run, or of several in the same plots.

    Args:
        folders: of the runs.
    """
    run_records = [read_record(folder) for folder in folders]
    runs = [
        read_logs(name, folder, record)
        for name, folder, record in zip(shorten_folder_names(folders), folders, run_records)
    ]
    names = list_quantities(run.metrics for run in runs)
    omissions = describe_omissions(runs)
    if not names:
        about = (
            "The run has not logged anything yet."
            if len(runs) == 1
            else "None of the runs has a log."
        )
        return [Section("Training", about, [Paragraphs(omissions)] if omissions else [])]
    health_names = (*quantities.HEALTH, *quantities.SETTINGS)
    training_names = [name for name in names if name not in health_names]
    rates = list_quantities(run.timing for run in runs)
    rows = _collect_rows(runs, training_names) + _collect_rows(runs, rates, get_timing)
    apart = _explain_separate_plots(runs, names)
    parts: list[Part] = [
        *([Paragraphs(apart)] if apart else []),
        *(p for group in _group_by_plot(runs, training_names) for p in _plot_apart(runs, group)),
        *(_plot_quantities(runs, [name], get_timing, low=0.0) for name in rates),
        _tabulate(runs, rows),
        *([Paragraphs(omissions)] if omissions else []),
    ]
    training = Section("Training", describe_points(runs, run_records), parts)
    return [
        training,
        *_build_health_section(runs, [name for name in health_names if name in names]),
    ]


def _build_health_section(runs: Sequence[LoggedRun], names: Sequence[str]) -> list[Section]:
    """Return curves of the health of the vectors, where it was logged; settings are in the table
    alone."""
    plotted = [name for name in names if name in quantities.HEALTH]
    if not plotted:
        return []
    pictures = [picture for name in plotted for picture in _plot_apart(runs, [name])]
    table = _tabulate(runs, _collect_rows(runs, names))
    return [Section("Health of the vectors", describe_health(plotted), [*pictures, table])]


def _group_by_plot(runs: Sequence[LoggedRun], names: Sequence[str]) -> list[list[str]]:
    """Group the values that share a plot: accuracies, and values to compare with each other.

    Where more than one run has any of it, each value has its own plot, and colors tell the runs
    apart.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        kind = (
            "accuracy" if name.endswith("accuracy") else quantities.COMPARED_VALUES.get(name, name)
        )
        groups.setdefault(kind, []).append(name)
    parts = [
        part
        for group in groups.values()
        for part in (
            [[name] for name in group] if len(select_runs_with(runs, group)) > 1 else [group]
        )
    ]
    return sorted(parts, key=lambda part: names.index(part[0]))


def _plot_apart(runs: Sequence[LoggedRun], names: Sequence[str]) -> list[Picture]:
    """Return a plot of the values for each group of runs whose values can be compared."""
    groups = _group_runs(runs, names[0])
    if len(groups) < 2:
        return [_plot_quantities(runs, names)]
    empty = Logged([])
    return [
        _plot_quantities(
            [run if run.name in group else run._replace(metrics=empty) for run in runs], names
        )
        for group in groups
    ]


def _group_runs(runs: Sequence[LoggedRun], name: str) -> list[list[str]]:
    """Return the names of the runs that have a value, in groups that can be compared in it."""
    return group_comparable(_select_records(runs, name), name)


def _select_records(runs: Sequence[LoggedRun], name: str) -> dict[str, RunRecord]:
    return {run.name: run.record for run in select_runs_with(runs, [name])}


def _explain_separate_plots(runs: Sequence[LoggedRun], names: Sequence[str]) -> list[str]:
    """Explain why values of some runs have separate plots: a sentence for each reason."""
    titles: dict[str, list[str]] = {}
    for name in names:
        if len(_group_runs(runs, name)) > 1:
            reason = explain_differences(_select_records(runs, name), name)
            title = quantities.plot_title([name])
            titles.setdefault(reason, []).append(f'"{title.partition(", ")[0].partition(":")[0]}"')
    return [
        f"The plots of {join_names(several)} are separate, because these numbers cannot be "
        f"compared between runs that differ in {reason}."
        for reason, several in titles.items()
    ]


def _plot_quantities(
    runs: Sequence[LoggedRun],
    names: Sequence[str],
    log: Callable[[LoggedRun], Logged] = get_metrics,
    *,
    low: float | None = None,
) -> Picture:
    """Return a plot of values of all runs that have them; held-out values are dashed."""
    scale = 100 if quantities.is_percent(names[0]) else 1
    runs_with_any = select_runs_with(runs, names)
    lines = _make_lines(runs, names, log, scale)
    title = quantities.plot_title(names)
    figure, axes = create_plot(f"{title}, %" if scale == 100 else title)
    for line in lines:
        is_short = len(line.steps) < 25
        axes.plot(
            line.steps,
            line.values,
            color=line.color,
            linewidth=1.4,
            linestyle=(0, (4, 2)) if line.dashed else "-",
            marker="o" if is_short else None,
            markersize=2.6,
        )
    set_step_axis(axes)
    axes.margins(x=0.02)
    if low is not None:
        axes.set_ylim(bottom=low)
    if len(lines) > 1:
        ends = [LineEnd(d.steps[-1], d.values[-1], d.name, d.color) for d in lines if d.name]
        label_line_ends(figure, axes, ends)
    is_apart = len(runs_with_any) < len(runs)
    about = f"Of {join_names([run.name for run in runs_with_any])} alone." if is_apart else ""
    if len(runs_with_any) > 1 and any(line.dashed for line in lines):
        about = f"{about} Dashed: on examples held out of training.".strip()
    last = ", ".join(f"{d.name} {d.values[-1]:.4g}" for d in lines[:12] if d.name)
    return render_svg(figure, alt=f"{title} by step; at the end: {last}", caption=about)


def _make_lines(
    runs: Sequence[LoggedRun],
    names: Sequence[str],
    log: Callable[[LoggedRun], Logged],
    scale: int,
) -> list[Line]:
    """Return a line for each value that was logged, thinned; colors are of runs, or of values."""
    lines, several = [], len(select_runs_with(runs, names)) > 1
    pairs = [(i, k, run, name) for i, run in enumerate(runs) for k, name in enumerate(names)]
    for i, k, run, name in pairs:
        # a second value never uses the color of another run
        shade = (
            choose_line_color(i)
            if not k
            else choose_line_color(k)
            if len(runs) == 1
            else choose_extra_line_color(k - 1)
        )
        for prefix in ("", quantities.HELD_OUT):
            steps, values = log(run).values(prefix + name)
            if not steps:
                continue
            indices = thin_points(len(steps))
            label = run.name if several else _name_line(name, prefix, alone=len(names) == 1)
            scaled = [scale * values[index] for index in indices]
            kept_steps = [steps[index] for index in indices]
            lines.append(Line(label, kept_steps, scaled, shade, dashed=bool(prefix)))
    if several:  # a run is named once
        solid = {line.name for line in lines if not line.dashed}
        lines = [
            line._replace(name="") if line.dashed and line.name in solid else line for line in lines
        ]
    return lines


def _name_line(name: str, prefix: str, *, alone: bool) -> str:
    """Return a line of a single run."""
    if alone:
        return "held out" if prefix else "training"
    bare = name.removesuffix("_accuracy").replace("_", " ") if name != "accuracy" else name
    title = quantities.TITLES.get(name, bare)
    return f"{title}, held out" if prefix else title


def _collect_rows(
    runs: Sequence[LoggedRun],
    names: Sequence[str],
    log: Callable[[LoggedRun], Logged] = get_metrics,
) -> list[list[str]]:
    """Return a line for each value of each run: what a figure shows, for those who do not see
    it."""
    rows = []
    for name in names:
        for prefix in ("", quantities.HELD_OUT):
            scale = 100 if quantities.is_percent(name) else 1
            for run in runs:
                steps, values = log(run).values(prefix + name)
                if steps:
                    ends = (values[0], min(values), max(values), values[-1])
                    numbers = [f"{scale * number:.4g}" for number in ends]
                    title = quantities.row_title(prefix + name)
                    rows.append([title, run.name, *numbers, f"{steps[-1]:,}"])
    return rows


def _tabulate(runs: Sequence[LoggedRun], lines: Sequence[Sequence[str]]) -> Table:
    head = ["value", "run", "first", "lowest", "highest", "last", "at step"]
    single = len(runs) == 1  # its name would be in every line
    cells = [[cell for i, cell in enumerate(line) if not single or i != 1] for line in lines]
    return Table(
        [cell for cell in head if not single or cell != "run"], cells, "The curves in numbers"
    )
