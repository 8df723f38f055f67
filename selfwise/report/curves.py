"""How training went: what the logs of one or several runs hold, step by step."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from selfwise import config, records
from selfwise.names import told_apart
from selfwise.records import Logged
from selfwise.report.figures import picture
from selfwise.report.parts import Picture, Section, Words
from selfwise.report.plots import End, by_step, color, name_ends, plot

MOST = 1000  # points of a curve; a page for a phone has no more pixels
HELD_OUT = "held_out/"
HEALTH = ("alignment", "uniformity", "rank", "online_knn")
PERCENT = ("accuracy", "partner_first", "online_knn", "waiting_for_data", "masked_share", "active")
TOGETHER = {  # values that are read against each other, and what they are
    "positive_distance": "squared distances of triplets",
    "negative_distance": "squared distances of triplets",
    "color_error": "error of the colours",
    "color_error_gray": "error of the colours",
}
TITLES = {
    "nt_xent": "NT-Xent loss, nats",
    "cross_entropy": "cross-entropy, nats",
    "masked": "loss at masked places, nats",
    "next_token": "loss of the next token, nats",
    "next_sentence": "loss of the next sentence, nats",
    "sentence_order": "loss of the sentences' order, nats",
    "rotation": "rotation loss, nats",
    "jigsaw": "jigsaw loss, nats",
    "triplet": "triplet loss",
    "colorization": "colour loss, rare colours weigh more",
    "color_nats": "cross-entropy of the colours, nats",
    "codes_an_image": "different codes in an image",
    "reconstruction_mse": "squared error of reconstructions",
    "mse": "squared error",
    "codes_used": "codes in use",
    "code_perplexity": "perplexity of the codes",
    "unmasked": "loss at places that are seen",
    "power": "penalty on the features",
    "lr": "learning rate",
    "partner_first": "partner is the nearest",
    "active": "triplets that still count",
    "masked_share": "share that is masked",
    "alignment": "alignment: distance of two views",
    "uniformity": "uniformity of the vectors",
    "rank": "effective rank of the vectors",
    "online_knn": "accuracy of nearest neighbours",
    "positive_distance": "to the positive",
    "negative_distance": "to the negative",
    "color_error": "of the model",
    "color_error_gray": "of grey pictures",
    "examples_per_second": "examples a second",
    "waiting_for_data": "share of time waiting for data",
}


class Watched(NamedTuple):
    """A run with its logs."""

    name: str
    metrics: Logged
    timing: Logged


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
    settings = [config.read(folder) for folder in folders]
    runs = [
        Watched(name, records.metrics(folder), _rates(records.timing(folder), told["options"]))
        for name, folder, told in zip(told_apart(folders), folders, settings)
    ]
    names = _names(run.metrics for run in runs)
    if not names:
        told = "Nothing is logged yet." if len(runs) == 1 else "None of the runs has a log."
        return [Section("Training", told, [])]
    first = [name for name in names if name not in HEALTH]
    rates = _names(run.timing for run in runs)
    shown = [_picture(runs, group) for group in _grouped(runs, first)]
    shown += [_picture(runs, [name], lambda run: run.timing, low=0.0) for name in rates]
    sentences = _said(runs, shown)
    parts = [*shown, *([Words(sentences)] if sentences else [])]
    found = [Section("Training", _about(runs, settings), parts)]
    if health := [name for name in HEALTH if name in names]:
        shown = [_picture(runs, [name]) for name in health]
        found.append(Section("Health of the vectors", _about_health(health), shown))
    return found


def _rates(timing: Logged, options: dict[str, Any]) -> Logged:
    """What is shown of the times: examples a second, and the share of waiting."""
    lines: list[dict[str, float]] = []
    for line in timing.lines:
        kept = {"step": line["step"]}
        if "steps_per_second" in line:
            kept["examples_per_second"] = line["steps_per_second"] * options["batch"]
        if "waiting_for_data" in line:
            kept["waiting_for_data"] = line["waiting_for_data"]
        lines.append(kept)
    return Logged(lines, timing.unreadable)


def _names(logs: Iterable[Logged]) -> list[str]:
    """Of all values but those that are twins of others, in the order in which they are logged."""
    found = dict.fromkeys(name for log in logs for name in log.names)
    bare = dict.fromkeys(name.removeprefix(HELD_OUT) for name in found)
    return [name for name in bare if name != "lr"] + [name for name in bare if name == "lr"]


def _grouped(runs: Sequence[Watched], names: Sequence[str]) -> list[list[str]]:
    """What shares a plot: accuracies, and what is read against each other.

    Where more than one run has any of it, each value has its own plot, and colours tell the runs
    apart.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        kind = "accuracy" if name.endswith("accuracy") else TOGETHER.get(name, name)
        groups.setdefault(kind, []).append(name)
    parts = [
        part
        for group in groups.values()
        for part in ([[name] for name in group] if len(_having(runs, group)) > 1 else [group])
    ]
    return sorted(parts, key=lambda part: names.index(part[0]))


def _having(runs: Sequence[Watched], names: Sequence[str]) -> list[Watched]:
    """The runs that have logged any of the values, in training or on what is held out."""
    wanted = {front + name for name in names for front in ("", HELD_OUT)}
    return [run for run in runs if wanted & {*run.metrics.names, *run.timing.names}]


def _picture(
    runs: Sequence[Watched],
    names: Sequence[str],
    log: Callable[[Watched], Logged] = lambda run: run.metrics,
    *,
    low: float | None = None,
) -> Picture:
    """A plot of values of all runs that have them; held-out twins are dashed."""
    times = 100 if percent(names[0]) else 1
    having = _having(runs, names)
    lines = _lines(runs, names, log, times)
    title = _title(names)
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
    pairs = [(i + k, run, name) for i, run in enumerate(runs) for k, name in enumerate(names)]
    for number, run, name in pairs:
        for front in ("", HELD_OUT):
            steps, values = log(run).values(front + name)
            if not steps:
                continue
            kept = thinned(len(steps))
            called = run.name if several else _called(name, front, alone=len(names) == 1)
            found = [times * values[i] for i in kept]
            told = (called, [steps[i] for i in kept], found, color(number))
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
    told = TITLES.get(name, bare)
    return f"{told}, held out" if front else told


def _title(names: Sequence[str]) -> str:
    if len(names) > 1:
        return TOGETHER.get(names[0], "accuracy")
    return TITLES.get(names[0], names[0].replace("_", " "))


def percent(name: str) -> bool:
    """Whether a value is a share, shown in percent."""
    return name.endswith(PERCENT)


def thinned(count: int) -> list[int]:
    """Which of so many points are drawn: every k-th, and the last."""
    every = -(-count // MOST)
    kept = list(range(0, count, every))
    return kept if not kept or kept[-1] == count - 1 else [*kept, count - 1]


def _said(runs: Sequence[Watched], shown: Sequence[Picture]) -> list[str]:
    """What a reader would otherwise not know: what is left out."""
    said = []
    longest = max(len(run.metrics.lines) for run in runs)
    if longest > MOST:
        said.append(f"Of {longest:,} logged values every {-(-longest // MOST)}th is drawn.")
    for run in runs:
        for log, file in ((run.metrics, "metrics.jsonl"), (run.timing, "timing.jsonl")):
            if log.unreadable:
                whose = f" of {run.name}" if len(runs) > 1 else ""
                lines = "line" if log.unreadable == 1 else "lines"
                said.append(f"{log.unreadable} {lines} of {file}{whose} cannot be read.")
        if len(runs) > 1 and not run.metrics.lines:
            said.append(f"{run.name} has logged nothing yet.")
    return said


def _about(runs: Sequence[Watched], settings: Sequence[dict[str, Any]]) -> str:
    every = sorted({told["options"]["log_every"] for told in settings})
    batches = sorted({told["options"]["batch"] for told in settings})
    said = f"Each point is the mean over the {' or '.join(f'{n:,}' for n in every)} steps before it"
    if len(batches) > 1:
        said += f"; a step is of {' or '.join(f'{n:,}' for n in batches)} examples"
    twins = any(name.startswith(HELD_OUT) for run in runs for name in run.metrics.names)
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
