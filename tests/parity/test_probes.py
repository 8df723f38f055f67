"""Probes against scikit-learn's and scipy's on the same features."""

import numpy as np
import pytest
from scipy.stats import bootstrap
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import normalize

from selfwise.evaluation.probes.knn import predict_knn
from selfwise.evaluation.probes.linear import fit_linear, fit_sgd
from selfwise.evaluation.scores.bootstrap import paired_bootstrap


def clouds(n: int, classes: int = 4, d: int = 12, spread: float = 1.5):
    """Overlapping classes, with scales and offsets that differ between the dimensions."""
    random = np.random.default_rng(7)
    means = random.standard_normal((classes, d))
    labels = random.integers(0, classes, n)
    x = means[labels] + spread * random.standard_normal((n, d))
    x = x * np.logspace(-1, 1, d) + np.linspace(-5, 5, d)
    return x.astype(np.float32), labels


@pytest.fixture(scope="module")
def data():
    x, y = clouds(2400)
    return x[:1200], y[:1200], x[1200:], y[1200:]


@pytest.mark.parametrize("penalty", [1.0, 0.01])
@pytest.mark.parametrize("classes", [2, 4])
def test_linear_is_logistic_regression_on_standardised_features(penalty, classes):
    x, y = clouds(1600, classes)
    train, labels, test = x[:800], y[:800], x[800:]
    fit = fit_linear(train, labels, test, penalties=[penalty])
    np.testing.assert_allclose(fit.C, 1 / (penalty * 800))
    mean, scale = train.astype(np.float64).mean(0), train.astype(np.float64).std(0)
    peer = LogisticRegression(C=fit.C, solver="newton-cg", tol=1e-8, max_iter=1000)
    peer.fit((train - mean) / scale, labels)
    assert (fit.predicted == peer.predict((test - mean) / scale)).mean() > 0.995


def test_linear_predicts_the_labels_it_was_given(data):
    train, labels, test, truth = data
    plain = fit_linear(train, labels, test).predicted
    np.testing.assert_array_equal(fit_linear(train, labels * 3 + 2, test).predicted, plain * 3 + 2)
    assert (plain == truth).mean() > 0.5


@pytest.mark.parametrize("k", [5, 200])
def test_knn_is_scikit_learns_with_the_same_weights(data, k):
    train, labels, test, _ = data
    peer = KNeighborsClassifier(
        k, weights=lambda distance: np.exp((1 - distance**2 / 2) / 0.1), algorithm="brute"
    )
    peer.fit(normalize(train.astype(np.float64)), labels)
    expected = peer.predict(normalize(test.astype(np.float64)))
    assert (predict_knn(train, labels, test, k=k) == expected).mean() > 0.998


def test_sgd_comes_to_unregularised_logistic_regression():
    x, y = clouds(2400)
    x = (x - x.mean(0)) / x.std(0)
    train, labels, test = x[:1200], y[:1200], x[1200:]
    predicted = fit_sgd(train, labels, test, batch=300)
    peer = LogisticRegression(C=1e6, max_iter=1000).fit(train, labels)
    assert (predicted == peer.predict(test)).mean() > 0.985


def test_paired_bootstrap_is_scipys():
    random = np.random.default_rng(0)
    a = random.random(1000) < 0.6
    b = np.where(random.random(1000) < 0.4, random.random(1000) < 0.5, a)
    peer = bootstrap(
        (a.astype(float), b.astype(float)),
        lambda a, b, axis: a.mean(axis) - b.mean(axis),
        paired=True,
        vectorized=True,
        method="percentile",
        rng=random,
        batch=1000,
    ).confidence_interval
    assert paired_bootstrap(a, b, seed=0) == pytest.approx((peer.low, peer.high), abs=0.0021)
