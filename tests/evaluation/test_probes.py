"""Probes, label draws, intervals and extraction against explicit loops in float64."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from selfwise.core.types import Features
from selfwise.data.image.dataset import ArrayImages
from selfwise.evaluation.features import image as features_of
from selfwise.evaluation.features.compute import ComputeOptions
from selfwise.evaluation.features.image import extract_features, extract_pixels
from selfwise.evaluation.probes.baselines import estimate_batch_norm, extract_untrained
from selfwise.evaluation.probes.knn import predict_knn
from selfwise.evaluation.probes.label_curve import draw_labels
from selfwise.evaluation.probes.linear import fit_linear, split_folds
from selfwise.evaluation.scores.bootstrap import paired_bootstrap, standard_error


class Net(nn.Module):
    """A convolution, a batch norm, dropout; the features are the mean over the positions."""

    def __init__(self, seed: int = 0, dim: int = 5):
        super().__init__()
        self.dim = dim
        self.conv = nn.Conv2d(3, dim, 3)
        self.norm = nn.BatchNorm2d(dim)
        self.drop = nn.Dropout(0.5)
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.conv.parameters():
            nn.init.normal_(parameter, generator=generator)

    def forward(self, x):
        return Features(self.drop(self.norm(self.conv(x)).relu()).mean(dim=(2, 3)))

    def hidden(self, x):
        return [Features(self.conv(x).mean(dim=(2, 3))), self(x)]


def images(n: int = 40, seed: int = 0) -> ArrayImages:
    x = np.random.default_rng(seed).integers(0, 256, (n, 3, 8, 8), dtype=np.uint8)
    return ArrayImages(x=x, ids=[str(i) for i in range(n)], channels=3, fingerprint=str(seed))


def float_views(data: ArrayImages) -> torch.Tensor:
    return torch.from_numpy(data.x).float() / 255


def clouds(n: int, *, d: int = 6, classes: int = 3, seed: int = 0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, n)
    means = random.standard_normal((classes, d))
    return (means[labels] + random.standard_normal((n, d))).astype(np.float32), labels


@pytest.mark.parametrize("k", [1, 7, 200])
def test_knn_is_the_weighted_vote_of_a_loop(k):
    train, labels = clouds(60)
    test, _ = clouds(50, seed=1)
    expected = []
    for x in test.astype(np.float64):
        cosines = [
            float(x @ t) / (np.linalg.norm(x) * np.linalg.norm(t)) for t in train.astype(np.float64)
        ]
        votes = [0.0, 0.0, 0.0]
        for near in sorted(range(60), key=lambda i: -cosines[i])[:k]:
            votes[labels[near]] += math.exp(cosines[near] / 0.1)
        expected.append(int(np.argmax(votes)))
    assert predict_knn(train, labels, test, k=k).tolist() == expected


def test_knn_weighs_its_votes():
    # two far neighbours of class 1 outvote a near one of class 0 only where all weigh the same
    train = np.array([[1.0, 0.0], [0.8, 0.6], [0.8, 0.6]], dtype=np.float32)
    labels, test = np.array([0, 1, 1]), np.array([[1.0, 0.0]], dtype=np.float32)
    assert predict_knn(train, labels, test, temperature=0.1)[0] == 0  # e^10 > 2 e^8
    assert predict_knn(train, labels, test, temperature=1.0)[0] == 1  # e^1 < 2 e^0.8


def test_knn_in_parts_is_knn(monkeypatch):
    train, labels = clouds(60)
    test, _ = clouds(50, seed=1)
    whole = predict_knn(train, labels, test, k=9)
    monkeypatch.setattr("selfwise.evaluation.probes.knn.MAX_SIMILARITIES", 60 * 7)
    np.testing.assert_array_equal(predict_knn(train, labels, test, k=9), whole)


def test_draws_are_balanced_nested_and_keyed():
    labels = np.random.default_rng(0).choice(4, 400, p=[0.1, 0.2, 0.3, 0.4])
    small, large = draw_labels(labels, 5, 3), draw_labels(labels, 20, 3)
    assert np.bincount(labels[small]).tolist() == [5] * 4
    assert np.bincount(labels[large]).tolist() == [20] * 4
    assert set(small) < set(large)
    assert len(np.unique(large)) == 80
    np.testing.assert_array_equal(small, np.sort(small))
    np.testing.assert_array_equal(small, draw_labels(labels, 5, 3))
    assert set(small) != set(draw_labels(labels, 5, 4))
    np.testing.assert_array_equal(draw_labels(labels, None, 3), np.arange(400))


def test_every_example_is_drawn_equally_often():
    labels = np.repeat([0, 1], [10, 20])
    drawn = np.zeros(30)
    for seed in range(2000):
        drawn[draw_labels(labels, 4, seed)] += 1
    rate = np.repeat([0.4, 0.2], [10, 20])
    assert (abs(drawn / 2000 - rate) < 4.5 * np.sqrt(rate * (1 - rate) / 2000)).all()


@pytest.mark.parametrize("gap", [0.0, 0.1])
def test_bootstrap_interval_is_the_normal_one(gap):
    random = np.random.default_rng(1)
    a = random.random(4000) < 0.7
    b = np.where(random.random(4000) < 0.3, random.random(4000) < 0.7 - gap, a)
    low, high = paired_bootstrap(a, b, seed=0, draws=40_000)
    difference = a.astype(float) - b.astype(float)
    half = 1.959964 * standard_error(difference)
    assert low == pytest.approx(difference.mean() - half, abs=0.03 * half)
    assert high == pytest.approx(difference.mean() + half, abs=0.03 * half)


def test_bootstrap_pairs_the_examples():
    random = np.random.default_rng(0)
    a = random.random(2000) < 0.6
    low, high = paired_bootstrap(a, a, seed=0)
    assert (low, high) == (0, 0)
    apart = paired_bootstrap(a, random.permutation(a), seed=0)
    assert apart[1] - apart[0] > 0.04


def test_bootstrap_of_averages_over_fits_in_parts(monkeypatch):
    random = np.random.default_rng(0)
    a, b = random.integers(0, 6, 500) / 5, random.integers(0, 4, 500) / 3
    whole = paired_bootstrap(a, b, seed=0, draws=20_000)
    difference = a - b
    picks = random.integers(0, 500, (20_000, 500))
    expected = np.quantile(difference[picks].mean(axis=1), [0.025, 0.975])
    assert whole == pytest.approx(expected, abs=0.002)
    monkeypatch.setattr("selfwise.evaluation.scores.bootstrap.MAX_COUNTS", 1000)
    assert paired_bootstrap(a, b, seed=0, draws=20_000) == pytest.approx(whole, abs=1e-12)


def test_batch_norm_statistics_are_those_of_the_activations():
    net, data = Net(), images(40)
    estimate_batch_norm(net, data, size=8, batch=40)
    with torch.no_grad():
        activations = net.conv(float_views(data)).double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(
        net.norm.running_mean.double(), activations.mean(1), rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(
        net.norm.running_var.double(), activations.var(1), rtol=1e-5, atol=1e-6
    )


def test_batch_norm_statistics_average_over_drawn_batches():
    # classes in order, as folders are read: unshuffled batches would miss the spread between them
    data = images(400)
    data.x = (data.x // 4 + np.repeat([0, 180], 200)[:, None, None, None]).astype(np.uint8)
    net = Net()
    estimate_batch_norm(net, data, size=8, batch=100)
    with torch.no_grad():
        activations = net.conv(float_views(data)).double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(
        net.norm.running_mean.double(), activations.mean(1), rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(net.norm.running_var.double(), activations.var(1), rtol=0.03, atol=0)
    assert net.norm.momentum == 0.1
    assert net.norm.num_batches_tracked == 4


def test_batch_norm_estimation_draws_no_more_than_it_may():
    net = Net()
    estimate_batch_norm(net, images(100), size=8, batch=10, examples=35)
    assert net.norm.num_batches_tracked == 3


@pytest.mark.parametrize("workers", [0, 1])
def test_extraction_changes_nothing(workers):
    net, other, data = Net(), Net(), images(40)
    net.train()
    net.norm.eval()  # a mixture of modes has to come back as it was
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()
    extract_features(net, data, size=8, batch=16, workers=workers)
    estimate_batch_norm(other, data, size=8, batch=16)
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(numbers, np.random.get_state()[1])
    assert torch.is_grad_enabled()
    assert (net.training, net.drop.training, net.norm.training) == (True, True, False)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_features_are_the_encoders_row_by_row():
    net, data = Net(), images(23)
    features = extract_features(net, data, size=8, batch=10)
    net.eval()
    with torch.no_grad():
        rows = [net(float_views(data)[i : i + 1]).pooled for i in range(23)]
        first = net.hidden(float_views(data))[0].pooled
    np.testing.assert_allclose(features, torch.cat(rows).numpy(), atol=1e-5)
    assert features.dtype == np.float32
    np.testing.assert_allclose(
        extract_features(net, data, size=8, layer=0), first.numpy(), atol=1e-5
    )
    np.testing.assert_allclose(
        extract_features(net, data, size=8, layer=-2), first.numpy(), atol=1e-5
    )
    half = extract_features(net, data, size=8, compute=ComputeOptions(precision="bf16"))
    assert 0 < abs(half - features).max() < 0.05 * abs(features).max()


def test_a_cpu_reads_pieces_with_channels_last(monkeypatch):
    monkeypatch.setattr(features_of, "MIN_CHUNK_ROWS", 4)
    monkeypatch.setattr(features_of, "CHUNK_NUMBERS", 5 * 3 * 8 * 8)
    net, data, seen = Net(), images(23), []
    whole = net.eval()(float_views(data)).pooled.detach()
    order = torch.channels_last
    net.register_forward_pre_hook(
        lambda _, told: seen.append((len(told[0]), told[0].is_contiguous(memory_format=order)))
    )
    found = extract_features(net, data, size=8, batch=12)
    np.testing.assert_allclose(found, whole.numpy(), atol=1e-5)
    assert seen == [(5, True), (5, True), (2, True), (5, True), (5, True), (1, True)]
    seen.clear()
    extract_features(net, data, size=8, compute=ComputeOptions(precision="bf16"))
    assert seen[0] == (5, False)


def test_large_images_are_read_in_smaller_groups(monkeypatch):
    seen = []
    read = ArrayImages.read
    monkeypatch.setattr(
        ArrayImages, "read", lambda own, rows: seen.append(len(rows)) or read(own, rows)
    )
    for size, groups in ((8, [70]), (72, [64, 6])):
        seen.clear()
        assert len(extract_features(Net(), images(70), size=size)) == 70
        assert seen == groups


def test_pixels_are_the_image():
    data = images(7)
    expected = data.x.reshape(7, -1) / 255
    np.testing.assert_allclose(extract_pixels(data, size=8, batch=4), expected, atol=1e-6)
    assert extract_pixels(data, size=224).shape == (7, 3 * 32 * 32)


@pytest.mark.parametrize(("size", "seen"), [(64, 80), (72, 70)])
def test_large_images_are_read_in_their_middle(size, seen):
    # 0.875 of 80 px: a white frame of 5 px is not seen, the pixel inside of it is
    x = np.zeros((1, 3, 80, 80), dtype=np.uint8)
    edge = (80 - seen) // 2
    x[:, :, :edge] = x[:, :, 80 - edge :] = 255 * (edge > 0)
    x[:, :, :, :edge] = x[:, :, :, 80 - edge :] = 255 * (edge > 0)
    data = ArrayImages(x=x, ids=["0"], channels=3, fingerprint="")
    assert extract_pixels(data, size=size).max() == 0
    x[:, :, edge, edge] = 255
    assert extract_pixels(data, size=size).max() > 0.1


def test_untrained_encoders_differ_and_have_statistics():
    data = images(40)
    splits = extract_untrained(
        Net,
        data,
        data.take(np.arange(9)),
        size=8,
        embed=lambda e, i: extract_features(e, i, size=8),
    )
    assert [s.train.shape for s in splits] == [(40, 5)] * 3
    assert [s.test.shape for s in splits] == [(9, 5)] * 3
    assert abs(splits[0].train - splits[1].train).max() > 0.1
    seen = [
        extract_untrained(
            Net, data, data, size=8, embed=lambda e, i: extract_features(e, i, size=8), seeds=[s]
        )
        for s in (0, 1)
    ]
    for (alone,), among in zip(seen, splits):
        np.testing.assert_array_equal(alone.train, among.train)
    plain = extract_features(Net(0), data, size=8)
    assert abs(splits[0].train - plain).max() > 0.1


def test_a_fifth_of_each_class_is_held_out():
    labels = np.random.default_rng(0).choice(4, 5000, p=[0.1, 0.2, 0.3, 0.4])
    (rows,) = split_folds(labels, seed=0)
    counts = np.bincount(labels)
    assert (abs(np.bincount(labels[rows]) - counts / 5) <= 1).all()
    assert len(np.unique(rows)) == len(rows) == 1000
    np.testing.assert_array_equal(rows, split_folds(labels, seed=0)[0])
    assert set(rows) != set(split_folds(labels, seed=1)[0])


@pytest.mark.parametrize(("each", "folds"), [(2, 2), (3, 3), (5, 5), (40, 5)])
def test_few_labels_are_held_out_in_turn(each, folds):
    labels = np.tile([0, 1, 2], each)
    parts = split_folds(labels, seed=0)
    assert len(parts) == folds
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(3 * each))
    for part in parts:
        assert abs(np.bincount(labels[part], minlength=3) - each / folds).max() < 1


def test_a_classes_only_example_is_not_held_out():
    labels = np.array([0] * 9 + [1] + [2] * 9)
    assert 9 not in np.concatenate(split_folds(labels, seed=0))
    assert split_folds(np.arange(6), seed=0) == []


def test_the_penalty_is_chosen_on_held_out_labels():
    # six dimensions with classes in them and forty without: to fit them closely is to fit noise
    train, labels = clouds(100, seed=2)
    noise = np.random.default_rng(0).standard_normal((100, 40)).astype(np.float32)
    train = np.concatenate([train, noise], axis=1)
    fit = fit_linear(train, labels, train)
    best = max(accuracy for _, accuracy in fit.searched)
    first = next(C for C, accuracy in fit.searched if accuracy == best)
    np.testing.assert_allclose(fit.C, first)
    np.testing.assert_allclose([1 / (C * 100) for C, _ in fit.searched[:3]], [10, 1, 0.1])
    assert fit.searched[-1][1] < best
    fits = [
        fit_linear(train, labels, train, penalties=[p]).predicted for p in (1 / (100 * fit.C), 1e-6)
    ]
    np.testing.assert_array_equal(fit.predicted, fits[0])
    assert not np.array_equal(fit.predicted, fits[1])


def test_the_search_stops_after_two_falls(monkeypatch):
    scores = iter([0.3, 0.6, 0.5, 0.7, 0.7, 0.6, 0.5, 0.9])
    monkeypatch.setattr(
        "selfwise.evaluation.probes.linear._Fold.count_correct", lambda self, C: next(scores) * 500
    )
    train, labels = clouds(2500)
    fit = fit_linear(train, labels, train, penalties=[10.0**-i for i in range(8)])
    assert len(fit.searched) == 7
    # the first 0.7, not its equal after it
    np.testing.assert_allclose(fit.C, 1 / (1e-3 * 2500))
