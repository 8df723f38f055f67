"""How training went: what the logs of one or several runs hold, step by step."""

from collections.abc import Callable, Iterable, Sequence
from math import isfinite
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
from selfwise.report.sections import summary
from selfwise.runs import logs_and_scores
from selfwise.runs.logs_and_scores import Logged
from selfwise.runs.run_yaml import RunRecord, read_record

MAX_POINTS = 1000  # points of a curve; a page for a phone has no more pixels


class LoggedRun(NamedTuple):
    """A run with its logs, of which only finite numbers are left."""

    name: str
    metrics: Logged
    timing: Logged
    nonfinite: dict[str, int]  # values that are infinite or no numbers: how many were left out


class Line(NamedTuple):
    """One curve of a plot."""

    name: str
    steps: Sequence[int]
    values: Sequence[float]
    color: str
    dashed: bool = False


def build_sections(folders: Sequence[Path]) -> list[Section]:
    """The curves of one run, or of several in the same plots.

    Args:
        folders: of the runs.
    """
    run_records = [read_record(folder) for folder in folders]
    runs = [
        _read_logs(name, folder, record)
        for name, folder, record in zip(shorten_folder_names(folders), folders, run_records)
    ]
    names = _list_quantities(run.metrics for run in runs)
    omissions = _describe_omissions(runs)
    if not names:
        about = "Nothing is logged yet." if len(runs) == 1 else "None of the runs has a log."
        return [Section("Training", about, [Paragraphs(omissions)] if omissions else [])]
    health_names = (*quantities.HEALTH, *quantities.SETTINGS)
    training_names = [name for name in names if name not in health_names]
    rates = _list_quantities(run.timing for run in runs)
    rows = _collect_rows(runs, training_names) + _collect_rows(runs, rates, _get_timing)
    parts: list[Part] = [
        *(_plot_quantities(runs, group) for group in _group_by_plot(runs, training_names)),
        *(_plot_quantities(runs, [name], _get_timing, low=0.0) for name in rates),
        _tabulate(runs, rows),
        *([Paragraphs(omissions)] if omissions else []),
    ]
    training = Section("Training", _describe_points(runs, run_records), parts)
    return [
        training,
        *_build_health_section(runs, [name for name in health_names if name in names]),
    ]


def _build_health_section(runs: Sequence[LoggedRun], names: Sequence[str]) -> list[Section]:
    """Curves of the health of the vectors, where it was logged; settings are in the table alone."""
    plotted = [name for name in names if name in quantities.HEALTH]
    if not plotted:
        return []
    pictures = [_plot_quantities(runs, [name]) for name in plotted]
    table = _tabulate(runs, _collect_rows(runs, names))
    return [Section("Health of the vectors", _describe_health(plotted), [*pictures, table])]


def _read_logs(name: str, folder: Path, record: RunRecord) -> LoggedRun:
    """The logs of a run, as far as they can be drawn."""
    metrics = logs_and_scores.read_metrics(folder)
    timing = _compute_rates(logs_and_scores.read_timing(folder), record)
    nonfinite = {
        name: count
        for log in (metrics, timing)
        for name in log.names
        if (count := sum(not isfinite(number) for number in log.values(name)[1]))
    }
    return LoggedRun(name, _drop_nonfinite(metrics), _drop_nonfinite(timing), nonfinite)


def _drop_nonfinite(log: Logged) -> Logged:
    lines = [{n: v for n, v in line.items() if isfinite(v)} for line in log.lines]
    return log._replace(lines=[line for line in lines if "step" in line])


def _get_metrics(run: LoggedRun) -> Logged:
    return run.metrics


def _get_timing(run: LoggedRun) -> Logged:
    return run.timing


def _compute_rates(timing: Logged, record: RunRecord) -> Logged:
    """What is shown of the times: examples a second, and the share of waiting."""
    lines: list[dict[str, float]] = []
    for line in timing.lines:
        rates = {"step": line["step"]}
        if "steps_per_second" in line:
            rates["examples_per_second"] = line["steps_per_second"] * record.training.batch_size
        if "data_wait" in line:
            rates["data_wait"] = line["data_wait"]
        lines.append(rates)
    return Logged(lines, timing.unreadable)


def _list_quantities(logs: Iterable[Logged]) -> list[str]:
    """Of all values but those that are twins of others, in the order in which they are logged."""
    names = dict.fromkeys(name for log in logs for name in log.names)
    bare = dict.fromkeys(name.removeprefix(quantities.HELD_OUT) for name in names)
    return [name for name in bare if name != "lr"] + [name for name in bare if name == "lr"]


def _group_by_plot(runs: Sequence[LoggedRun], names: Sequence[str]) -> list[list[str]]:
    """What shares a plot: accuracies, and what is read against each other.

    Where more than one run has any of it, each value has its own plot, and colours tell the runs
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
            [[name] for name in group] if len(_select_runs_with(runs, group)) > 1 else [group]
        )
    ]
    return sorted(parts, key=lambda part: names.index(part[0]))


def _select_runs_with(runs: Sequence[LoggedRun], names: Sequence[str]) -> list[LoggedRun]:
    """The runs that have logged any of the values, in training or on what is held out."""
    keys = {prefix + name for name in names for prefix in ("", quantities.HELD_OUT)}
    return [run for run in runs if keys & {*run.metrics.names, *run.timing.names}]


def _plot_quantities(
    runs: Sequence[LoggedRun],
    names: Sequence[str],
    log: Callable[[LoggedRun], Logged] = _get_metrics,
    *,
    low: float | None = None,
) -> Picture:
    """A plot of values of all runs that have them; held-out twins are dashed."""
    scale = 100 if quantities.is_percent(names[0]) else 1
    runs_with_any = _select_runs_with(runs, names)
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
    about = "" if len(runs) == 1 or len(runs_with_any) > 1 else f"Of {runs_with_any[0].name} alone."
    if len(runs_with_any) > 1 and any(line.dashed for line in lines):
        about = "Dashed: on examples held out of training."
    last = ", ".join(f"{d.name} {d.values[-1]:.4g}" for d in lines[:12] if d.name)
    return render_svg(figure, alt=f"{title} by step; at the end: {last}", caption=about)


def _make_lines(
    runs: Sequence[LoggedRun],
    names: Sequence[str],
    log: Callable[[LoggedRun], Logged],
    scale: int,
) -> list[Line]:
    """A line for each value that was logged, thinned; colours are of runs, or of values."""
    lines, several = [], len(_select_runs_with(runs, names)) > 1
    pairs = [(i, k, run, name) for i, run in enumerate(runs) for k, name in enumerate(names)]
    for i, k, run, name in pairs:
        # no colour of another run stands for a second value
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
    """A line of a single run."""
    if alone:
        return "held out" if prefix else "training"
    bare = name.removesuffix("_accuracy").replace("_", " ") if name != "accuracy" else name
    title = quantities.TITLES.get(name, bare)
    return f"{title}, held out" if prefix else title


def thin_points(count: int) -> list[int]:
    """Which of so many points are drawn: every k-th, and the last."""
    every = -(-count // MAX_POINTS)
    indices = list(range(0, count, every))
    return indices if not indices or indices[-1] == count - 1 else [*indices, count - 1]


def _collect_rows(
    runs: Sequence[LoggedRun],
    names: Sequence[str],
    log: Callable[[LoggedRun], Logged] = _get_metrics,
) -> list[list[str]]:
    """A line for each value of each run: what a figure shows, for those who do not see it."""
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
    single = len(runs) == 1  # its name would stand in every line
    cells = [[cell for i, cell in enumerate(line) if not single or i != 1] for line in lines]
    return Table(
        [cell for cell in head if not single or cell != "run"], cells, "The same in numbers"
    )


def _describe_omissions(runs: Sequence[LoggedRun]) -> list[str]:
    """What a reader would otherwise not know: what is not drawn."""
    sentences = []
    longest = max(len(run.metrics.lines) for run in runs)
    if longest > MAX_POINTS:
        sentences.append(
            f"Of {longest:,} logged values, one in {-(-longest // MAX_POINTS)} is drawn."
        )
    for run in runs:
        whose = f" of {run.name}" if len(runs) > 1 else ""
        for log, file in ((run.metrics, "metrics.jsonl"), (run.timing, "timing.jsonl")):
            if log.unreadable:
                lines = "line" if log.unreadable == 1 else "lines"
                sentences.append(f"{log.unreadable} {lines} of {file}{whose} cannot be read.")
        for name, count in run.nonfinite.items():
            what = "value" if count == 1 else "values"
            sentences.append(
                f"Not drawn: {count} {what} of {name}{whose} that cannot be, infinite or NaN."
            )
        if len(runs) > 1 and not run.metrics.lines:
            sentences.append(f"{run.name} has logged nothing yet.")
    return sentences


def _describe_points(runs: Sequence[LoggedRun], run_records: Sequence[RunRecord]) -> str:
    # an imported run has no steps
    trained = [record for record in run_records if not record.imported] or run_records
    intervals = sorted({record.training.log_every for record in trained})
    batches = dict(
        sorted((record.training.batch_size, summary.describe_batch(record)) for record in trained)
    )
    steps = " or ".join(f"{n:,}" for n in intervals)
    text = f"Each point is the mean over the {steps} steps before it"
    if len(batches) > 1:
        text += f"; a step is of {' or '.join(batches.values())} examples"
    has_held_out = any(
        name.startswith(quantities.HELD_OUT) for run in runs for name in run.metrics.names
    )
    more = " What is held out is measured without any training on it." if has_held_out else ""
    return f"{text}.{more}"


def _describe_health(names: Sequence[str]) -> str:
    sentences = []
    if "alignment" in names:
        sentences.append(
            "Alignment is the mean squared distance of two views of an example on the unit sphere: "
            "0 is the same place, 4 the opposite one."
        )
    if "uniformity" in names:
        sentences.append(
            "Uniformity is 0 where all vectors are one point, and falls as they spread."
        )
    if "effective_rank" in names:
        sentences.append("The effective rank counts the directions that are used.")
    if "knn_top1" in names:
        sentences.append(
            "The nearest neighbours are looked for among labelled examples of the data."
        )
    return " ".join(sentences)
