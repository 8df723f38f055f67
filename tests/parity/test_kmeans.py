"""K-means against scikit-learn, from the same start."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans, MiniBatchKMeans, kmeans_plusplus

from selfwise.core.rng import generator
from selfwise.targets.codebook import learn_codebook
from selfwise.targets.kmeans import (
    MiniBatchCentres,
    assign_clusters,
    centre_distances,
    init_plus_plus,
    run_lloyd,
    sum_clusters,
)
from selfwise.targets.kmeans_streaming import KMeansSettings

DOUBLE = torch.float64


def points(n: int, d: int = 6, *, seed: int = 0, blobs: int = 8, dtype=DOUBLE) -> torch.Tensor:
    """Overlapping clouds, far from zero, with scales that differ a hundredfold."""
    random = torch.Generator().manual_seed(seed)
    middles = torch.randn(blobs, d, generator=random, dtype=dtype) * 2
    which = torch.randint(blobs, (n,), generator=random)
    x = middles[which] + torch.randn(n, d, generator=random, dtype=dtype)
    return x * torch.logspace(-1, 1, d, dtype=dtype) + 5


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("k", [2, 13, 300])
def test_nearest(k, dtype):
    x, centres = points(2000, dtype=dtype), points(k, seed=1, dtype=dtype)
    expected = KMeans(k, init=centres.numpy(), n_init=1, max_iter=1).fit(centres.numpy())
    expected.cluster_centers_ = centres.numpy()
    assert np.array_equal(assign_clusters(x, centres).numpy(), expected.predict(x.numpy()))
    loops = torch.cdist(x.double(), centres.double(), compute_mode="donot_use_mm_for_euclid_dist")
    assert torch.equal(assign_clusters(x, centres), loops.argmin(dim=1))


def test_of_two_that_are_equally_near_the_first():
    assert assign_clusters(
        torch.tensor([[0.0]]), torch.tensor([[2.0], [1.0], [-1.0]])
    ).tolist() == [1]


@pytest.mark.parametrize("iterations", [1, 4, 100])
@pytest.mark.parametrize("k", [2, 8, 30])
def test_lloyd(k, iterations):
    x, centres = points(1500), points(1500, seed=0)[:k]
    ours = run_lloyd(x, centres, iterations)
    told = {"init": centres.numpy(), "n_init": 1, "max_iter": iterations, "algorithm": "lloyd"}
    theirs = KMeans(k, **told).fit(x.numpy())
    np.testing.assert_allclose(ours.centres, theirs.cluster_centers_, rtol=1e-9)
    assert np.array_equal(ours.ids, theirs.labels_)
    assert float(ours.inertia) == pytest.approx(theirs.inertia_, rel=1e-9)
    assert ours.iterations == theirs.n_iter_


def test_lloyd_stops_by_the_tolerance_where_scikit_learn_does():
    x, centres = points(1500), points(1500)[:12]
    for tolerance in (1e-2, 1e-3, 0.0):
        told = {"init": centres.numpy(), "n_init": 1, "tol": tolerance, "max_iter": 300}
        theirs = KMeans(12, algorithm="lloyd", **told).fit(x.numpy())
        assert run_lloyd(x, centres, 300, tolerance=tolerance).iterations == theirs.n_iter_


def test_an_empty_cluster_takes_the_farthest_point():
    x = points(500)
    centres = x[:6].clone()
    centres[3] = 1e4  # nobody is near
    ours = run_lloyd(x, centres, 1)
    theirs = KMeans(6, init=centres.numpy(), n_init=1, max_iter=1, algorithm="lloyd").fit(x.numpy())
    np.testing.assert_allclose(ours.centres, theirs.cluster_centers_, rtol=1e-9)
    assert torch.bincount(ours.ids, minlength=6).min() > 0


def test_two_empty_clusters_take_the_two_farthest_points():
    x = points(500)
    centres = x[:6].clone()
    centres[[1, 4]] = 1e4
    ours = run_lloyd(x, centres, 1).centres
    theirs = KMeans(6, init=centres.numpy(), n_init=1, max_iter=1, algorithm="lloyd").fit(x.numpy())
    # which of the two takes which is not settled there
    order = theirs.cluster_centers_
    np.testing.assert_allclose(np.sort(ours, axis=0), np.sort(order, axis=0), rtol=1e-9)


def test_more_clusters_than_different_points():
    x = points(3).repeat(5, 1)
    found = run_lloyd(x, torch.cat([x[:3], x[:3] + 1e3]), 5)
    assert bool(found.centres.isfinite().all())
    assert float(found.inertia) < 1e-12


@pytest.mark.parametrize(("dtype", "within"), [(torch.float32, 1e-5), (DOUBLE, 1e-10)])
def test_mini_batches(dtype, within):
    x = points(6000, 39, dtype=dtype)
    start = x[:20]
    told = {"init": start.numpy(), "n_init": 1, "reassignment_ratio": 0.0, "random_state": 0}
    theirs, ours = MiniBatchKMeans(20, **told), MiniBatchCentres(start)
    for batch in x.split(700):
        ours.step(batch)
        theirs.partial_fit(batch.numpy())
        scale = np.abs(theirs.cluster_centers_).max()
        assert np.abs(ours.centres.numpy() - theirs.cluster_centers_).max() <= within * scale
        assert np.array_equal(ours.counts, theirs._counts)


def test_a_centre_without_points_stays_and_is_not_counted():
    mini = MiniBatchCentres(torch.tensor([[0.0], [100.0]]))
    ids = mini.step(torch.tensor([[1.0], [3.0]]))
    assert ids.tolist() == [0, 0]
    assert mini.centres.tolist() == [[2.0], [100.0]]
    assert mini.counts.tolist() == [2, 0]


def test_totals_are_exact_sums():
    x, ids = points(999, dtype=torch.float32), torch.arange(999) % 7
    sums, counts = sum_clusters(x, ids, 9)
    for k in range(9):
        torch.testing.assert_close(sums[k], x[ids == k].double().sum(dim=0), rtol=1e-13, atol=0)
    assert counts.tolist() == [143] * 5 + [142] * 2 + [0, 0]


def test_plus_plus_starts_as_well_as_scikit_learn():
    """Mean inertia over 60 starts: a greedy choice of 2 + log k candidates, not of one."""
    x, k, ours, theirs, plain = points(800, blobs=20), 20, [], [], []
    for seed in range(60):
        centres = init_plus_plus(x, k, generator(seed))
        assert bool((x[:, None] == centres).all(dim=2).any(dim=0).all())
        assert len(centres.unique(dim=0)) == k
        ours.append(float(centre_distances(x, centres, assign_clusters(x, centres)).sum()))
        for found, trials in ((theirs, None), (plain, 1)):
            told = {"random_state": seed, "n_local_trials": trials}
            other = torch.from_numpy(kmeans_plusplus(x.numpy(), k, **told)[0])
            found.append(float(centre_distances(x, other, assign_clusters(x, other)).sum()))
    mean, expected, worse = (float(np.mean(found)) for found in (ours, theirs, plain))
    noise = float(np.std(theirs)) / 60**0.5
    assert abs(mean - expected) < 4 * noise
    assert mean < (expected + worse) / 2


def test_plus_plus_draws_by_squared_distance():
    """Two points near the first centre, one at 1 and one at 2: 1 to 4, with a single candidate."""
    x = torch.tensor([[0.0], [1.0], [-2.0]], dtype=DOUBLE)
    second = {}
    for seed in range(3000):
        first, next_ = init_plus_plus(x, 2, generator(seed))[:, 0].tolist()
        if first == 0:
            second[next_] = second.get(next_, 0) + 1
    # best of two candidates by what is left: -2 leaves 1, and 1 leaves 4
    share = second[-2.0] / sum(second.values())
    assert share == pytest.approx(1 - 0.2**2, abs=0.02)


def test_plus_plus_of_few_points_often_repeated():
    x = torch.zeros(50, 2)
    assert init_plus_plus(x, 5, generator(0)).shape == (5, 2)


def test_the_streaming_fit_is_as_good_as_scikit_learn():
    """HuBERT's settings of MiniBatchKMeans, on all data at once."""
    x = points(20_000, 12, blobs=40, dtype=torch.float32)
    parts = x.split(1100)
    found = learn_codebook(lambda j: parts[j], KMeansSettings(len(parts), 30, 0, sample=4000))
    told = {"n_init": 5, "batch_size": 2000, "reassignment_ratio": 0.0, "random_state": 0}
    theirs = MiniBatchKMeans(30, **told).fit(x.numpy())
    ours = float(centre_distances(x, found.centres, found(x)).double().sum())
    assert ours < -theirs.score(x.numpy()) * 1.005
