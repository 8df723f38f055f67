"""Frozen GLUE: the setting is chosen on train, dev decides nothing, ridge is ridge."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info, threadpool_limits

from selfwise.data.text.labelled import Texts
from selfwise.evaluation.features.text import (
    extract_features,
    extract_poolings,
    pad_rows,
    tokenize_rows,
)
from selfwise.evaluation.probes.linear import PENALTIES
from selfwise.evaluation.probes.scalers import BAG_SCALE
from selfwise.glue import finetune_recipes
from selfwise.glue.frozen import (
    CachedFeatures,
    FeatureSetting,
    combine_pair,
    embed_words,
    list_settings,
    probe_frozen,
)
from selfwise.glue.linear_probe import fit_and_predict, search_penalties
from selfwise.glue.metrics import METRICS
from selfwise.glue.read import GlueSplit, open_glue
from selfwise.glue.tasks import find_task
from selfwise.tokenizers.tokenizer import train_tokenizer as tokenizer_of
from tests.helpers.text_cases import encoder_of


@pytest.fixture(autouse=True)
def few_may_choose(monkeypatch):
    """Searches are tested on small data."""
    monkeypatch.setattr(finetune_recipes, "MIN_CHOOSERS", 0)


def split(name, n, seed):
    """A split whose texts tell their label, or score."""
    task, draw = find_task(name), np.random.default_rng(seed)
    labels = draw.integers(len(task.labels), size=n) if task.labels else None
    scores = None if task.labels else draw.random(n) * 5
    told = [str(value) for value in (labels if scores is None else scores)]
    pairs = told if len(task.text) > 1 else None
    texts = Texts([str(i) for i in range(n)], told, pairs, labels, None, f"{name} {n} {seed}")
    return GlueSplit(task, "train", texts, scores, ())


def telling(known, others, setting):
    """Features that say the label in one setting alone."""
    draw = np.random.default_rng(0)
    told = []
    for texts in (known, *others):
        x = draw.normal(size=(len(texts), 3)).astype(np.float32)
        if setting.layer == 1:
            x[:, 0] += 4 * np.array([float(text) for text in texts.texts], np.float32)
        told.append(x)
    return told


@pytest.mark.parametrize("name", ["sst2", "stsb"])
def test_the_setting_is_chosen_on_train(name):
    train, dev = split(name, 200, 0), split(name, 50, 1)
    tried = [FeatureSetting(layer) for layer in (0, 1, 2)]
    found = probe_frozen(train, [dev], telling, tried)
    assert found.setting == FeatureSetting(1)
    assert list(dict.fromkeys(one for one, _ in found.tried)) == tried
    best = max(found.tried, key=lambda one: one[1].value)
    assert (found.setting, found.penalty) == (best[0], best[1].penalty)
    assert found.scores[0][dev.task.metrics[0]] > 0.9
    # dev with all labels the other way round: the same predictions, the opposite score
    if name == "sst2":
        other = replace(dev, texts=replace(dev.texts, labels=1 - dev.texts.labels))
        again = probe_frozen(train, [other], telling, tried)
        assert np.array_equal(again.predicted[0], found.predicted[0])
        assert again.scores[0]["accuracy"] == pytest.approx(1 - found.scores[0]["accuracy"])


def test_rows_that_judge_are_not_fitted():
    """Many features of noise learn the rows by heart, one that knows a little is better."""
    train, dev = split("sst2", 200, 0), split("sst2", 50, 1)

    def embed(known, others, setting):
        draw, told = np.random.default_rng(0), []
        for texts in (known, *others):
            noise = draw.normal(size=(len(texts), 300)).astype(np.float32)
            noise[:, 0] += 1.5 * np.array([float(text) for text in texts.texts], np.float32)
            told.append(noise[:, 1:] if setting.layer == 0 else noise[:, :1])
        return told

    assert probe_frozen(
        train, [dev], embed, [FeatureSetting(0), FeatureSetting(1)]
    ).setting == FeatureSetting(1)


def test_several_splits_and_test_without_labels():
    train, dev, test = split("sst2", 100, 0), split("sst2", 30, 1), split("sst2", 20, 2)
    test = replace(test, texts=replace(test.texts, labels=None))
    found = probe_frozen(train, [dev, test], telling, [FeatureSetting(1)])
    assert [len(part) for part in found.predicted] == [30, 20]
    assert {one for one, _ in found.tried} == {FeatureSetting(1)}
    assert found.scores[1] is None
    assert (found.predicted[1] == [int(t) for t in test.texts.texts]).mean() > 0.9
    with pytest.raises(ValueError, match="sst2: a probe needs labels, and train has none"):
        probe_frozen(test, [dev], telling, [FeatureSetting(1)])


def test_settings_of_pairs_are_twice_as_many():
    assert len(list_settings(find_task("cola"), [0, None], ["mean", "cls"])) == 4
    assert len(list_settings(find_task("rte"), [0, None], ["mean", "cls"])) == 8


def test_ridge_is_the_closed_form():
    draw = np.random.default_rng(0)
    x, y, asked = (
        draw.normal(size=(40, 4)),
        2.5 + draw.normal(size=40) / 4,
        draw.normal(size=(9, 4)),
    )
    mean, spread = x.mean(0), x.std(0)
    z = (x - mean) / spread
    w = np.linalg.solve(z.T @ z / 40 + 0.3 * np.eye(4), z.T @ (y - y.mean()) / 40)
    right = (asked - mean) / spread @ w + y.mean()
    task = find_task("stsb")
    assert fit_and_predict(task, x, y, asked, 0.3) == pytest.approx(np.clip(right, 0, 5), abs=1e-10)
    assert fit_and_predict(task, x, y * 40, asked, 1e-4).max() == 5  # cut


@pytest.mark.parametrize("penalty", [0.2, 1e-4])
@pytest.mark.parametrize("sparse", [False, True])
def test_classes_are_by_logistic_regression(sparse, penalty):
    """Of 20,000 points those whose probability is a thousandth from a half are told apart."""
    draw = np.random.default_rng(0)
    mixed = draw.normal(size=(9, 9)) * np.geomspace(1, 0.01, 9)  # columns that say nearly the same
    x, asked = (draw.normal(size=(n, 9)) @ mixed.T + 0.1 for n in (300, 20_000))
    y = (x @ draw.normal(size=9) + draw.normal(size=300) > 0).astype(np.int64)
    z = (
        (x * BAG_SCALE, asked * BAG_SCALE)
        if sparse
        else [(a - x.mean(0)) / x.std(0) for a in (x, asked)]
    )
    right = LogisticRegression(C=1 / (penalty * 300), tol=1e-10, max_iter=10_000).fit(z[0], y)
    sure = np.abs(right.predict_proba(z[1])[:, 0] - 0.5) > 1e-3
    given = (csr_array(x), csr_array(asked)) if sparse else (x, asked)
    found = fit_and_predict(find_task("cola"), given[0], y, given[1], penalty)
    assert sure.sum() > 19_000
    assert np.array_equal(found[sure], right.predict(z[1])[sure])


def test_small_features_have_one_thread_and_are_left_as_they_are(monkeypatch):
    seen = []
    monkeypatch.setitem(METRICS, "matthews", lambda *_: seen.append(threadpool_info()) or 0.0)
    x, y = np.random.default_rng(0).normal(size=(2**12, 2**10)), np.arange(2**12) % 2
    before, rows = x.copy(), np.arange(2**12)
    with threadpool_limits(2):
        search_penalties(find_task("cola"), x, y, rows[64:128], rows[:64])
    assert {pool["num_threads"] for one in seen for pool in one} == {1}
    fit_and_predict(find_task("cola"), x[:64], y[:64], x[:64], 10.0)
    assert np.array_equal(x, before)


def test_the_penalty_is_chosen_by_the_metric_of_the_task():
    """Where most are of one class accuracy would like the constant answer."""
    draw, task = np.random.default_rng(0), find_task("cola")
    y = (draw.random(1000) < 0.8).astype(np.int64)
    x = draw.normal(size=(1000, 20)).astype(np.float32)
    x[:, 0] += 1.2 * y
    kept, apart = np.arange(800), np.arange(800, 1000)
    found = search_penalties(task, x, y, kept, apart)
    assert [one.penalty for one in found] == sorted(PENALTIES, reverse=True)[: len(found)]
    for one in found:
        said = fit_and_predict(task, x[kept], y[kept], x[apart], one.penalty)
        assert one.value == pytest.approx(METRICS["matthews"](y[apart], said), abs=0.03)
    assert found[0].value == 0  # the strongest says one class, and is right for 4 of 5
    assert max(one.value for one in found) > 0.2
    assert search_penalties(task, x, np.ones(1000, np.int64), kept, apart) == []
    assert search_penalties(task, x, y, kept, apart[:0]) == []


def test_f1_alone_does_not_choose():
    """MRPC's constant answer has a better F1 than many a probe, and a worse accuracy."""
    draw, task = np.random.default_rng(0), find_task("mrpc")
    y = (draw.random(1000) < 0.68).astype(np.int64)
    x = draw.normal(size=(1000, 2)).astype(np.float32) + 0.5 * y[:, None]
    kept, apart = np.arange(800), np.arange(800, 1000)
    for one in search_penalties(task, x, y, kept, apart):
        said = fit_and_predict(task, x[kept], y[kept], x[apart], one.penalty)
        mean = (METRICS["f1"](y[apart], said) + METRICS["accuracy"](y[apart], said)) / 2
        assert one.value == pytest.approx(mean, abs=0.02)
        assert abs(METRICS["f1"](y[apart], said) - mean) > 0.03


def test_the_path_ends_when_the_metric_has_fallen_twice(monkeypatch):
    values = iter([0.1, 0.5, 0.4, 0.45, 0.9])
    monkeypatch.setitem(METRICS, "matthews", lambda *_: next(values))
    x, y = np.random.default_rng(0).normal(size=(40, 2)), np.arange(40) % 2
    found = search_penalties(find_task("cola"), x, y, np.arange(20), np.arange(20, 40))
    assert [one.value for one in found] == [0.1, 0.5, 0.4, 0.45]


def test_what_cannot_be_probed():
    train, dev = split("sst2", 40, 0), split("sst2", 9, 1)
    same = replace(train, texts=replace(train.texts, labels=np.ones(40, np.int64)))
    with pytest.raises(ValueError, match="needs two classes"):
        probe_frozen(same, [dev], telling, [FeatureSetting(1)])
    with pytest.raises(ValueError, match="not finite"):
        probe_frozen(train, [dev], lambda *_: [np.full((40, 2), np.nan)], [FeatureSetting(1)])


def test_two_texts_side_by_side():
    u, v = np.array([[1.0, -2.0]]), np.array([[3.0, 5.0]])
    assert combine_pair(u, v).tolist() == [[1, -2, 3, 5, 2, 7, 3, -10]]


LEFT, RIGHT = ["abc cab", "a", "bc ab cab bca", "cc"], ["cab", "abc a", "b", "cab cab"]


@pytest.mark.parametrize("family", ["bert", "gpt"])
def test_one_reading_has_all_layers_and_poolings(family, tmp_path):
    encoder, tokenizer = encoder_of(family), tokenizer_of("chars", LEFT)
    texts = Texts(list("0123"), LEFT, RIGHT, None, None, "mark")
    places = [(0, "mean"), (None, "cls"), (None, "mean"), (None, "layers"), (-2, "last")]
    found = extract_poolings(encoder, texts, tokenizer, places=places, length=20)
    keep = tmp_path / "kept"
    stored = extract_poolings(encoder, texts, tokenizer, places=places, length=20, file_prefix=keep)
    assert len(list(tmp_path.iterdir())) == len(places)
    for row, vector in zip(tokenize_rows(texts, tokenizer, length=20), found[0]):
        with torch.no_grad():
            first = encoder.hidden(pad_rows([row], encoder, tokenizer))[0].tokens
        assert np.allclose(first[0].mean(0).numpy(), vector, atol=1e-5)
    for (layer, pooling), one, other in zip(places, found, stored):
        alone = extract_features(encoder, texts, tokenizer, length=20, layer=layer, pooling=pooling)
        assert np.array_equal(one, alone)
        assert isinstance(other, np.memmap)
        assert np.array_equal(other, alone)


def test_an_encoder_reads_pairs_both_ways_and_each_text_once():
    encoder, tokenizer = encoder_of("bert"), tokenizer_of("chars", LEFT)
    tried = [
        FeatureSetting(layer, "mean", joined) for layer in (0, None) for joined in (True, False)
    ]
    embed, read = CachedFeatures(encoder, tokenizer, tried, length=20), []
    original = embed.extract
    embed.extract = lambda texts, **told: read.append(told["places"]) or original(texts, **told)
    texts = Texts(list("0123"), LEFT, RIGHT, None, None, "mark")
    other = replace(texts, texts=RIGHT, fingerprint="other")
    how = {"length": 20, "pooling": "mean"}
    for _ in range(2):
        for setting in tried:
            (found,) = embed(texts, [], setting)
            sides = [texts] if setting.joined else [
                replace(texts, texts=side, pairs=None) for side in (LEFT, RIGHT)
            ]  # fmt: skip
            alone = [
                extract_features(encoder, s, tokenizer, layer=setting.layer, **how) for s in sides
            ]
            assert np.array_equal(found, alone[0] if setting.joined else combine_pair(*alone))
    assert read == [[(0, "mean"), (None, "mean")]] * 3  # the pair, and its two sides
    embed(texts, [other], tried[0])
    assert read[3:] == [[(0, "mean")]]  # others are read for what is asked


def test_bags_of_words_of_whole_tasks(real_data):
    root, apart = real_data / "glue_data", FeatureSetting(joined=False)
    train, dev = (open_glue(root, find_task("stsb"), part) for part in ("train", "dev"))
    some = replace(train, texts=train.texts.take(np.arange(2000)), scores=train.scores[:2000])
    side = probe_frozen(some, [dev], embed_words, [FeatureSetting()])
    found = probe_frozen(some, [dev], embed_words, [FeatureSetting(), apart])
    print("stsb", side.scores, found)
    assert found.setting == apart  # words in common say more than words
    assert found.scores[0]["pearson"] > side.scores[0]["pearson"] + 0.1
