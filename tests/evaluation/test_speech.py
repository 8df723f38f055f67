"""Features of whole recordings, layers weighted, groups left out, units beside labels."""

import json
import math
import os
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn

from selfwise.core.types import HOP, WINDOW, AudioBatch, Features, count_frames
from selfwise.data.audio.open import Recordings, open_recordings
from selfwise.evaluation.features.audio import (
    compute_mfcc_statistics,
    extract_features,
    extract_layers,
)
from selfwise.evaluation.features.compute import ComputeOptions
from selfwise.evaluation.features.image import load_or_compute
from selfwise.evaluation.probes.baselines import FeatureSplit
from selfwise.evaluation.probes.label_curve import draw_labels, probe_features
from selfwise.evaluation.probes.layer_mix import fit_layer_mix
from selfwise.evaluation.probes.leave_one_group_out import (
    choose_candidate,
    leave_one_group_out,
    probe_few_labels,
)
from selfwise.evaluation.probes.linear import fit_linear, split_group_folds
from selfwise.evaluation.scores.unit_agreement import (
    compute_pnmi,
    count_unit_pairs,
    flatten_units,
    measure_agreement,
)
from selfwise.targets.mfcc import compute_mfcc

SECONDS = (0.3, 1.7, 0.025, 0.9, 0.31, 1.1, 0.04)


class Windows(nn.Module):
    """Three layers of frames that see their own 400 samples and nothing else."""

    dim = 6

    def __init__(self):
        super().__init__()
        draw = torch.Generator().manual_seed(3)
        self.stem = nn.Parameter(torch.randn(WINDOW, self.dim, generator=draw) / 5)
        self.quiet = nn.Dropout(0.5)
        self.seen: list[tuple[int, int, int]] = []  # rows, samples, real samples of each batch

    def hidden(self, batch: AudioBatch) -> list[Features]:
        assert batch.extent is not None
        self.seen.append((*batch.x.shape, int(batch.extent.sum())))
        one = self.quiet(batch.x.unfold(1, WINDOW, HOP) @ self.stem)
        # what is beyond a row's end is anything
        beyond = torch.arange(one.shape[1]) * HOP + WINDOW > batch.extent[:, None]
        one = one.masked_fill(beyond[..., None], torch.nan)
        return [Features(tokens.mean(dim=1), tokens) for tokens in (one, one.tanh(), 3 * one**2)]

    def layers(self, batch: AudioBatch) -> list[torch.Tensor]:
        found = self.hidden(batch)
        return [-found[0].tokens, *(one.tokens for one in found)]

    def forward(self, batch: AudioBatch) -> Features:
        return self.hidden(batch)[-1]


def sounds(seconds=SECONDS, seed: int = 0) -> Recordings:
    random = np.random.default_rng(seed)
    waves = [0.3 * random.standard_normal(int(16_000 * s)).astype("f4") for s in seconds]
    return open_recordings(waves)


@pytest.fixture(scope="module")
def recordings() -> Recordings:
    return sounds()


def alone(encoder: Windows, recordings: Recordings) -> list[np.ndarray]:
    """(L, t, d) of each recording, read by itself."""
    with torch.no_grad():
        found = []
        for i in range(len(recordings)):
            x = torch.from_numpy(recordings.read(i))[None]
            batch = AudioBatch(x, torch.tensor([i]), torch.tensor([x.shape[1]]))
            found.append(torch.cat([one.tokens for one in encoder.hidden(batch)]).numpy())
    return found


# features of recordings


@pytest.mark.parametrize("seconds", [30.0, 0.5, 0.2])
def test_features_are_means_over_the_frames_of_the_whole_recording(recordings, seconds):
    encoder = Windows().eval()
    whole = alone(encoder, recordings)
    assert [one.shape[1] for one in whole] == [count_frames(int(16_000 * s)) for s in SECONDS]
    told = {"pooling": "mean+deviation", "seconds": seconds, "budget": 2.0}
    found = extract_layers(encoder, recordings, **told)
    assert found.dtype == np.float32
    assert found.shape == (len(SECONDS), 3, 12)
    mean = np.stack([one.mean(axis=1) for one in whole])
    deviation = np.stack([one.std(axis=1) for one in whole])
    np.testing.assert_allclose(found, np.concatenate([mean, deviation], axis=2), atol=2e-5)
    np.testing.assert_allclose(
        extract_layers(encoder, recordings, seconds=seconds), mean, atol=1e-5
    )


def test_layers_are_what_extract_gives_one_by_one(recordings):
    encoder = Windows()
    every = extract_layers(encoder, recordings, budget=2.0)
    passes, encoder.seen = encoder.seen, []
    for k in (0, 1, 2, -1):
        one = extract_features(encoder, recordings, layer=k, budget=2.0)
        np.testing.assert_array_equal(one, every[:, k])
        assert encoder.seen == passes  # all layers cost what one does
        encoder.seen = []
    np.testing.assert_array_equal(extract_features(encoder, recordings, budget=2.0), every[:, 2])
    stem = extract_layers(encoder, recordings, stem=True, budget=2.0)
    np.testing.assert_array_equal(stem[:, 1:], every)
    np.testing.assert_allclose(stem[:, 0], -every[:, 0], atol=1e-6)


def test_little_is_padding():
    encoder = Windows()
    many = sounds(np.random.default_rng(1).permutation(np.linspace(0.1, 2, 60)))
    told = []
    extract_features(
        encoder, many, budget=4.0, progress=lambda done, total: told.append((done, total))
    )
    rows, width, real = np.array(encoder.seen).T
    assert real.sum() > 0.9 * (rows * width).sum()
    assert (rows * width <= 4 * 16_000).all()
    assert told == [(k + 1, len(rows)) for k in range(len(rows))]


def test_the_encoder_is_left_as_it_was(recordings):
    encoder = Windows().train()
    encoder.quiet.eval()
    first = extract_features(encoder, recordings)
    assert encoder.training
    assert not encoder.quiet.training
    assert encoder.stem.grad is None
    encoder.quiet.train()  # in eval mode there is no dropout, and nothing is drawn
    state = torch.random.get_rng_state()
    np.testing.assert_array_equal(first, extract_features(encoder, recordings))
    assert torch.equal(state, torch.random.get_rng_state())


def test_bf16_gives_float32_that_is_near(recordings):
    full, half = (
        extract_features(Windows(), recordings, compute=ComputeOptions(precision=p))
        for p in ("float32", "bf16")
    )
    assert half.dtype == np.float32
    assert not np.array_equal(full, half)
    np.testing.assert_allclose(half, full, atol=0.05 * np.abs(full).max())


def test_layers_can_be_filed(recordings, tmp_path):
    encoder, calls = Windows(), []

    def compute():
        calls.append(1)
        return extract_layers(encoder, recordings)

    first, second = (load_or_compute(tmp_path, ["a", None, 3], compute) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"layer": 3}, "layer 3 does not exist: the encoder has layers 0 to 2"),
        ({"layer": -4}, "layer -4 does not exist"),
        ({"pooling": "men"}, "unknown pooling 'men'; did you mean 'mean'"),
        ({"compute": ComputeOptions(precision="bf61")}, "unknown precision 'bf61'"),
    ],
)
def test_what_is_not_there_is_named(recordings, options, text):
    with pytest.raises(ValueError, match=text):
        extract_features(Windows(), recordings, **options)


def test_no_recordings_are_named(recordings):
    none = recordings.take(np.arange(0))
    for compute in (
        lambda: extract_features(Windows(), none),
        lambda: compute_mfcc_statistics(none),
    ):
        with pytest.raises(ValueError, match="there are no recordings"):
            compute()


def test_mfcc_statistics_are_those_of_each_recording_alone(recordings):
    found = compute_mfcc_statistics(recordings)
    assert found.shape == (len(SECONDS), 78)
    for i, row in enumerate(found):
        one = compute_mfcc(torch.from_numpy(recordings.read(i))[None])[0].numpy()
        assert len(one) == 1 + (int(16_000 * SECONDS[i]) - 400) // 160
        expected = np.concatenate([one.mean(axis=0), one.std(axis=0)])
        np.testing.assert_allclose(row, expected, atol=2e-3)


# groups in the linear probe


def voices(n: int = 120, groups: int = 6, shift: float = 2.0, seed: int = 0):
    """Four classes in 8 numbers; every group has its own offset and its own labels' shortcut."""
    random = np.random.default_rng(seed)
    y, g = np.arange(n) % 4, (np.arange(n) // 4) % groups
    x = np.eye(4, 8)[y] * 2 + shift * random.standard_normal((groups, 8))[g]
    return (x + random.standard_normal((n, 8))).astype("f4"), y, g


def test_groups_are_held_out_whole():
    _, y, g = voices()
    parts = split_group_folds(y, g)
    assert [set(g[part]) for part in parts] == [{k} for k in range(6)]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(y)))


def test_many_groups_are_dealt_to_five_folds_of_one_size():
    random = np.random.default_rng(0)
    g = np.repeat(np.arange(100, 140), random.integers(1, 30, 40))
    y = np.arange(len(g)) % 3
    parts = split_group_folds(y, g)
    assert len(parts) == 5
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(g)))
    of = [set(g[part]) for part in parts]
    assert sum(len(names) for names in of) == 40  # no group is in two
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 3
    many = split_group_folds(np.tile(y, 6), np.tile(g, 6))
    assert len(many) == 1 and len(y) * 6 > 2000  # noqa: PT018
    few = np.arange(2400) % 10
    assert len(split_group_folds(few % 3, few)) == 10  # one of ten speakers would be too few


def test_a_fold_whose_rest_is_one_class_is_left_out():
    y, g = np.array([0, 0, 1, 1, 0, 0]), np.array([0, 0, 1, 1, 2, 2])
    assert [g[part][0] for part in split_group_folds(y, g)] == [0, 2]
    # two groups of one class each: nothing can be held out, and the strongest penalty is taken
    fit = fit_linear(np.eye(4, 3, dtype="f4"), y[:4], np.eye(3, dtype="f4"), groups=g[:4])
    assert fit.searched == ()
    assert fit.cross_validated is None
    np.testing.assert_allclose(fit.C, 1 / (10 * 4))
    with pytest.raises(
        ValueError, match="folds by group need two groups, but all 4 examples are of"
    ):
        fit_linear(np.eye(4, 3, dtype="f4"), y[:4], np.eye(3, dtype="f4"), groups=np.ones(4, "i8"))


def test_the_penalty_is_chosen_on_other_groups():
    x, y, g = voices()
    fit = fit_linear(x, y, x[:5], groups=g)
    for C, accuracy in fit.searched:
        right = 0
        for group in range(6):
            kept = g != group
            scale = StandardScaler().fit(x[kept])
            model = LogisticRegression(C=C, tol=1e-6, max_iter=5000)
            model.fit(scale.transform(x[kept]), y[kept])
            right += (model.predict(scale.transform(x[~kept])) == y[~kept]).sum()
        assert accuracy == pytest.approx(right / len(y), abs=0.01)
    assert fit.cross_validated == max(accuracy for _, accuracy in fit.searched)
    mixed = fit_linear(x, y, x[:5])
    assert mixed.cross_validated is not None
    assert mixed.cross_validated > fit.cross_validated + 0.05  # of known groups it is easier


# the weighted sum of layers


def stack(signals=(0.0, 2.0, 0.5), n: int = 200, seed: int = 0):
    random = np.random.default_rng(seed)
    y = np.arange(n) % 3
    parts = [s * np.eye(3, 5)[y] + random.standard_normal((n, 5)) for s in signals]
    return np.stack(parts, axis=1).astype("f4"), y


def test_one_layer_is_the_linear_probe():
    x, y, g = voices()
    test = voices(seed=1)[0]
    for groups in (None, g):
        plain, one = (probe(x, y, test, groups=groups) for probe in (fit_linear, fit_layer_mix))
        assert one.C == plain.C
        assert [C for C, _ in one.searched] == [C for C, _ in plain.searched]
        np.testing.assert_allclose(
            [a for _, a in one.searched], [a for _, a in plain.searched], atol=0.01
        )
        assert (one.predicted == plain.predicted).mean() > 0.99
        np.testing.assert_array_equal(one.weights, [1.0])
    same = fit_layer_mix(x[:, None], y, test[:, None])
    np.testing.assert_array_equal(same.predicted, fit_layer_mix(x, y, test).predicted)


def test_the_weights_find_the_layer_that_knows():
    (x, y), (test, truth) = stack(), stack(seed=1)
    fit = fit_layer_mix(x, y, test)
    assert fit.weights.shape == (3,)
    assert fit.weights.sum() == pytest.approx(1)
    assert fit.weights.argmax() == 1
    assert fit.weights[1] > 0.6
    plain = fit_linear(x.mean(axis=1), y, test.mean(axis=1))
    assert (fit.predicted == truth).mean() > (plain.predicted == truth).mean() + 0.05
    assert fit.cross_validated == max(a for _, a in fit.searched)


def test_the_weights_minimise_what_is_said():
    (x, y), test = stack(n=90), stack(n=600, seed=1)[0]
    kept = np.flatnonzero((y > 0) | (np.arange(90) % 6 == 0))[:60]  # biases are not zero
    x, y = x[kept], y[kept]
    fit = fit_layer_mix(x, y, test, penalties=[0.1])
    flat, middle = x.reshape(60, -1).astype(np.float64), x.reshape(60, -1).mean(axis=0)
    z, asked = (
        ((part.reshape(len(part), -1) - middle) / flat.std(axis=0)).reshape(-1, 3, 5)
        for part in (x, test)
    )

    def said(p, z):
        s = np.exp(p[:3]) / np.exp(p[:3]).sum()
        return np.einsum("l,nld->nd", s, z) @ p[3:18].reshape(5, 3) + p[18:]

    def objective(p):
        logits = said(p, z)
        cross = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(60), y]
        return cross.mean() + 0.1 / 2 * (p[:18] ** 2).sum()

    best = minimize(objective, np.zeros(21), method="BFGS", options={"gtol": 1e-7}).x
    np.testing.assert_allclose(fit.weights, np.exp(best[:3]) / np.exp(best[:3]).sum(), atol=2e-3)
    assert (fit.predicted == said(best, asked).argmax(axis=1)).mean() > 0.995


def test_the_scale_of_a_layer_and_chance_do_not_matter():
    x, y = stack()
    torch.manual_seed(1)
    first = fit_layer_mix(x, y, x)
    large = x * np.array([1, 1000, 1e-3], "f4")[:, None] + np.array([0, 5, 0], "f4")[:, None]
    torch.manual_seed(2)
    again, other = fit_layer_mix(x, y, x), fit_layer_mix(large, y, large)
    np.testing.assert_array_equal(first.weights, again.weights)
    np.testing.assert_array_equal(first.predicted, again.predicted)
    np.testing.assert_allclose(first.weights, other.weights, atol=1e-3)


def test_labels_need_not_count_from_zero():
    x, y = stack()
    names = np.array([2, 7, 40])
    np.testing.assert_array_equal(
        fit_layer_mix(x, names[y], x).predicted, names[fit_layer_mix(x, y, x).predicted]
    )


def test_a_curve_takes_layers():
    (x, y), (test, truth) = stack(), stack(seed=1)
    competitor = probe_features(
        [FeatureSplit(x, test)], y, lambda *args: fit_layer_mix(*args[:3], seed=args[3]).predicted
    )
    rows = draw_labels(y, 20, 0)
    assert (competitor(rows, 0)[0] == truth).mean() > 0.5


def test_a_weighted_probe_needs_what_a_linear_one_does():
    x, y = stack(n=9)
    with pytest.raises(ValueError, match="all 9 labels are equal"):
        fit_layer_mix(x, np.zeros(9, "i8"), x)
    x[0, 1, 2] = np.nan
    with pytest.raises(ValueError, match="training features have values that are not finite"):
        fit_layer_mix(x, y, x[1:])


# groups left out


def test_every_example_is_predicted_by_a_probe_of_the_other_groups():
    x, y, g = voices()
    found = leave_one_group_out({"x": x}, y, g, names=list("abcdef"))
    for group, name in enumerate("abcdef"):
        known, asked = g != group, g == group
        fit = fit_linear(x[known], y[known], x[asked], groups=g[known])
        np.testing.assert_array_equal(found.predicted[asked], fit.predicted)
        assert found.names[group] == name
        assert found.accuracies[group] == pytest.approx((fit.predicted == y[asked]).mean())
        assert found.choices[group].cross_validated == {"x": fit.cross_validated}
    np.testing.assert_array_equal(found.correct, found.predicted == y)
    assert found.mean == pytest.approx(found.correct.mean())  # groups of one size
    assert found.each == {"x": pytest.approx(found.mean)}
    assert found.chosen == ("x",) * 6
    json.dumps([found.accuracies, found.chosen, found.each])


def leaking(y, g, group, seed=0):
    """Features that give the labels of one group away and are noise elsewhere."""
    noise = np.random.default_rng(seed).standard_normal((len(y), 4))
    return np.where((g == group)[:, None], 8 * np.eye(4)[y], noise).astype("f4")


@pytest.mark.run
def test_labels_of_the_group_that_is_left_out_choose_nothing():
    (x, y, g), group = voices(groups=4), 2
    leak = leaking(y, g, group)
    candidates = {"leak": leak, "x": x, "both": stacked(leak, x)}
    found = leave_one_group_out(candidates, y, g)
    wrong = y.copy()
    wrong[g == group] = np.random.default_rng(5).permutation(y[g == group])
    other = leave_one_group_out(candidates, wrong, g)
    choice, same = found.choices[group], other.choices[group]
    assert choice.candidate == same.candidate == "x"
    assert choice.cross_validated == same.cross_validated
    for name in candidates:
        np.testing.assert_array_equal(choice.predicted[name], same.predicted[name])
    assert found.accuracies[group] != other.accuracies[group]


def stacked(a, b):
    """Two layers of one width."""
    width = max(a.shape[1], b.shape[1])
    return np.stack([np.pad(p, ((0, 0), (0, width - p.shape[1]))) for p in (a, b)], axis=1)


def test_candidates_are_chosen_on_groups_that_were_not_learned_from():
    x, y, g = voices(shift=0.3)
    # 24 codes: a pair of group and label; it says all about known groups, and nothing of others
    pair = (np.eye(24)[np.random.default_rng(0).permutation(24)[4 * g + y]]).astype("f4")
    assert fit_linear(pair, y, pair).cross_validated == 1.0
    found = leave_one_group_out({"pair": pair, "x": x}, y, g)
    assert found.chosen == ("x",) * 6
    assert found.mean > 0.5 > found.each["pair"]


@pytest.mark.run
def test_of_equal_candidates_the_first_is_taken():
    x, y, g = voices()
    for names in (("a", "b"), ("b", "a")):
        assert leave_one_group_out(dict.fromkeys(names, x), y, g).chosen == (names[0],) * 6


def test_groups_that_cannot_be_left_out_are_named():
    x, y, g = voices(groups=2)
    with pytest.raises(ValueError, match=r"needs three groups.*there are 2$"):
        leave_one_group_out({"x": x}, y, g)
    with pytest.raises(ValueError, match=r"there is 1$"):
        leave_one_group_out({"x": x}, y, 0 * g)
    with pytest.raises(ValueError, match="no features to choose among"):
        choose_candidate({}, y, np.arange(9), np.arange(9, 12))


def test_few_labels_are_those_of_a_curve():
    x, y, _ = voices(shift=0.0)
    train, test = np.arange(24, 120), np.arange(24)
    found = probe_few_labels({"x": x}, y, train, test, per_class=6, seeds=[3, 4])
    for i, seed in enumerate((3, 4)):
        rows = train[draw_labels(y[train], 6, seed)]
        fit = fit_linear(x[rows], y[rows], x[test], seed=seed)
        np.testing.assert_array_equal(found.correct[i], fit.predicted == y[test])
        assert found.choices[i].cross_validated == {"x": fit.cross_validated}
    assert found.mean == pytest.approx(np.mean(found.accuracies))
    assert found.each == {"x": pytest.approx(found.mean)}
    every = probe_few_labels({"x": x}, y, train, test, per_class=None, seeds=[0])
    fit = fit_linear(x[train], y[train], x[test])
    np.testing.assert_array_equal(every.correct[0], fit.predicted == y[test])


def test_few_labels_choose_without_labels_of_the_test():
    x, y, g = voices(shift=0.0)
    train, test = np.flatnonzero(g > 0), np.flatnonzero(g == 0)
    candidates = {"leak": leaking(y, g, 0), "x": x}
    wrong = y.copy()
    wrong[test] = (y[test] + 1) % 4
    for groups in (None, g):
        told = {"per_class": 8, "seeds": [0, 1], "groups": groups}
        found, other = (probe_few_labels(candidates, z, train, test, **told) for z in (y, wrong))
        assert found.chosen == other.chosen == ("x", "x")
        assert [c.cross_validated for c in found.choices] == [
            c.cross_validated for c in other.choices
        ]
        assert found.mean > 0.6
        assert other.mean < 0.3
    with pytest.raises(ValueError, match="in both the training and the test part"):
        probe_few_labels(candidates, y, np.arange(20), np.arange(19, 30), per_class=1, seeds=[0])
    with pytest.raises(ValueError, match="at least one seed"):
        probe_few_labels(candidates, y, train, test, per_class=1, seeds=[])


# units beside labels


def slow(units, labels):
    """PNMI and purities by the sums of the paper, over dictionaries."""
    n, pairs = len(units), Counter(zip(units, labels))
    of_unit, of_label = Counter(units), Counter(labels)
    shared = sum(
        c / n * math.log(c * n / (of_unit[u] * of_label[label])) for (u, label), c in pairs.items()
    )
    whole = -sum(c / n * math.log(c / n) for c in of_label.values())
    label_purity = sum(
        of_unit[u] / n * max(pairs[u, label] / of_unit[u] for label in of_label) for u in of_unit
    )
    unit_purity = sum(
        of_label[k] / n * max(pairs[u, k] / of_label[k] for u in of_unit) for k in of_label
    )
    return shared / whole, label_purity, unit_purity


@pytest.mark.parametrize("seed", range(5))
def test_agreement_is_that_of_the_sums(seed):
    random = np.random.default_rng(seed)
    labels = random.integers(3, 7, 60)
    units = np.where(random.random(60) < 0.5, 2 * labels, random.integers(0, 20, 60))
    found = measure_agreement(units.astype("u2"), labels)
    assert found[:3] == pytest.approx(slow(units.tolist(), labels.tolist()))
    assert found.frames == 60
    assert (found.units, found.labels) == (len(set(units)), len(set(labels)))
    assert found.pnmi == compute_pnmi(units, labels)
    counts = count_unit_pairs(units, labels)
    for i, u in enumerate(sorted(set(units))):
        for j, label in enumerate(sorted(set(labels))):
            assert counts[i, j] == ((units == u) & (labels == label)).sum()


def test_agreement_at_its_ends():
    labels = np.repeat([4, 9, 2], [10, 20, 30])
    assert measure_agreement(labels * 7, labels)[:3] == pytest.approx((1, 1, 1))
    fine = np.arange(60)  # a unit for each frame says all, and is no use
    assert measure_agreement(fine, labels)[:3] == pytest.approx((1, 1, 3 / 60))
    nothing = np.tile([0, 1], 30)
    assert measure_agreement(nothing, labels)[:3] == pytest.approx((0, 0.5, 0.5))


def test_frames_that_are_none_are_left_out():
    units, labels = np.array([0, 1, -1, 0, -1, 1]), np.array([5, 6, 6, 5, 5, 6])
    assert measure_agreement(units, labels) == measure_agreement(
        units[units >= 0], labels[units >= 0]
    )
    with pytest.raises(ValueError, match="there are none"):
        measure_agreement(np.full(3, -1), np.arange(3))
    with pytest.raises(ValueError, match="all 2 frames have one label"):
        measure_agreement(np.array([1, -1, 2]), np.array([3, 4, 3]))


def test_labels_of_recordings_are_spread_over_their_frames():
    units, labels = flatten_units(
        [np.array([3, 1], "u2"), np.empty(0, "u2"), np.array([2])], np.array([8, 9, 7])
    )
    np.testing.assert_array_equal(units, [3, 1, 2])
    np.testing.assert_array_equal(labels, [8, 8, 7])
    with pytest.raises(ValueError, match="1 recordings have units, but 2 have labels"):
        flatten_units([np.arange(3)], np.arange(2))


# real speech


@pytest.mark.run
def test_mfcc_of_spoken_digits(real_data):
    folder = real_data / "free-spoken-digit-dataset" / "recordings"
    if not folder.is_dir():
        pytest.skip("no spoken digits")
    digits = open_recordings(folder, workers=1)
    parts = [os.path.splitext(name)[0].split("_") for name in digits.ids]
    y, n = (np.array([int(part[k]) for part in parts]) for k in (0, 2))
    names, g = np.unique([part[1] for part in parts], return_inverse=True)
    x = compute_mfcc_statistics(digits)
    left = leave_one_group_out({"mfcc": x}, y, g, names=list(names))
    assert 0.63 < left.mean < 0.70  # measured: 0.666
    told = {"train": np.flatnonzero(n >= 5), "test": np.flatnonzero(n < 5)}
    assert (
        0.5 < probe_few_labels({"": x}, y, **told, per_class=5, seeds=range(3)).mean < 0.66
    )  # 0.584
    assert probe_few_labels({"": x}, y, **told, per_class=None, seeds=[0]).mean > 0.95  # 0.98


def test_only_some_groups_are_left_out():
    random = np.random.default_rng(0)
    labels, groups = np.arange(60) % 3, np.repeat(np.arange(4), 15)
    x = {"a": np.eye(3)[labels] + 0.1 * random.standard_normal((60, 3))}
    whole = leave_one_group_out(x, labels, groups)
    some = leave_one_group_out(x, labels, groups, names=["p", "q", "r", "s"], only=[2])
    assert some.names == ("r",)
    assert some.accuracies == whole.accuracies[2:3]
    there = groups == 2
    assert (some.predicted[there] == whole.predicted[there]).all()
    assert (some.predicted[~there] == -1).all()
    assert not some.correct[~there].any()
