"""Retrieval against the calculator of the paper's authors, pytorch-metric-learning."""

import numpy as np
import pytest
import torch

from selfwise.evaluation.probes.retrieval import MAP, PRECISION, measure_retrieval

peer = pytest.importorskip("pytorch_metric_learning.utils.accuracy_calculator")
THEIRS = {
    "precision_at_1": "recall@1",
    "mean_average_precision_at_r": MAP,
    "r_precision": PRECISION,
}


def nearest(query, k, reference, ref_includes_query):
    """Cosine neighbours without faiss, the query left out."""
    assert ref_includes_query
    unit = torch.nn.functional.normalize(query, dim=1)
    cosine = (unit @ unit.T).fill_diagonal_(-torch.inf)
    return cosine.topk(min(k, len(unit) - 1), dim=1)


@pytest.mark.parametrize(("n", "classes"), [(400, 5), (300, 120), (200, 2)])
def test_measures_are_those_of_pytorch_metric_learning(n, classes):
    random = np.random.default_rng(0)
    y = random.integers(0, classes, n)  # with 120, some have one example alone
    x = random.standard_normal((classes, 16))[y] + 1.5 * random.standard_normal((n, 16))
    calculator = peer.AccuracyCalculator(
        include=tuple(THEIRS), k="max_bin_count", knn_func=nearest, device=torch.device("cpu")
    )
    expected = calculator.get_accuracy(torch.from_numpy(x), torch.from_numpy(y))
    found = measure_retrieval(x, y)
    assert (found.left_out > 0) == (classes == 120)
    for theirs, ours in THEIRS.items():
        assert found.mean(ours) == pytest.approx(expected[theirs], abs=1e-12), theirs
    assert 0.1 < found.mean("recall@1") < 0.99
