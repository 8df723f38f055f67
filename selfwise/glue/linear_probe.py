"""A linear model for a task of GLUE; its penalty is chosen by the metrics of the task."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from selfwise.evaluation.probes.linear import (
    PENALTIES,
    check_features,
    check_features_finite,
    check_two_classes,
)
from selfwise.evaluation.probes.scalers import BagScaler
from selfwise.glue.metrics import average_metrics
from selfwise.glue.tasks import SCORES, GlueTask

Matrix = Any  # dense float32 (n, d), or a sparse bag of words

# numbers in the features: below, threads wait for each other longer than they multiply. With
# other jobs a search on MRPC's 3,668 x 1,024 took 0.6 s with one thread and 8 s with two, one on
# SST-2's 53,879 x 256 took 1.2 s and 6 s
SINGLE_THREAD_SIZE = 2**26
# largest entry of the gradient at which L-BFGS stops, in the search and in the final fit: at 1e-4
# probabilities are 0.018 away, at 1e-6 0.0002
SEARCH_TOLERANCE, FINAL_TOLERANCE = 1e-4, 1e-6
ITERATIONS = 10_000


class PenaltyTrial(NamedTuple):
    """A penalty, and what it is worth where it was tried."""

    penalty: float
    value: float  # `average_metrics`


def search_penalties(
    task: GlueTask, x: Matrix, truth: np.ndarray, fitted_rows: np.ndarray, judge_rows: np.ndarray
) -> list[PenaltyTrial]:
    """Return the penalties from strong to weak until the task's score has fallen twice.

    Args:
        task: its metrics decide; accuracy would take CoLA's constant answer for a good one.
        x: features (n, d).
        truth: classes, or scores, (n,).
        fitted_rows: rows that are fitted.
        judge_rows: rows that judge.

    Nothing can be tried, and the list is empty, if there are no rows to judge or all that are
    fitted have one class.
    """
    if not len(judge_rows) or len(np.unique(truth[fitted_rows])) < 2:
        return []
    trials = list[PenaltyTrial]()
    with _limit_threads(x):
        model = _build_model(task, x[fitted_rows], truth[fitted_rows], SEARCH_TOLERANCE)
        test = model.scale(x[judge_rows])
        for penalty in sorted(PENALTIES, reverse=True):
            value = average_metrics(task, truth[judge_rows], model.fit(penalty).predict(test))
            trials.append(PenaltyTrial(penalty, value))
            highest = max(one.value for one in trials)
            if len(trials) > 2 and all(one.value < highest for one in trials[-2:]):
                break
    return trials


def fit_and_predict(
    task: GlueTask, x: Matrix, truth: np.ndarray, test: Matrix, penalty: float
) -> np.ndarray:
    """Return classes by logistic regression, or scores from 0 to 5 by ridge regression, of `test`.

    mean cross-entropy + penalty / 2 |W|^2, as in `linear`, or mean squared error + penalty |w|^2.
    Features are standardized; bags of words are scaled as in `linear`, whose penalties these are.
    The fit is in float64, on a copy of `x` that is standardized in place; its spread needs another
    copy for a while. With float32 features the peak is five times the memory of `x`: 8 GB for
    MNLI's 392,702 x 1,024.

    Raises ValueError if there are no examples, a feature is not finite, or all labels are equal.
    """
    check_features(x, np.zeros(len(truth), np.int64), test)
    if task.labels:
        check_two_classes(truth)
    with _limit_threads(x):
        model = _build_model(task, x.astype(np.float64), truth, FINAL_TOLERANCE)
        return model.fit(penalty).predict(model.scale(test))


class _ClassModel:
    """Logistic regression that starts where it stopped last."""

    def __init__(self, x: Matrix, truth: np.ndarray, tol: float):
        self.scale, self.x, self.truth = *_scale_features(x), truth
        self.model = LogisticRegression(tol=tol, max_iter=ITERATIONS, warm_start=True)

    def fit(self, penalty: float) -> "_ClassModel":
        C = 1 / (penalty * len(self.truth))  # scikit-learn's objective is n C times ours
        self.model.set_params(C=C).fit(self.x, self.truth)
        return self

    def predict(self, test: Matrix) -> np.ndarray:
        return self.model.predict(test).astype(np.int64)


class _ScoreModel:
    """Ridge regression."""

    def __init__(self, x: Matrix, truth: np.ndarray):
        self.scale, self.x, self.truth = *_scale_features(x), truth

    def fit(self, penalty: float) -> "_ScoreModel":
        self.model = Ridge(alpha=penalty * len(self.truth)).fit(self.x, self.truth)
        return self

    def predict(self, test: Matrix) -> np.ndarray:
        return np.clip(self.model.predict(test), *SCORES)


def _scale_features(x: Matrix) -> tuple[Callable[[Matrix], Matrix], Matrix]:
    """Return a function that scales other features, and x scaled; dense features change in
    place."""
    if issparse(x):
        return BagScaler().transform, BagScaler().transform(x)
    scale = StandardScaler(copy=False)
    x = scale.fit_transform(x)
    return partial(scale.transform, copy=True), x


def _build_model(
    task: GlueTask, x: Matrix, truth: np.ndarray, tol: float
) -> _ClassModel | _ScoreModel:
    check_features_finite("training", x)
    return _ClassModel(x, truth, tol) if task.labels else _ScoreModel(x, truth)


def _limit_threads(x: Matrix) -> threadpool_limits:
    """Return one for small features: see `SINGLE_THREAD_SIZE`."""
    return threadpool_limits(1 if x.size < SINGLE_THREAD_SIZE else None)
