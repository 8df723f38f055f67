"""How training went: what the logs of one or several runs hold, step by step."""

from collections.abc import Callable, Iterable, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from selfwise.core.errors import shorten_folder_names
from selfwise.report.page import quantities
from selfwise.report.page.figures import picture
from selfwise.report.page.parts import Picture, Rows, Section, Words
from selfwise.report.page.plots import End, by_step, color, name_ends, other, plot
from selfwise.report.sections import summary
from selfwise.runs import records
from selfwise.runs.record import RunRecord, read_record
from selfwise.runs.records import Logged

MOST = 1000  # points of a curve; a page for a phone has no more pixels


class Watched(NamedTuple):
    """A run with its logs, of which only finite numbers are left."""

    name: str
    metrics: Logged
    timing: Logged
    no_numbers: dict[str, int]  # values that are infinite or no numbers: how many were left out


class Line(NamedTuple):
    """One curve of a plot."""

    name: str
    steps: Sequence[int]
    values: Sequence[float]
    color: str
    dashed: bool = False


def sections(folders: Sequence[Path]) -> list[Section]:
    """The curves of one run, or of several in the same plots.

    Args:
        folders: of the runs.
    """
    settings = [read_record(folder) for folder in folders]
    runs = [
        _watched(name, folder, told)
        for name, folder, told in zip(shorten_folder_names(folders), folders, settings)
    ]
    names = _names(run.metrics for run in runs)
    if not names:
        told = "Nothing is logged yet." if len(runs) == 1 else "None of the runs has a log."
        lost = _left_out(runs)
        return [Section("Training", told, [Words(lost)] if lost else [])]
    apart = (*quantities.HEALTH, *quantities.SETTINGS)
    first = [name for name in names if name not in apart]
    rates = _names(run.timing for run in runs)
    parts: list[Any] = [_picture(runs, group) for group in _grouped(runs, first)]
    parts += [_picture(runs, [name], _timing, low=0.0) for name in rates]
    parts.append(_table(runs, _numbers(runs, first) + _numbers(runs, rates, _timing)))
    if sentences := _left_out(runs):
        parts.append(Words(sentences))
    found = [Section("Training", _about(runs, settings), parts)]
    if health := [name for name in quantities.HEALTH if name in names]:
        shown = [_picture(runs, [name]) for name in health]
        listed = [name for name in apart if name in names]
        table = _table(runs, _numbers(runs, listed))
        found.append(Section("Health of the vectors", _about_health(health), [*shown, table]))
    return found


def _watched(name: str, folder: Path, record: RunRecord) -> Watched:
    """The logs of a run, as far as they can be drawn."""
    metrics, timing = records.metrics(folder), _rates(records.timing(folder), record)
    lost = {
        value: count
        for log in (metrics, timing)
        for value in log.names
        if (count := sum(not isfinite(number) for number in log.values(value)[1]))
    }
    return Watched(name, _finite(metrics), _finite(timing), lost)


def _finite(log: Logged) -> Logged:
    lines = [{n: v for n, v in line.items() if isfinite(v)} for line in log.lines]
    return log._replace(lines=[line for line in lines if "step" in line])


def _metrics(run: Watched) -> Logged:
    return run.metrics


def _timing(run: Watched) -> Logged:
    return run.timing


def _rates(timing: Logged, record: RunRecord) -> Logged:
    """What is shown of the times: examples a second, and the share of waiting."""
    lines: list[dict[str, float]] = []
    for line in timing.lines:
        kept = {"step": line["step"]}
        if "steps_per_second" in line:
            kept["examples_per_second"] = line["steps_per_second"] * record.training.batch
        if "waiting_for_data" in line:
            kept["waiting_for_data"] = line["waiting_for_data"]
        lines.append(kept)
    return Logged(lines, timing.unreadable)


def _names(logs: Iterable[Logged]) -> list[str]:
    """Of all values but those that are twins of others, in the order in which they are logged."""
    found = dict.fromkeys(name for log in logs for name in log.names)
    bare = dict.fromkeys(name.removeprefix(quantities.HELD_OUT) for name in found)
    return [name for name in bare if name != "lr"] + [name for name in bare if name == "lr"]


def _grouped(runs: Sequence[Watched], names: Sequence[str]) -> list[list[str]]:
    """What shares a plot: accuracies, and what is read against each other.

    Where more than one run has any of it, each value has its own plot, and colours tell the runs
    apart.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        kind = "accuracy" if name.endswith("accuracy") else quantities.TOGETHER.get(name, name)
        groups.setdefault(kind, []).append(name)
    parts = [
        part
        for group in groups.values()
        for part in ([[name] for name in group] if len(_having(runs, group)) > 1 else [group])
    ]
    return sorted(parts, key=lambda part: names.index(part[0]))


def _having(runs: Sequence[Watched], names: Sequence[str]) -> list[Watched]:
    """The runs that have logged any of the values, in training or on what is held out."""
    wanted = {front + name for name in names for front in ("", quantities.HELD_OUT)}
    return [run for run in runs if wanted & {*run.metrics.names, *run.timing.names}]


def _picture(
    runs: Sequence[Watched],
    names: Sequence[str],
    log: Callable[[Watched], Logged] = _metrics,
    *,
    low: float | None = None,
) -> Picture:
    """A plot of values of all runs that have them; held-out twins are dashed."""
    times = 100 if quantities.percent(names[0]) else 1
    having = _having(runs, names)
    lines = _lines(runs, names, log, times)
    title = quantities.title(names)
    made, axes = plot(f"{title}, %" if times == 100 else title)
    for line in lines:
        few = len(line.steps) < 25
        axes.plot(
            line.steps,
            line.values,
            color=line.color,
            linewidth=1.4,
            linestyle=(0, (4, 2)) if line.dashed else "-",
            marker="o" if few else None,
            markersize=2.6,
        )
    by_step(axes)
    axes.margins(x=0.02)
    if low is not None:
        axes.set_ylim(bottom=low)
    if len(lines) > 1:
        told = [line for line in lines if line.name]
        name_ends(made, axes, [End(d.steps[-1], d.values[-1], d.name, d.color) for d in told])
    about = "" if len(runs) == 1 or len(having) > 1 else f"Of {having[0].name} alone."
    if len(having) > 1 and any(line.dashed for line in lines):
        about = "Dashed: on examples held out of training."
    last = ", ".join(f"{d.name} {d.values[-1]:.4g}" for d in lines[:12] if d.name)
    return picture(made, alt=f"{title} by step; at the end: {last}", caption=about)


def _lines(
    runs: Sequence[Watched],
    names: Sequence[str],
    log: Callable[[Watched], Logged],
    times: int,
) -> list[Line]:
    """A line for each value that was logged, thinned; colours are of runs, or of values."""
    lines, several = [], len(_having(runs, names)) > 1
    pairs = [(i, k, run, name) for i, run in enumerate(runs) for k, name in enumerate(names)]
    for i, k, run, name in pairs:
        # no colour of another run stands for a second value
        shade = color(i) if not k else color(k) if len(runs) == 1 else other(k - 1)
        for front in ("", quantities.HELD_OUT):
            steps, values = log(run).values(front + name)
            if not steps:
                continue
            kept = thinned(len(steps))
            called = run.name if several else _called(name, front, alone=len(names) == 1)
            found = [times * values[at] for at in kept]
            told = (called, [steps[at] for at in kept], found, shade)
            lines.append(Line(*told, dashed=bool(front)))
    if several:  # a run is named once
        twins = {line.name for line in lines if not line.dashed}
        lines = [_unnamed(line) if line.dashed and line.name in twins else line for line in lines]
    return lines


def _unnamed(line: Line) -> Line:
    return line._replace(name="")


def _called(name: str, front: str, *, alone: bool) -> str:
    """A line of a single run."""
    if alone:
        return "held out" if front else "training"
    bare = name.removesuffix("_accuracy").replace("_", " ") if name != "accuracy" else name
    told = quantities.TITLES.get(name, bare)
    return f"{told}, held out" if front else told


def thinned(count: int) -> list[int]:
    """Which of so many points are drawn: every k-th, and the last."""
    every = -(-count // MOST)
    kept = list(range(0, count, every))
    return kept if not kept or kept[-1] == count - 1 else [*kept, count - 1]


def _numbers(
    runs: Sequence[Watched],
    names: Sequence[str],
    log: Callable[[Watched], Logged] = _metrics,
) -> list[list[str]]:
    """A line for each value of each run: what a figure shows, for those who do not see it."""
    lines = []
    for name in names:
        for front in ("", quantities.HELD_OUT):
            times = 100 if quantities.percent(name) else 1
            for run in runs:
                steps, found = log(run).values(front + name)
                if steps:
                    ends = (found[0], min(found), max(found), found[-1])
                    numbers = [f"{times * number:.4g}" for number in ends]
                    told = [quantities.alone(front + name), run.name]
                    lines.append([*told, *numbers, f"{steps[-1]:,}"])
    return lines


def _table(runs: Sequence[Watched], lines: Sequence[Sequence[str]]) -> Rows:
    head = ["value", "run", "first", "lowest", "highest", "last", "at step"]
    alone = len(runs) == 1  # its name would stand in every line
    kept = [[cell for i, cell in enumerate(line) if not alone or i != 1] for line in lines]
    return Rows([cell for cell in head if not alone or cell != "run"], kept, "The same in numbers")


def _left_out(runs: Sequence[Watched]) -> list[str]:
    """What a reader would otherwise not know: what is not drawn."""
    said = []
    longest = max(len(run.metrics.lines) for run in runs)
    if longest > MOST:
        said.append(f"Of {longest:,} logged values, one in {-(-longest // MOST)} is drawn.")
    for run in runs:
        whose = f" of {run.name}" if len(runs) > 1 else ""
        for log, file in ((run.metrics, "metrics.jsonl"), (run.timing, "timing.jsonl")):
            if log.unreadable:
                lines = "line" if log.unreadable == 1 else "lines"
                said.append(f"{log.unreadable} {lines} of {file}{whose} cannot be read.")
        for name, count in run.no_numbers.items():
            what = "value" if count == 1 else "values"
            said.append(
                f"Not drawn: {count} {what} of {name}{whose} that cannot be, infinite or NaN."
            )
        if len(runs) > 1 and not run.metrics.lines:
            said.append(f"{run.name} has logged nothing yet.")
    return said


def _about(runs: Sequence[Watched], settings: Sequence[RunRecord]) -> str:
    trained = [one for one in settings if not one.imported] or settings  # that has no steps
    every = sorted({one.training.log_every for one in trained})
    batches = dict(sorted((one.training.batch, summary.in_a_step(one)) for one in trained))
    said = f"Each point is the mean over the {' or '.join(f'{n:,}' for n in every)} steps before it"
    if len(batches) > 1:
        said += f"; a step is of {' or '.join(batches.values())} examples"
    twins = any(name.startswith(quantities.HELD_OUT) for run in runs for name in run.metrics.names)
    more = " What is held out is measured without any training on it." if twins else ""
    return f"{said}.{more}"


def _about_health(names: Sequence[str]) -> str:
    said = []
    if "alignment" in names:
        said.append(
            "Alignment is the mean squared distance of two views of an example on the unit sphere: "
            "0 is the same place, 4 the opposite one."
        )
    if "uniformity" in names:
        said.append("Uniformity is 0 where all vectors are one point, and falls as they spread.")
    if "rank" in names:
        said.append("The effective rank counts the directions that are used.")
    if "online_knn" in names:
        said.append("The nearest neighbours are looked for among labelled examples of the data.")
    return " ".join(said)
