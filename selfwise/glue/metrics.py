"""The metrics of GLUE, and its averages: there are several, so each has a name.

Everything is a share (1 is all right), not a percentage; the averages keep the unit they are given.
"""

from collections.abc import Callable, Mapping
from statistics import fmean

import numpy as np
from jaxtyping import Float, Int64
from numpy.typing import ArrayLike
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from selfwise.core.errors import did_you_mean
from selfwise.glue.tasks import GlueTask, part_suffix

# share of the largest value: numbers nearer to each other count as equal
CONSTANT_TOLERANCE = 1e-12
Classes = Int64[np.ndarray, "n"]
Numbers = Float[np.ndarray, "n"]

Scores = Mapping[str, Mapping[str, float]]  # task, MNLI as mnli-m and mnli-mm -> metric -> value


def accuracy(truth: Classes, predicted: Classes) -> float:
    """Return the share of examples that are right."""
    return float(accuracy_score(truth, predicted))


def f1(truth: Classes, predicted: Classes) -> float:
    """F1 of class 1, the paraphrases: 2 tp / (2 tp + fp + fn); 0 where there is none to count."""
    return float(f1_score(truth, predicted, labels=[1], average="micro", zero_division=0.0))


def matthews(truth: Classes, predicted: Classes) -> float:
    """Matthews' correlation; R_K of Gorodkin (2004) for more than two classes.

    0 where it is undefined, which is where all predictions, or all labels, are of one class.
    """
    if np.ptp(truth) == 0 or np.ptp(predicted) == 0:
        return 0.0
    return float(matthews_corrcoef(truth, predicted))


def pearson(truth: Numbers, predicted: Numbers) -> float:
    """Pearson's correlation; 0 where it is undefined: all predictions, or all scores, are equal."""
    if _is_constant(truth) or _is_constant(predicted):
        return 0.0
    return float(pearsonr(_to_float64(truth), _to_float64(predicted)).statistic)


def spearman(truth: Numbers, predicted: Numbers) -> float:
    """Spearman's correlation, equal values sharing their ranks' mean; 0 where it is undefined."""
    if _is_constant(truth) or _is_constant(predicted):
        return 0.0
    return float(spearmanr(_to_float64(truth), _to_float64(predicted)).statistic)


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "matthews": matthews,
    "accuracy": accuracy,
    "f1": f1,
    "pearson": pearson,
    "spearman": spearman,
}


def compute_metrics(
    task: GlueTask, truth: Int64[np.ndarray, "n"] | Float[np.ndarray, "n"], predicted: ArrayLike
) -> dict[str, float]:
    """Return every metric of a task: `predicted` (n,) holds classes, or scores for STS-B.

    Raises ValueError if there are no examples, the numbers of them differ, a class is none of the
    task's, or a score is not finite.
    """
    predicted = np.asarray(predicted)
    if predicted.shape != truth.shape:
        expected = f"{len(truth):,} predictions expected"
        raise ValueError(f"{task.name}: {expected}, got an array of shape {predicted.shape}")
    if not len(truth):
        raise ValueError(f"{task.name}: there are no examples to score")
    if task.labels:
        predicted = check_predicted_classes(task, predicted)
    elif not np.isfinite(predicted).all():
        row = int(np.flatnonzero(~np.isfinite(predicted))[0])
        raise ValueError(f"{task.name}: prediction {row} is {predicted[row]}, not a number")
    return {name: METRICS[name](truth, predicted) for name in task.metrics}


def average_metrics(task: GlueTask, truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the mean of the task's metrics, as the leaderboard counts it; it chooses what is
    chosen.

    F1 alone would take the constant answer to MRPC for a good one.
    """
    return fmean(compute_metrics(task, truth, predicted).values())


def check_predicted_classes(task: GlueTask, predicted: np.ndarray) -> Int64[np.ndarray, "n"]:
    """Return predictions as int64. Raises ValueError for a prediction that is not a class of the
    task."""
    if predicted.dtype.kind not in "iu":
        raise ValueError(f"{task.name}: predictions must be class numbers, got {predicted.dtype}")
    wrong = np.flatnonzero((predicted < 0) | (predicted >= len(task.labels)))
    if len(wrong):
        row = int(wrong[0])
        expected = f"classes are 0 to {len(task.labels) - 1}"
        raise ValueError(f"{task.name}: prediction {row} is {predicted[row]}, {expected}")
    return predicted.astype(np.int64)


# (column, its metrics, which are averaged before the columns are)
_Columns = tuple[tuple[tuple[str, str], ...], ...]

# arXiv:1804.07461, section 3.4, and the leaderboard: nine tasks; MNLI's two parts share one column
OFFICIAL: _Columns = (
    (("cola", "matthews"),),
    (("sst2", "accuracy"),),
    (("mrpc", "f1"), ("mrpc", "accuracy")),
    (("stsb", "pearson"), ("stsb", "spearman")),
    (("qqp", "f1"), ("qqp", "accuracy")),
    (("mnli-m", "accuracy"), ("mnli-mm", "accuracy")),
    (("qnli", "accuracy"),),
    (("rte", "accuracy"),),
    (("wnli", "accuracy"),),
)
# arXiv:1810.04805, table 1: no WNLI, MNLI counts twice, one metric each
BERT: _Columns = (
    (("mnli-m", "accuracy"),),
    (("mnli-mm", "accuracy"),),
    (("qqp", "f1"),),
    (("qnli", "accuracy"),),
    (("sst2", "accuracy"),),
    (("cola", "matthews"),),
    (("stsb", "spearman"),),
    (("mrpc", "f1"),),
    (("rte", "accuracy"),),
)
# the dev tables of RoBERTa (arXiv:1907.11692, table 8) and ModernBERT: no WNLI, MNLI matched
EIGHT: _Columns = (
    (("mnli-m", "accuracy"),),
    (("qnli", "accuracy"),),
    (("qqp", "accuracy"),),
    (("rte", "accuracy"),),
    (("sst2", "accuracy"),),
    (("mrpc", "accuracy"),),
    (("cola", "matthews"),),
    (("stsb", "pearson"),),
)
AVERAGES: dict[str, _Columns] = {
    "official (9 tasks)": OFFICIAL,
    "BERT paper (9 columns, no WNLI)": BERT,
    "dev tables of RoBERTa and ModernBERT (8 tasks, no WNLI)": EIGHT,
}


def column_name(task: GlueTask, split: str) -> str:
    """Return the name of a split's scores in an average: the task's, and for MNLI mnli-m or
    mnli-mm."""
    return task.name + part_suffix(split)


def compute_average(scores: Scores, name: str) -> float | None:
    """The average of that name, in the unit of `scores`; None if a score that it needs is missing.

    Args:
        scores: metric -> value for every task by its name, MNLI under `mnli-m` and `mnli-mm`.
        name: one of AVERAGES.

    Raises ValueError for another name.
    """
    if list_missing_metrics(scores, name):
        return None
    columns = AVERAGES[name]
    return fmean(fmean(scores[task][metric] for task, metric in column) for column in columns)


def list_missing_metrics(scores: Scores, name: str) -> list[str]:
    """Return scores that an average lacks, as `qqp f1`. Raises ValueError for an unknown
    average."""
    if name not in AVERAGES:
        raise ValueError(f"unknown average {name!r}{did_you_mean(name, AVERAGES)}")
    needed = [pair for column in AVERAGES[name] for pair in column]
    return [f"{task} {metric}" for task, metric in needed if metric not in scores.get(task, {})]


def _is_constant(values: np.ndarray) -> bool:
    values = _to_float64(values)
    return bool(np.ptp(values) <= CONSTANT_TOLERANCE * np.abs(values).max())


def _to_float64(values: np.ndarray) -> Float[np.ndarray, "n"]:
    return np.asarray(values, np.float64)
