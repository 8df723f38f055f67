"""GLUE's metrics against loops in float64, and its averages against published rows."""

import math

import numpy as np
import pytest

from selfwise.glue.metrics import (
    AVERAGES,
    METRICS,
    column_name,
    compute_average,
    compute_metrics,
    f1,
    list_missing_metrics,
    matthews,
    pearson,
    spearman,
)
from selfwise.glue.tasks import find_task

NINE, PAPER, EIGHT = AVERAGES


def by_hand_accuracy(truth, predicted):
    return sum(a == b for a, b in zip(truth, predicted)) / len(truth)


def by_hand_f1(truth, predicted):
    tp = sum(a == b == 1 for a, b in zip(truth, predicted))
    said, real = sum(b == 1 for b in predicted), sum(a == 1 for a in truth)
    if tp == 0:
        return 0.0
    precision, recall = tp / said, tp / real
    return 2 * precision * recall / (precision + recall)


def by_hand_matthews(truth, predicted):
    """Gorodkin's R_K as a correlation of one-hot rows: the sums over classes of covariances."""
    n = len(truth)
    classes = {*truth, *predicted}

    def covariance(x, y):
        total = 0.0
        for c in classes:
            xs, ys = [float(v == c) for v in x], [float(v == c) for v in y]
            mx, my = sum(xs) / n, sum(ys) / n
            total += sum((a - mx) * (b - my) for a, b in zip(xs, ys))
        return total

    below = covariance(truth, truth) * covariance(predicted, predicted)
    return covariance(truth, predicted) / math.sqrt(below) if below > 0 else 0.0


def by_hand_pearson(truth, predicted):
    n = len(truth)
    mx, my = math.fsum(truth) / n, math.fsum(predicted) / n
    above = math.fsum((a - mx) * (b - my) for a, b in zip(truth, predicted))
    xx, yy = (math.fsum((a - m) ** 2 for a in v) for v, m in ((truth, mx), (predicted, my)))
    return above / math.sqrt(xx * yy) if xx * yy > 0 else 0.0


def ranks(values):
    return [sum(o < v for o in values) + (sum(o == v for o in values) + 1) / 2 for v in values]


def by_hand_spearman(truth, predicted):
    return by_hand_pearson(ranks(truth), ranks(predicted))


BY_HAND = {
    "accuracy": by_hand_accuracy,
    "f1": by_hand_f1,
    "matthews": by_hand_matthews,
    "pearson": by_hand_pearson,
    "spearman": by_hand_spearman,
}


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("name", ["accuracy", "f1", "matthews"])
def test_classes_against_loops(name, seed):
    draw = np.random.default_rng(seed)
    n = int(draw.integers(2, 60))
    truth, predicted = (draw.random(n) < draw.random() for _ in range(2))
    truth, predicted = truth.astype(np.int64), predicted.astype(np.int64)
    found, right = (
        METRICS[name](truth, predicted),
        BY_HAND[name](truth.tolist(), predicted.tolist()),
    )
    assert found == pytest.approx(right, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_matthews_of_three_classes(seed):
    draw = np.random.default_rng(seed)
    truth = draw.integers(3, size=50)
    predicted = np.where(draw.random(50) < 0.5, truth, draw.integers(3, size=50))
    assert matthews(truth, predicted) == pytest.approx(
        by_hand_matthews(truth.tolist(), predicted.tolist()), abs=1e-12
    )


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_scores_against_loops(name, seed, tied):
    draw = np.random.default_rng(seed)
    truth = draw.random(40) * 5
    predicted = truth + draw.normal(size=40)
    if tied:
        truth, predicted = np.round(truth), np.round(predicted)
        assert len(set(predicted)) < 12
    found, right = (
        METRICS[name](truth, predicted),
        BY_HAND[name](truth.tolist(), predicted.tolist()),
    )
    assert found == pytest.approx(right, abs=1e-12)
    single = METRICS[name](truth, predicted.astype(np.float32))
    assert single == pytest.approx(right, abs=1e-6)


@pytest.mark.parametrize("name", ["pearson", "spearman"])
@pytest.mark.parametrize("constant", [0.0, 2.5, 1e-9, 0.1])
def test_constant_scores_correlate_with_nothing(name, constant):
    varied, same = np.arange(5.0), np.full(5, constant)
    assert METRICS[name](varied, same) == 0
    assert METRICS[name](same, varied) == 0
    almost = same + np.arange(5) * 1e-16 * constant  # rounding is no information
    assert METRICS[name](varied, almost) == 0
    assert METRICS[name](varied, varied * 1e-20) == pytest.approx(1)  # small is not constant


@pytest.mark.parametrize("constant", [0, 1])
def test_constant_classes(constant):
    varied, same = np.array([0, 1, 1, 0, 1]), np.full(5, constant)
    assert matthews(varied, same) == matthews(same, varied) == matthews(same, same) == 0
    assert f1(varied, same) == (0 if constant == 0 else pytest.approx(2 * 3 / (3 + 5)))


def test_f1_without_any_of_class_1():
    none = np.zeros(4, np.int64)
    assert f1(none, none) == 0
    assert f1(none, np.array([0, 1, 0, 0])) == 0
    assert f1(np.array([0, 1, 0, 0]), none) == 0


def test_f1_is_of_the_paraphrases():
    truth, predicted = np.array([1, 1, 1, 0]), np.array([1, 1, 1, 1])
    assert f1(truth, predicted) == pytest.approx(6 / 7)
    assert f1(1 - truth, 1 - predicted) == 0


def test_pearson_is_not_of_ranks_and_spearman_is():
    x = np.arange(1.0, 9)
    assert spearman(x, x**3) == pytest.approx(1)
    assert pearson(x, x**3) < 0.96


def test_a_task_has_all_of_its_metrics():
    found = compute_metrics(find_task("mrpc"), np.array([1, 1, 0]), np.array([1, 0, 0]))
    assert found == {"f1": pytest.approx(2 / 3), "accuracy": pytest.approx(2 / 3)}
    found = compute_metrics(find_task("stsb"), np.array([1.0, 2.0]), np.array([0.0, 1.0]))
    assert found == {"pearson": pytest.approx(1), "spearman": pytest.approx(1)}


@pytest.mark.parametrize(
    ("task", "predicted", "message"),
    [
        ("rte", np.array([0, 2, 1]), "rte: prediction 1 is 2, classes are 0 to 1"),
        ("rte", np.array([0, -1, 1]), "rte: prediction 1 is -1"),
        ("rte", np.array([0.0, 1.0, 1.0]), "class numbers, got float64"),
        ("rte", np.array([0, 1]), "3 predictions expected"),
        ("stsb", np.array([0.0, np.nan, 1]), "prediction 1 is nan"),
    ],
)
def test_wrong_predictions(task, predicted, message):
    truth = np.array([0, 1, 1]) if task == "rte" else np.array([0.0, 1.0, 1.0])
    with pytest.raises(ValueError, match=message):
        compute_metrics(find_task(task), truth, predicted)
    with pytest.raises(ValueError, match="no examples"):
        compute_metrics(find_task(task), truth[:0], predicted[:0])


# the leaderboard's row of RoBERTa (arXiv:1907.11692, table 5; its second metrics from the server)
ROBERTA = {
    "cola": {"matthews": 67.8},
    "sst2": {"accuracy": 96.7},
    "mrpc": {"f1": 92.3, "accuracy": 89.8},
    "stsb": {"pearson": 92.2, "spearman": 91.9},
    "qqp": {"f1": 74.3, "accuracy": 90.2},
    "mnli-m": {"accuracy": 90.8},
    "mnli-mm": {"accuracy": 90.2},
    "qnli": {"accuracy": 98.9},
    "rte": {"accuracy": 88.2},
    "wnli": {"accuracy": 89.0},
}
# BERT-base in arXiv:1810.04805, table 1
BERT = {
    "mnli-m": {"accuracy": 84.6},
    "mnli-mm": {"accuracy": 83.4},
    "qqp": {"f1": 71.2},
    "qnli": {"accuracy": 90.5},
    "sst2": {"accuracy": 93.5},
    "cola": {"matthews": 52.1},
    "stsb": {"spearman": 85.8},
    "mrpc": {"f1": 88.9},
    "rte": {"accuracy": 66.4},
}
# RoBERTa-base on dev, from the authors' page
BASE = {
    "mnli-m": {"accuracy": 87.6},
    "qnli": {"accuracy": 92.8},
    "qqp": {"accuracy": 91.9},
    "rte": {"accuracy": 78.7},
    "sst2": {"accuracy": 94.8},
    "mrpc": {"accuracy": 90.2},
    "cola": {"matthews": 63.6},
    "stsb": {"pearson": 91.2},
}


def test_published_averages():
    assert round(compute_average(ROBERTA, NINE), 1) == 88.5
    assert round(compute_average(BERT, PAPER), 1) == 79.6
    assert compute_average(BASE, EIGHT) == pytest.approx(86.4, abs=0.051)  # the sum is 690.8: 86.35


def test_averages_that_lack_something_are_none():
    averages = {name: compute_average(BERT, name) for name in AVERAGES}
    assert averages == {NINE: None, PAPER: pytest.approx(79.6), EIGHT: None}
    assert list_missing_metrics(BERT, EIGHT) == ["qqp accuracy", "mrpc accuracy", "stsb pearson"]
    for name, scores in ((NINE, ROBERTA), (PAPER, BERT), (EIGHT, BASE)):
        for task in scores:
            assert compute_average({k: v for k, v in scores.items() if k != task}, name) is None
    with pytest.raises(ValueError, match="unknown average 'mean'"):
        compute_average(BERT, "mean")


def test_mnli_has_two_columns():
    mnli, rte = find_task("mnli"), find_task("rte")
    assert [column_name(mnli, split) for split in mnli.splits("dev")] == ["mnli-m", "mnli-mm"]
    assert column_name(rte, "dev") == "rte"
