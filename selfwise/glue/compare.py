"""Whether a difference in a metric of GLUE is more than noise: a paired bootstrap of the metric."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Shaped
from numpy.random import Generator, Philox

from selfwise.core.rng import hash_keys
from selfwise.evaluation.scores.bootstrap import (
    ABOVE,
    MAX_COUNTS,
    WITHIN,
    WORSE,
    Interval,
    is_above_noise,
    paired_bootstrap,
)
from selfwise.glue.metrics import CONSTANT_TOLERANCE, METRICS
from selfwise.glue.tasks import GlueTask

NUM_RESAMPLES = 5_000
MIN_EXAMPLES = 10  # examples of dev below which resampling them says nothing about others

FitPredictions = Shaped[np.ndarray, "seeds m"]  # predictions: classes, or scores
ResampleCounts = Float[np.ndarray, "draws k"]  # how often a resample has each kind of example


def compare_metric(
    task: GlueTask,
    truth: Shaped[np.ndarray, "m"],
    ours: FitPredictions,
    theirs: FitPredictions,
    *,
    seed: int = 0,
) -> tuple[float, Interval]:
    """Return the task's first metric of `ours` minus that of `theirs`, means over their fits.

    With the 95 % percentile interval over resampled examples; they are resampled together, so that
    hard examples count for neither. A correlation or F1 is not a mean over examples, so each
    resample computes it again.

    Args:
        task: says the metric.
        truth: classes, or scores.
        ours: predictions of each seed.
        theirs: of the competitor.
        seed: draws the resamples.
    """
    metric = task.metrics[0]
    value = METRICS[metric]
    means = [float(np.mean([value(truth, one) for one in fits])) for fits in (ours, theirs)]
    if metric == "accuracy":
        right = [(fits == truth).mean(axis=0) for fits in (ours, theirs)]
        return means[0] - means[1], paired_bootstrap(*right, seed=seed)
    return means[0] - means[1], _bootstrap_interval(metric, truth, ours, theirs, seed)


def compute_seed_intervals(
    task: GlueTask, truth: Shaped[np.ndarray, "m"], ours: FitPredictions, theirs: FitPredictions
) -> list[Interval]:
    """Return the interval of `compare_metric` for each seed: fit i of `ours` against fit i of
    `theirs`."""
    pairs = zip(ours, theirs, strict=True)
    return [compare_metric(task, truth, own[None], other[None])[1] for own, other in pairs]


def judge_seeds(intervals: Sequence[Interval], examples: int) -> str:
    """Judge the intervals of all seeds: beyond the noise only if each of them excludes zero."""
    if examples < MIN_EXAMPLES:
        return f"not judged: dev has fewer than {MIN_EXAMPLES} examples"
    if is_above_noise(intervals):
        return ABOVE
    return WORSE if is_above_noise((-high, -low) for low, high in intervals) else WITHIN


def _bootstrap_interval(
    metric: str, truth: np.ndarray, ours: FitPredictions, theirs: FitPredictions, seed: int
) -> Interval:
    """Resample by counting each distinct row of (truth, predictions of all
    fits)."""
    rows, counts = np.unique(np.stack([truth, *ours, *theirs]), axis=1, return_counts=True)
    random = Generator(Philox(hash_keys(seed, "bootstrap of a metric")))
    at_once, differences = max(1, MAX_COUNTS // len(counts)), []
    for done in range(0, NUM_RESAMPLES, at_once):
        size = min(at_once, NUM_RESAMPLES - done)
        counts_drawn = random.multinomial(len(truth), counts / len(truth), size=size).astype(
            np.float64
        )
        values = [
            _RESAMPLED_METRICS[metric](counts_drawn, rows[0], predicted) for predicted in rows[1:]
        ]
        our_values, their_values = values[: len(ours)], values[len(ours) :]
        differences.append(np.mean(our_values, axis=0) - np.mean(their_values, axis=0))
    low, high = np.quantile(np.concatenate(differences), [0.025, 0.975])
    return float(low), float(high)


def _resample_confusion(
    resamples: ResampleCounts, truth: np.ndarray, predicted: np.ndarray
) -> Float[np.ndarray, "draws c c"]:
    """Count for each resample how often a class (row) was predicted as each class (column)."""
    classes = max(2, int(truth.max()) + 1, int(predicted.max()) + 1)
    cells = np.eye(classes**2)[truth * classes + predicted]
    return (resamples @ cells).reshape(-1, classes, classes)


def _resample_f1(
    resamples: ResampleCounts, truth: np.ndarray, predicted: np.ndarray
) -> Float[np.ndarray, "draws"]:
    counts = _resample_confusion(resamples, truth, predicted)
    hits = counts[:, 1, 1]
    return _divide_or_zero(2 * hits, counts[:, 1].sum(axis=1) + counts[:, :, 1].sum(axis=1))


def _resample_matthews(
    resamples: ResampleCounts, truth: np.ndarray, predicted: np.ndarray
) -> Float[np.ndarray, "draws"]:
    counts = _resample_confusion(resamples, truth, predicted)
    n = counts.sum(axis=(1, 2))
    true_counts, predicted_counts = counts.sum(axis=2), counts.sum(axis=1)
    covariance = n * np.trace(counts, axis1=1, axis2=2) - (true_counts * predicted_counts).sum(
        axis=1
    )
    spread = [n**2 - (one**2).sum(axis=1) for one in (true_counts, predicted_counts)]
    return _divide_or_zero(covariance, np.sqrt(spread[0] * spread[1]))


def _resample_pearson(
    resamples: ResampleCounts, truth: np.ndarray, predicted: np.ndarray
) -> Float[np.ndarray, "draws"]:
    n = resamples.sum(axis=1)
    x, y = truth - truth.mean(), predicted - predicted.mean()
    mean = [resamples @ one / n for one in (x, y)]
    spread = [resamples @ one**2 / n - m**2 for one, m in zip((x, y), mean)]
    covariance = resamples @ (x * y) / n - mean[0] * mean[1]
    flat = [
        s <= (CONSTANT_TOLERANCE * np.abs(one).max()) ** 2
        for s, one in zip(spread, (truth, predicted))
    ]
    return np.where(
        flat[0] | flat[1],
        0.0,
        _divide_or_zero(covariance, np.sqrt(np.maximum(0, spread[0] * spread[1]))),
    )


def _divide_or_zero(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """0 where it is undefined, as the metrics have it."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


_RESAMPLED_METRICS: dict[str, Callable[[ResampleCounts, np.ndarray, np.ndarray], np.ndarray]] = {
    "f1": _resample_f1,
    "matthews": _resample_matthews,
    "pearson": _resample_pearson,
}
