"""The logs of runs, as far as they can be drawn, and what to say of them."""

from collections.abc import Iterable, Sequence
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from selfwise.report.page import quantities
from selfwise.report.sections import summary
from selfwise.runs import logs_and_scores
from selfwise.runs.logs_and_scores import Logged
from selfwise.runs.run_yaml import RunRecord

MAX_POINTS = 1000  # points of a curve; a page for a phone has no more pixels


class LoggedRun(NamedTuple):
    """A run with its logs, of which only finite numbers are left."""

    name: str
    record: RunRecord
    metrics: Logged
    timing: Logged
    nonfinite: dict[str, int]  # values that are infinite or no numbers: how many were left out


def read_logs(name: str, folder: Path, record: RunRecord) -> LoggedRun:
    """Return the logs of a run, as far as they can be drawn."""
    metrics = logs_and_scores.read_metrics(folder)
    timing = compute_rates(logs_and_scores.read_timing(folder), record)
    nonfinite = {
        name: count
        for log in (metrics, timing)
        for name in log.names
        if (count := sum(not isfinite(number) for number in log.values(name)[1]))
    }
    return LoggedRun(name, record, drop_nonfinite(metrics), drop_nonfinite(timing), nonfinite)


def drop_nonfinite(log: Logged) -> Logged:
    lines = [{n: v for n, v in line.items() if isfinite(v)} for line in log.lines]
    return log._replace(lines=[line for line in lines if "step" in line])


def get_metrics(run: LoggedRun) -> Logged:
    return run.metrics


def get_timing(run: LoggedRun) -> Logged:
    return run.timing


def compute_rates(timing: Logged, record: RunRecord) -> Logged:
    """Compute the rates to show: examples a second, and the fraction of waiting."""
    lines: list[dict[str, float]] = []
    for line in timing.lines:
        rates = {"step": line["step"]}
        if "steps_per_second" in line:
            rates["examples_per_second"] = line["steps_per_second"] * record.training.batch_size
        if "data_wait" in line:
            rates["data_wait"] = line["data_wait"]
        lines.append(rates)
    return Logged(lines, timing.unreadable)


def list_quantities(logs: Iterable[Logged]) -> list[str]:
    """List all values in their logged order, without the held-out counterparts of others."""
    names = dict.fromkeys(name for log in logs for name in log.names)
    bare = dict.fromkeys(name.removeprefix(quantities.HELD_OUT) for name in names)
    return [name for name in bare if name != "lr"] + [name for name in bare if name == "lr"]


def select_runs_with(runs: Sequence[LoggedRun], names: Sequence[str]) -> list[LoggedRun]:
    """Return the runs that have logged any of the values, in training or on what is held out."""
    keys = {prefix + name for name in names for prefix in ("", quantities.HELD_OUT)}
    return [run for run in runs if keys & {*run.metrics.names, *run.timing.names}]


def thin_points(count: int) -> list[int]:
    """Return which of so many points are drawn: every k-th, and the last."""
    every = -(-count // MAX_POINTS)
    indices = list(range(0, count, every))
    return indices if not indices or indices[-1] == count - 1 else [*indices, count - 1]


def describe_omissions(runs: Sequence[LoggedRun]) -> list[str]:
    """Name the values that the figures leave out."""
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
                sentences.append(f"{log.unreadable} {lines} of {file}{whose} could not be read.")
        for name, count in run.nonfinite.items():
            what = "value" if count == 1 else "values"
            sentences.append(
                f"Not drawn: {count} {what} of {name}{whose} that are infinite or NaN."
            )
        if len(runs) > 1 and not run.metrics.lines:
            sentences.append(f"{run.name} has logged nothing yet.")
    return sentences


def describe_points(runs: Sequence[LoggedRun], run_records: Sequence[RunRecord]) -> str:
    """Describe a point of a curve, and the examples in a step if the runs differ."""
    # an imported run has no steps
    trained = [record for record in run_records if not record.imported] or run_records
    intervals = sorted({record.training.log_every for record in trained})
    batches = dict(
        sorted((record.training.batch_size, summary.describe_batch(record)) for record in trained)
    )
    steps = " or ".join(f"{n:,}" for n in intervals)
    text = f"Each point is the mean over the {steps} steps before it"
    if len(batches) > 1:
        text += f"; a step has {' or '.join(batches.values())} examples"
    has_held_out = any(
        name.startswith(quantities.HELD_OUT) for run in runs for name in run.metrics.names
    )
    more = " The held-out part is never trained on." if has_held_out else ""
    return f"{text}.{more}"


def describe_health(names: Sequence[str]) -> str:
    """Explain the measures of the vectors."""
    sentences = []
    if "alignment" in names:
        sentences.append(
            "Alignment is the mean squared distance between two views of an example on the unit "
            "sphere: 0 is the same point, 4 the opposite point."
        )
    if "uniformity" in names:
        sentences.append(
            "Uniformity is 0 where all vectors are one point, and falls as they spread."
        )
    if "effective_rank" in names:
        sentences.append("The effective rank counts the directions that the vectors use.")
    if "knn_top1" in names:
        sentences.append("The nearest neighbors come from labeled examples of the data.")
    return " ".join(sentences)
