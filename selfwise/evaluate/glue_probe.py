"""A linear model for a task of GLUE; its penalty is chosen by the metric of the task."""

from typing import Any, NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from threadpoolctl import threadpool_limits

from selfwise.data.glue import SCORES, Task
from selfwise.evaluate.glue_metrics import METRICS
from selfwise.evaluate.linear import (
    ITERATIONS,
    PENALTIES,
    SERIAL,
    check_classes,
    check_features,
    check_numbers,
    scaler,
)

Matrix = Any  # dense float32 (n, d), or a sparse bag of words


class Tried(NamedTuple):
    """A penalty, and what it is worth where it was tried."""

    penalty: float
    value: float  # the task's first metric


def path(
    task: Task, x: Matrix, truth: np.ndarray, kept: np.ndarray, apart: np.ndarray
) -> list[Tried]:
    """The penalties from strong to weak until the metric has fallen twice.

    Args:
        task: its first metric decides; accuracy would take CoLA's constant answer for a good one.
        x: features (n, d).
        truth: classes, or scores, (n,).
        kept: rows that are fitted.
        apart: rows that judge.

    Nothing can be tried, and the list is empty, if there are no rows to judge or all that are
    fitted have one class.
    """
    if not len(apart) or len(np.unique(truth[kept])) < 2:
        return []
    metric, found = METRICS[task.metrics[0]], list[Tried]()
    with _threads(x):
        model = _model(task, x[kept], truth[kept], tol=1e-3)
        asked = model.scaled(x[apart])
        for penalty in sorted(PENALTIES, reverse=True):
            value = metric(truth[apart], model.fitted(penalty).says(asked))
            found.append(Tried(penalty, value))
            highest = max(one.value for one in found)
            if len(found) > 2 and all(one.value < highest for one in found[-2:]):
                break
    return found


def answers(task: Task, x: Matrix, truth: np.ndarray, asked: Matrix, penalty: float) -> np.ndarray:
    """Classes by logistic regression, or scores from 0 to 5 by ridge regression, of `asked`.

    mean cross-entropy + penalty / 2 |W|^2, as in `linear`, or mean squared error + penalty |w|^2.
    Features are standardised; bags of words are scaled as in `linear`, whose penalties these are.

    Raises ValueError if there are no examples, a feature is not finite, or all labels are equal.
    """
    check_features(x, np.zeros(len(truth), np.int64), asked)
    if task.labels:
        check_classes(truth)
    with _threads(x):
        model = _model(task, x, truth, tol=1e-4)
        return model.fitted(penalty).says(model.scaled(asked))


class _Classes:
    """Logistic regression that starts where it stopped last."""

    def __init__(self, x: Matrix, truth: np.ndarray, tol: float):
        scale = scaler(x)
        self.x, self.truth, self.scaled = scale.fit_transform(x), truth, scale.transform
        self.model = LogisticRegression(tol=tol, max_iter=ITERATIONS, warm_start=True)

    def fitted(self, penalty: float) -> "_Classes":
        C = 1 / (penalty * len(self.truth))  # scikit-learn's objective is n C times ours
        self.model.set_params(C=C).fit(self.x, self.truth)
        return self

    def says(self, asked: Matrix) -> np.ndarray:
        return self.model.predict(asked).astype(np.int64)


class _Scores:
    """Ridge regression."""

    def __init__(self, x: Matrix, truth: np.ndarray):
        scale = scaler(x)
        self.x, self.truth, self.scaled = scale.fit_transform(x), truth, scale.transform

    def fitted(self, penalty: float) -> "_Scores":
        self.model = Ridge(alpha=penalty * len(self.truth)).fit(self.x, self.truth)
        return self

    def says(self, asked: Matrix) -> np.ndarray:
        return np.clip(self.model.predict(asked), *SCORES)


def _model(task: Task, x: Matrix, truth: np.ndarray, *, tol: float) -> _Classes | _Scores:
    check_numbers("training", x)
    return _Classes(x, truth, tol) if task.labels else _Scores(x, truth)


def _threads(x: Matrix) -> threadpool_limits:
    """One for small features: see `SERIAL`."""
    return threadpool_limits(1 if x.size < SERIAL else None)
