"""OUT/<task>.json: the results of a task of GLUE, saved after each fit."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np

from selfwise.core.files import write_file
from selfwise.core.own_files import read_own
from selfwise.core.plain_data import parse_fields
from selfwise.evaluation.scores.names import PRETRAINED, WORDS
from selfwise.glue.compare import compare_metric, compute_seed_intervals, judge_seeds
from selfwise.glue.results_file import ResultsFile
from selfwise.glue.submission import TaskAnswers
from selfwise.glue.task_record import (
    ComparisonRecord,
    FitRecord,
    SettingValues,
    TaskDescription,
    TaskRecord,
)
from selfwise.glue.task_splits import TaskSplits
from selfwise.glue.tasks import GlueTask


class CompetitorFit(NamedTuple):
    """The predictions of one competitor with one seed, and their scores."""

    setting: SettingValues  # the chosen one
    # settings with their scores on train; None: it diverged
    tried: Sequence[tuple[SettingValues, float | None]]
    predicted: Mapping[str, np.ndarray]  # a column of dev or a file of test -> classes, or scores
    scores: Mapping[str, Mapping[str, float]]  # a column of dev -> metric -> value


class TaskResults:
    """The file of a task, rewritten after each fit; it appears whole or not at all.

    Args:
        path: of the file, which need not exist.
        options: the options, in plain values.
        description: of the data, from `TaskSplits.describe`.

    Raises ValueError if the file is not one of these, or is of another run, other options or other
    data.
    """

    def __init__(self, path: Path, options: Mapping[str, object], description: TaskDescription):
        self.path = path
        new: TaskRecord = {
            "asked": dict(options),
            **description,
            "fits": [],
            "comparisons": [],
            "done": False,
        }
        self.record: TaskRecord = _read_results(path) if path.exists() else new
        self._check_comparable(new)

    @classmethod
    def from_file(cls, path: Path) -> "TaskResults":
        """Earlier results, with the options and data that they have."""
        record = _read_results(path)
        return cls(path, record["asked"], record)

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return bool(self.record["done"])

    @property
    def by_seed(self) -> bool:
        """Whether what is compared was compared for every seed; earlier versions did not."""
        return all("seeds" in one for one in self.record["comparisons"])

    def has_fit(self, competitor: str, seed: int) -> bool:
        """Return whether this fit is there."""
        return any((fit["competitor"], fit["seed"]) == (competitor, seed) for fit in self.fits)

    @property
    def fits(self) -> list[FitRecord]:
        """All fits so far, in plain values."""
        return list(self.record["fits"])

    def add_fit(self, competitor: str, seed: int, fit: CompetitorFit) -> None:
        """Save a fit."""
        record: FitRecord = {
            "competitor": competitor,
            "seed": seed,
            "setting": dict(fit.setting),
            "tried": [(dict(setting), value) for setting, value in fit.tried],
            "scores": {name: dict(values) for name, values in fit.scores.items()},
            "predicted": {name: predicted.tolist() for name, predicted in fit.predicted.items()},
        }
        self._save_record({**self.record, "fits": [*self.fits, record]})

    def save_comparisons(self, comparisons: Sequence[ComparisonRecord]) -> None:
        """Save the comparisons; nothing else is left to do."""
        self._save_record({**self.record, "comparisons": list(comparisons), "done": True})

    def choose_answers(self) -> dict[str, TaskAnswers]:
        """For each file of test the answers of the pretrained encoder's seed that is best on dev.

        As the papers do it; of equals the first. Its scores on dev are not what is reported.
        """
        pretrained = [fit for fit in self.fits if fit["competitor"] == PRETRAINED]
        if not pretrained:
            return {}
        best = max(
            pretrained, key=lambda fit: fmean(fmean(s.values()) for s in fit["scores"].values())
        )
        predicted = {name: np.array(best["predicted"][name]) for name in self.record["ids"]}
        ids = self.record["ids"]
        return {name: TaskAnswers(ids[name], answers) for name, answers in predicted.items()}

    def _check_comparable(self, new: TaskRecord) -> None:
        old_options, new_options = self.record["asked"], new["asked"]
        another = "use another --out"
        if self.record["task"] != new["task"]:
            raise ValueError(f"{self.path} is about {self.record['task']}; {another}")
        if any(old_options.get(name) != new_options[name] for name in ("weights", "step")):
            raise ValueError(f"{self.path} belongs to another run or checkpoint; {another}")
        for name in [*new_options, *old_options]:
            if old_options.get(name) != new_options.get(name):
                earlier, later = (
                    _format_option(options.get(name)) for options in (old_options, new_options)
                )
                differs = f"{name} {earlier}, not {later}"
                raise ValueError(f"{self.path} was measured with {differs}; {another}")
        data = [self.record["data"], new["data"]]
        differing = sorted(n for n in data[0] | data[1] if data[0].get(n) != data[1].get(n))
        ids = [self.record["ids"], new["ids"]]
        differing += [n for n in ids[1] if n not in differing and ids[0].get(n) != ids[1][n]]
        if differing:
            where = f"on other data, in {', '.join(differing)}"
            raise ValueError(f"{self.path} was measured {where}; {another}")

    def _save_record(self, record: TaskRecord) -> None:
        write_file(self.path, json.dumps(record))
        self.record = record


def compare_fits(
    splits: TaskSplits, fits: Sequence[FitRecord], others: Sequence[str]
) -> list[ComparisonRecord]:
    """Return the pretrained encoder against each of the others on every column of dev."""
    rows = []
    for column, dev in splits.dev.items():
        truth = dev.texts.labels if splits.task.labels else dev.scores
        assert truth is not None
        comparisons = [
            _compare_competitor(splits.task, column, truth, fits, other) for other in others
        ]
        rows += [_mention_words(row, comparisons) for row in comparisons]
    return rows


def _compare_competitor(
    task: GlueTask, column: str, truth: np.ndarray, fits: Sequence[FitRecord], other: str
) -> ComparisonRecord:
    """Return the difference to one competitor, the interval of the means and that of each seed."""
    ours, theirs = (_stack_predictions(fits, name, column) for name in (PRETRAINED, other))
    value, (low, high) = compare_metric(task, truth, ours, theirs, seed=0)
    seeds = compute_seed_intervals(task, truth, ours, theirs)
    return {
        "column": column,
        "metric": task.metrics[0],
        "competitor": other,
        "difference": value,
        "low": low,
        "high": high,
        "seeds": [list(one) for one in seeds],
        "verdict": judge_seeds(seeds, len(truth)),
    }


def _mention_words(
    row: ComparisonRecord, comparisons: Sequence[ComparisonRecord]
) -> ComparisonRecord:
    """Return the row, with a verdict that mentions bags of words where they are better."""
    below = [
        other["difference"]
        for other in comparisons
        if other["competitor"] == WORDS and other["difference"] < 0
    ]
    if not below or row["competitor"] == WORDS:
        return row
    return {**row, "verdict": f"{row['verdict']}, but below {WORDS} ({100 * below[0]:+.1f})"}


def _stack_predictions(fits: Sequence[FitRecord], competitor: str, column: str) -> np.ndarray:
    return np.array([f["predicted"][column] for f in fits if f["competitor"] == competitor])


def _read_results(path: Path) -> TaskRecord:
    try:
        record = json.loads(read_own(path))
        parse_fields(ResultsFile, record)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{path} was not written by selfwise glue ({reason}); use another --out"
        ) from error
    return record  # type: ignore[no-any-return] # its fields are checked above


def _format_option(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
