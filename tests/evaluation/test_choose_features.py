"""The choice of features looks at training labels alone, and two blocks are worth what both are."""

from functools import partial

import numpy as np
import pytest
from scipy.sparse import csr_array, issparse

from selfwise.evaluation.probes import choose_features
from selfwise.evaluation.probes.baselines import FeatureSplit
from selfwise.evaluation.probes.choose_features import (
    ENCODER_ONLY,
    RAW_ONLY,
    RAW_WEIGHTS,
    Candidates,
    Combined,
    TrainLabels,
    draw_by_class,
)
from selfwise.evaluation.probes.frozen import PROBES, SEARCHES
from selfwise.evaluation.probes.knn import iterate_cosines
from selfwise.evaluation.probes.label_curve import compute_label_curve, probe_features
from selfwise.evaluation.probes.linear import fit_linear, search_linear
from selfwise.evaluation.probes.matrix import FeatureBlocks
from selfwise.evaluation.probes.scalers import BAG_SCALE, BlockScaler, RotatingScaler
from selfwise.evaluation.scores.names import COMBINED, PRETRAINED, RAW, UNTRAINED

N, M = 120, 300  # training and test examples, of four classes
LABELS, TRUTH = np.arange(N) % 4, np.arange(M) % 4


def features(labels: np.ndarray, *, bits: tuple[int, ...] = (0, 1), d: int = 8, seed: int = 0):
    """Normal features that tell these bits of the label."""
    random = np.random.default_rng([seed, len(labels)])
    x = random.standard_normal((len(labels), d))
    for bit in bits:
        x[:, bit] += 3.0 * (labels >> bit & 1)
    return x.astype(np.float32)


def split(*, bits: tuple[int, ...] = (0, 1), d: int = 8, seed: int = 0) -> FeatureSplit:
    return FeatureSplit(*(features(y, bits=bits, d=d, seed=seed) for y in (LABELS, TRUTH)))


def known(kind: str = "linear", groups: np.ndarray | None = None) -> TrainLabels:
    return TrainLabels(LABELS, partial(SEARCHES[kind], device="cpu"), groups)


def several(**splits: FeatureSplit) -> dict[str, FeatureSplit]:
    return splits


def measure(kind: str, encoder: FeatureSplit, raw: FeatureSplit, **told):
    """A score of both parts alone and together."""
    judge = known(kind)
    parts = {n: Candidates({"": one}, judge) for n, one in ((PRETRAINED, encoder), (RAW, raw))}
    sources = {PRETRAINED: [encoder], UNTRAINED: [split(bits=(), seed=9)], RAW: [raw]}
    sources |= {COMBINED: [Combined(parts[PRETRAINED], parts[RAW], judge)]}
    probe = partial(PROBES[kind], device="cpu")
    competitors = {n: probe_features(s, LABELS, probe) for n, s in sources.items()}
    told = {"budgets": [None], "seeds": [0]} | told
    return compute_label_curve(competitors, LABELS, TRUTH, kind=kind, **told)


@pytest.mark.parametrize("kind", ["linear", "knn"])
def test_the_best_features_are_chosen_by_training_labels_alone(kind):
    good, poor = split(), split(bits=(0,), seed=1)
    rows = np.arange(0, N, 2) + np.arange(0, N, 2) // 2 % 2
    # the test examples of the poor features are the better ones, and the other way round
    trap, right = FeatureSplit(poor.train, good.test), FeatureSplit(good.train, poor.test)
    swapped = several(poor=trap, good=right)
    for candidates in (several(poor=poor, good=good), swapped):
        chosen = known(kind).choose(candidates, rows, 0)
        assert chosen.name == "good"
        assert chosen.split is candidates["good"]


def test_the_choice_of_a_curve_does_not_depend_on_the_test_examples():
    candidates = several(a=split(bits=(0,)), b=split(seed=1), c=split(bits=(1,), seed=2))
    other = {n: FeatureSplit(s.train, s.test[::-1] * 7) for n, s in candidates.items()}
    names = []
    for some, truth in ((candidates, TRUTH), (other, TRUTH[::-1].copy())):
        source = Candidates(some, known())
        competitors = {n: probe_features([source], LABELS) for n in (PRETRAINED, UNTRAINED, RAW)}
        told = {"budgets": [2, 10, None], "seeds": [0, 1, 2]}
        score = compute_label_curve(competitors, LABELS, truth, **told)
        names.append([result.choices for result in score.results])
    assert names[0] == names[1]
    assert {len(one) for one in names[0]} == {1, 3}


def test_a_choice_is_a_function_of_the_draw_and_the_seed():
    candidates = {str(i): split(seed=i) for i in range(6)}
    draws = [(np.sort(np.random.default_rng(s).permutation(N)[:40]), s) for s in range(4)]
    first = [Candidates(candidates, known()).choose(*draw).name for draw in draws]
    source = Candidates(candidates, known())
    assert [source.choose(*draw).name for draw in draws[::-1]] == first[::-1]
    assert [source.choose(*draw).name for draw in draws] == first
    assert len(set(first)) > 1


def test_without_labels_to_hold_out_the_default_is_taken():
    one_each = np.arange(4)
    for kind in SEARCHES:
        poor, good = split(bits=()), split(seed=1)
        assert known(kind).choose(several(poor=poor, good=good), one_each, 0).name == "poor"


def test_equal_features_are_the_first_of_them():
    one = split()
    assert known().choose(several(a=one, b=one), np.arange(N), 0).name == "a"


def test_groups_choose_what_holds_for_new_groups():
    groups = np.arange(N) // 4 % 5
    voice = features(groups, bits=(), d=12) * 0.1
    voice[np.arange(N), groups] += 5
    word = split(bits=(0, 1), d=12, seed=3).train * 0.5
    labels = (groups + (np.arange(N) % 7 == 0)) % 2  # nearly a function of the speaker
    word[:, 0] += 1.0 * labels
    candidates = several(word=FeatureSplit(word, word), voice=FeatureSplit(voice, voice))
    search = partial(SEARCHES["linear"], device="cpu")
    assert TrainLabels(labels, search).choose(candidates, np.arange(N), 0).name == "voice"
    assert TrainLabels(labels, search, groups).choose(candidates, np.arange(N), 0).name == "word"
    one = np.zeros(N, np.int64)  # one speaker: nobody to hold out
    assert TrainLabels(labels, search, one).choose(candidates, np.arange(N), 0).name == "voice"


def test_of_many_labels_a_part_of_every_class_chooses(monkeypatch):
    labels = np.random.default_rng(0).choice(3, 1000, p=[0.1, 0.3, 0.6])
    rows = np.flatnonzero(labels < 3)[5:]
    part = draw_by_class(labels, rows, 0, size=100)
    assert len(set(part)) == 100
    assert set(part) <= set(rows)
    assert abs(np.bincount(labels[part]) - np.bincount(labels[rows]) * 100 / len(rows)).max() <= 1
    np.testing.assert_array_equal(part, draw_by_class(labels, rows, 0, size=100))
    assert set(part) != set(draw_by_class(labels, rows, 1, size=100))
    monkeypatch.setattr(choose_features, "MAX_CHOICE_LABELS", 40)
    sizes = []

    def search(train, labels, seed, groups=None):
        sizes.append(len(labels))
        return 0.5

    judge = TrainLabels(LABELS, search)
    judge.choose(several(a=split(), b=split()), np.arange(N), 0)
    assert sizes == [40, 40]


@pytest.mark.parametrize("kind", ["linear", "knn"])
@pytest.mark.parametrize("sparse", [False, True])
def test_both_together_know_what_only_one_part_knows(kind, sparse):
    encoder, raw = split(bits=(0,)), split(bits=(1,), d=20, seed=1)
    if sparse:  # bags of words: a word that gives the second bit away, among rare ones
        raw = FeatureSplit(*(words(y) for y in (LABELS, TRUTH)))
    score = measure(kind, encoder, raw)
    together, *alone = (score.result(name, None).mean for name in (COMBINED, PRETRAINED, RAW))
    assert together > max(alone) + 0.1
    assert [c.competitor for c in score.against_parts] == [PRETRAINED, RAW]
    for part, accuracy in zip(score.against_parts, alone):
        assert part.difference == pytest.approx(together - accuracy)
        assert part.interval[0] > 0


def words(labels: np.ndarray) -> csr_array:
    """Rows of length 1: one of two words by the second bit, and one of 200 at random."""
    random = np.random.default_rng(len(labels))
    x = np.zeros((len(labels), 202), np.float32)
    x[np.arange(len(labels)), labels >> 1 & 1] = 1
    x[np.arange(len(labels)), 2 + random.integers(0, 200, len(labels))] = 0.5
    return csr_array(x / np.linalg.norm(x, axis=1, keepdims=True))


@pytest.mark.parametrize("kind", ["linear", "knn"])
@pytest.mark.parametrize("useless", [PRETRAINED, RAW])
@pytest.mark.parametrize("per_class", [20, None])  # five labels a class cannot tell the weights
def test_a_part_without_information_does_no_harm(kind, useless, per_class):
    good, noise = split(bits=(0, 1), d=8), split(bits=(), d=60, seed=1)
    encoder, raw = (noise, good) if useless == PRETRAINED else (good, noise)
    score = measure(kind, encoder, raw, budgets=[per_class], seeds=[0, 1])
    best = max(score.result(name, per_class).mean for name in (PRETRAINED, RAW))
    assert best > 0.55
    assert score.result(COMBINED, per_class).mean > best - 0.05


def test_the_weights_are_chosen_along_with_the_regularization():
    seen = []

    def search(train, labels, seed, groups=None):
        seen.append(train)
        weights = getattr(train, "weights", None)
        return {None: 0.1, RAW_WEIGHTS[2]: 0.9}.get(weights and weights[1], 0.5)

    judge = TrainLabels(LABELS, search)
    parts = [Candidates({"": split(seed=i)}, judge) for i in (0, 1)]
    chosen = Combined(*parts, judge).choose(np.arange(N), 0)
    assert chosen.name == f"raw input with weight {RAW_WEIGHTS[2]:g}"
    assert isinstance(chosen.split.test, FeatureBlocks)
    assert chosen.split.test.weights == (1.0, RAW_WEIGHTS[2])
    assert [type(x) for x in seen] == [FeatureBlocks] * 3 + [np.ndarray] * 2
    assert {ENCODER_ONLY, RAW_ONLY}.isdisjoint([chosen.name])


@pytest.mark.parametrize(("lead", "chosen"), [(0.04, "raw input with weight 1"), (0.06, RAW_ONLY)])
def test_the_default_weight_is_left_only_for_a_lead_beyond_the_standard_error(lead, chosen):
    """Of 100 labels of which four fifths are right, it is four of them."""
    rows = np.arange(100)

    def search(train, labels, seed, groups=None):
        return 0.8 if train.shape[1] == 1 else 0.8 - lead

    judge = TrainLabels(LABELS[:100], search)
    encoder, raw = split(bits=(0,), d=3), split(bits=(0,), d=1)
    both = Combined(Candidates({"": encoder}, judge), Candidates({"": raw}, judge), judge)
    assert both.choose(rows, 0).name == chosen


def test_both_parts_bring_the_features_that_they_have_chosen():
    judge = known()
    encoder = Candidates(several(poor=split(bits=()), good=split(bits=(0,))), judge)
    raw = Candidates(several(poor=split(bits=(), seed=1), good=split(bits=(1,), seed=1)), judge)
    blocks = Combined(encoder, raw, judge).choose(np.arange(N), 0).split.train
    assert blocks.blocks == (encoder.splits["good"].train, raw.splits["good"].train)


def test_blocks_are_as_long_as_their_shares():
    dense, raw = features(LABELS, d=6), features(LABELS, d=90, seed=1)
    raw[:, :50] = 3.0  # pixels that never vary have no length
    both = BlockScaler().fit_transform(FeatureBlocks((dense, raw), (1.0, 0.5)))
    lengths = [np.square(part).sum(axis=1).mean() for part in (both[:, :6], both[:, 6:])]
    np.testing.assert_allclose(lengths, [6 * 0.8, 6 * 0.2], rtol=1e-4)
    np.testing.assert_allclose(both.mean(axis=0), 0, atol=1e-4)


def test_bags_of_words_stay_sparse():
    bag, scaler = words(LABELS), BlockScaler()
    blocks = FeatureBlocks((features(LABELS), bag), (1.0, 1.0))
    both = scaler.fit_transform(blocks)
    assert issparse(both)
    assert both.nnz == LABELS.size * 8 + bag.nnz
    expected = bag.toarray() * np.sqrt(0.5 * 8)  # of the length BAG_SCALE alone, here of the other
    np.testing.assert_allclose(both.toarray()[:, 8:], expected, rtol=1e-5)
    assert scaler.factors[1] * BAG_SCALE == pytest.approx(np.sqrt(0.5 * 8))
    assert blocks.size == LABELS.size * 8 + bag.size


def test_more_columns_than_examples_give_the_same_predictions_of_blocks(monkeypatch):
    train, test = (
        FeatureBlocks((features(y), features(y, bits=(1,), d=500, seed=1)), (1.0, 0.5))
        for y in (LABELS, TRUTH)
    )
    rotated = fit_linear(train, LABELS, test)
    monkeypatch.setattr("selfwise.evaluation.probes.scalers.RotatingScaler", lambda scale: scale)
    plain = fit_linear(train, LABELS, test)
    assert plain.C == rotated.C
    assert (plain.predicted == rotated.predicted).mean() > 0.99
    assert isinstance(RotatingScaler(BlockScaler()).scale, BlockScaler)


def test_the_cosine_of_blocks_is_that_of_their_joined_vectors():
    train, test = ((features(y), features(y, d=5, seed=1)) for y in (LABELS[:20], TRUTH[:30]))
    weights = (1.0, 0.25)

    def join(blocks):
        unit = [b / np.linalg.norm(b, axis=1, keepdims=True) for b in blocks]
        return np.concatenate([w * u for w, u in zip(weights, unit)], axis=1)

    (got,) = iterate_cosines(
        FeatureBlocks(train, weights), FeatureBlocks(test, weights), at_once=99, device="cpu"
    )
    (expected,) = iterate_cosines(join(train), join(test), at_once=99, device="cpu")
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_the_search_is_that_of_the_fit():
    x = features(LABELS)
    fit = fit_linear(x, LABELS, x, seed=3)
    assert fit.searched == tuple(search_linear(x, LABELS, seed=3))
    with pytest.raises(ValueError, match="two classes"):
        search_linear(x, np.zeros(N, np.int64))
    broken = FeatureBlocks((x, np.full_like(x, np.nan)), (1.0, 1.0))
    with pytest.raises(ValueError, match="not finite"):
        search_linear(broken, LABELS)


def test_a_score_with_both_is_filed_and_described():
    score = measure("linear", split(bits=(0,)), split(bits=(1,), seed=1))
    (row,) = [row for row in score.rows() if row["competitor"] == COMBINED]
    assert set(row["against"]) == {PRETRAINED, RAW}
    assert len(row["choices"]) == 1
    text = " ".join(score.sentences())
    assert f"{COMBINED} against pretrained: +" in text
    assert f"the training labels chose, for {COMBINED}: raw input with weight " in text
