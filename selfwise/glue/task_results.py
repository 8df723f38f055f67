"""OUT/<task>.json: what has been found out about a task of GLUE, as it comes."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from selfwise.evaluation.scores.probe_score import PRETRAINED
from selfwise.glue.compare import compare_metric, compute_seed_intervals, judge_seeds
from selfwise.glue.scores import WORDS
from selfwise.glue.submission import TaskAnswers
from selfwise.glue.task_splits import TaskSplits
from selfwise.glue.tasks import GlueTask

FIELD_TYPES: dict[str, type] = {
    "task": str,
    "asked": dict,
    "data": dict,
    "rows": dict,
    "ids": dict,
    "notes": list,
}
FIELD_TYPES |= {"fits": list, "comparisons": list, "done": bool}


class CompetitorFit(NamedTuple):
    """What one competitor says with one seed."""

    setting: Mapping[str, Any]  # that was chosen, in plain values
    tried: Sequence[
        tuple[Mapping[str, Any], float | None]
    ]  # what each reached on train; None: it diverged
    predicted: Mapping[str, np.ndarray]  # a column of dev or a file of test -> classes, or scores
    scores: Mapping[str, Mapping[str, float]]  # a column of dev -> metric -> value


class TaskResults:
    """The file of a task, written anew after each fit; it appears whole or not at all.

    Args:
        path: of the file, which need not exist.
        asked: the options, in plain values.
        told: what the task is measured on, of `TaskSplits.told`.

    Raises ValueError if the file is no such one, or was made of another run, with other options or
    on other data.
    """

    def __init__(self, path: Path, asked: Mapping[str, Any], told: Mapping[str, Any]):
        self.path = path
        new = {"asked": dict(asked), **told, "fits": [], "comparisons": [], "done": False}
        self.found: dict[str, Any] = _read_results(path) if path.exists() else new
        self._check(new)

    @classmethod
    def found_in(cls, path: Path) -> "TaskResults":
        """What was measured before, as it is."""
        found = _read_results(path)
        told = {name: found[name] for name in ("task", "data", "rows", "ids", "notes")}
        return cls(path, found["asked"], told)

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return bool(self.found["done"])

    @property
    def by_seed(self) -> bool:
        """Whether what is compared was compared for every seed; earlier versions did not."""
        return all("seeds" in one for one in self.found["comparisons"])

    def has(self, competitor: str, seed: int) -> bool:
        """Whether this fit is there."""
        return any((fit["competitor"], fit["seed"]) == (competitor, seed) for fit in self.fits)

    @property
    def fits(self) -> list[dict[str, Any]]:
        """All fits so far, in plain values."""
        return list(self.found["fits"])

    def add(self, competitor: str, seed: int, fit: CompetitorFit) -> None:
        """Keep a fit."""
        told = {
            "competitor": competitor,
            "seed": seed,
            "setting": dict(fit.setting),
            "tried": [[dict(setting), value] for setting, value in fit.tried],
            "scores": {name: dict(values) for name, values in fit.scores.items()},
            "predicted": {name: said.tolist() for name, said in fit.predicted.items()},
        }
        self._write(self.found | {"fits": [*self.fits, told]})

    def finish(self, comparisons: Sequence[Mapping[str, Any]]) -> None:
        """Keep what follows from all fits."""
        self._write(self.found | {"comparisons": [dict(one) for one in comparisons], "done": True})

    def answers(self) -> dict[str, TaskAnswers]:
        """For each file of test the answers of the pretrained encoder's seed that is best on dev.

        As the papers do it; of equals the first. Its scores on dev are not what is reported.
        """
        own = [fit for fit in self.fits if fit["competitor"] == PRETRAINED]
        if not own:
            return {}
        best = max(own, key=lambda fit: fmean(fmean(s.values()) for s in fit["scores"].values()))
        told = {name: np.array(best["predicted"][name]) for name in self.found["ids"]}
        return {name: TaskAnswers(self.found["ids"][name], said) for name, said in told.items()}

    def _check(self, new: Mapping[str, Any]) -> None:
        before, now = self.found["asked"], new["asked"]
        another = "give another --out"
        if self.found["task"] != new["task"]:
            raise ValueError(f"{self.path} is about {self.found['task']}; {another}")
        if any(before.get(name) != now[name] for name in ("weights", "step")):
            raise ValueError(f"{self.path} was measured of another run, or checkpoint; {another}")
        for name in [*now, *before]:
            if before.get(name) != now.get(name):
                earlier, later = (_format_option(options.get(name)) for options in (before, now))
                differs = f"{name} {earlier}, not {later}"
                raise ValueError(f"{self.path} was measured with {differs}; {another}")
        data = [self.found["data"], new["data"]]
        differing = sorted(n for n in data[0] | data[1] if data[0].get(n) != data[1].get(n))
        ids = [self.found["ids"], new["ids"]]
        differing += [n for n in ids[1] if n not in differing and ids[0].get(n) != ids[1][n]]
        if differing:
            said = f"on other data, in {', '.join(differing)}"
            raise ValueError(f"{self.path} was measured {said}; {another}")

    def _write(self, found: dict[str, Any]) -> None:
        replace_file(self.path, json.dumps(found))
        self.found = found


def compare_fits(
    material: TaskSplits, fits: Sequence[Mapping[str, Any]], others: Sequence[str]
) -> list[dict[str, Any]]:
    """The pretrained encoder against each of the others on every column of dev."""
    rows = []
    for column, dev in material.dev.items():
        truth = dev.texts.labels if material.task.labels else dev.scores
        assert truth is not None
        found = [_compare_competitor(material.task, column, truth, fits, other) for other in others]
        rows += [_mention_words(row, found) for row in found]
    return rows


def _compare_competitor(
    task: GlueTask, column: str, truth: np.ndarray, fits: Sequence[Mapping[str, Any]], other: str
) -> dict[str, Any]:
    """The difference to one competitor, the interval of the means and that of each seed."""
    ours, theirs = (_stack_predictions(fits, name, column) for name in (PRETRAINED, other))
    value, (low, high) = compare_metric(task, truth, ours, theirs, seed=0)
    seeds = compute_seed_intervals(task, truth, ours, theirs)
    row: dict[str, Any] = {"column": column, "metric": task.metrics[0], "competitor": other}
    row |= {"difference": value, "low": low, "high": high, "seeds": [list(one) for one in seeds]}
    return row | {"verdict": judge_seeds(seeds, len(truth))}


def _mention_words(row: dict[str, Any], found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The row, whose verdict says where bags of words, which need no encoder, are better."""
    below = [o["difference"] for o in found if o["competitor"] == WORDS and o["difference"] < 0]
    if not below or row["competitor"] == WORDS:
        return row
    return row | {"verdict": f"{row['verdict']}, but below {WORDS} ({100 * below[0]:+.1f})"}


def replace_file(path: Path, content: str | bytes) -> None:
    """Write a file that appears whole or not at all, in place of what was there."""
    temporary = path.with_name(f".{path.name}.writing")
    temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    temporary.replace(path)


def _stack_predictions(
    fits: Sequence[Mapping[str, Any]], competitor: str, column: str
) -> np.ndarray:
    return np.array([f["predicted"][column] for f in fits if f["competitor"] == competitor])


def _read_results(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        found = None
    right = isinstance(found, dict) and all(
        isinstance(found.get(name), kind) for name, kind in FIELD_TYPES.items()
    )
    if not right:
        raise ValueError(f"{path} is nothing that selfwise glue has written; give another --out")
    return dict(found)


def _format_option(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
