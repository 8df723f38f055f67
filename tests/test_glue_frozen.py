"""Frozen GLUE: the setting is chosen on train, dev decides nothing, ridge is ridge."""

from dataclasses import replace

import numpy as np
import pytest

from selfwise.data.glue import task_named
from selfwise.data.glue_read import GlueSplit, open_glue
from selfwise.data.texts import Texts
from selfwise.data.tokenizer import Tokenizer
from selfwise.evaluate import glue_frozen
from selfwise.evaluate.glue_frozen import (
    Setting,
    frozen,
    joined,
    of_encoder,
    of_reader,
    of_words,
    ridge,
    settings,
)
from selfwise.evaluate.linear import PENALTIES


def split(name, n, seed):
    """A split whose texts tell their label, or score."""
    task, draw = task_named(name), np.random.default_rng(seed)
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
    tried = [Setting(layer) for layer in (0, 1, 2)]
    found = frozen(train, [dev], telling, tried)
    assert found.setting == Setting(1)
    assert [one for one, _ in found.tried] == tried
    assert found.scores[0][dev.task.metrics[0]] > 0.9
    # dev with all labels the other way round: the same predictions, the opposite score
    if name == "sst2":
        other = replace(dev, texts=replace(dev.texts, labels=1 - dev.texts.labels))
        again = frozen(train, [other], telling, tried)
        assert np.array_equal(again.predicted[0], found.predicted[0])
        assert again.scores[0]["accuracy"] == pytest.approx(1 - found.scores[0]["accuracy"])


def test_several_splits_and_test_without_labels():
    train, dev, test = split("sst2", 100, 0), split("sst2", 30, 1), split("sst2", 20, 2)
    test = replace(test, texts=replace(test.texts, labels=None))
    found = frozen(train, [dev, test], telling, [Setting(1)])
    assert [len(part) for part in found.predicted] == [30, 20]
    assert found.tried == ()
    assert found.scores[1] is None
    assert (found.predicted[1] == [int(t) for t in test.texts.texts]).mean() > 0.9
    with pytest.raises(ValueError, match="sst2: a probe is fitted on labels, and train has none"):
        frozen(test, [dev], telling, [Setting(1)])


def test_settings_of_pairs_are_twice_as_many():
    assert len(settings(task_named("cola"), [0, None], ["mean", "cls"])) == 4
    assert len(settings(task_named("rte"), [0, None], ["mean", "cls"])) == 8


def test_ridge_is_the_closed_form(monkeypatch):
    monkeypatch.setattr(glue_frozen, "PENALTIES", (0.3,))
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
    assert ridge(x, y, asked) == pytest.approx(np.clip(right, 0, 5), abs=1e-10)
    assert max(PENALTIES) == 10
    assert ridge(x, y * 40, asked).max() == 5  # cut


def test_two_texts_side_by_side():
    u, v = np.array([[1.0, -2.0]]), np.array([[3.0, 5.0]])
    assert joined(u, v).tolist() == [[1, -2, 3, 5, 2, 7, 3, -10]]


def test_an_encoder_reads_pairs_both_ways(monkeypatch):
    read = []

    def extract(encoder, texts, tokenizer, **how):
        read.append((texts.texts, texts.pairs, how))
        return np.array([[len(text), 1.0] for text in texts.texts], np.float32)

    monkeypatch.setattr(glue_frozen, "extract", extract)
    texts = Texts(["0"], ["abc"], ["xy"], None, None, "mark")
    embed = of_encoder(None, object.__new__(Tokenizer), length=9)
    assert embed(texts, [texts], Setting(2, "cls"))[1].tolist() == [[3, 1]]
    told = {"length": 9, "device": "cpu", "precision": "float32", "layer": 2, "pooling": "cls"}
    assert read == [(["abc"], ["xy"], told)]
    (apart,) = embed(texts, [], Setting(2, "cls", joined=False))
    assert apart.tolist() == [[3, 1, 2, 1, 1, 0, 6, 1]]
    assert [(one[0], one[1]) for one in read[1:]] == [(["abc"], None), (["xy"], None)]


def test_bags_of_words_of_whole_tasks(real_data):
    root, apart = real_data / "glue_data", Setting(joined=False)
    train, dev = (open_glue(root, task_named("stsb"), part) for part in ("train", "dev"))
    some = replace(train, texts=train.texts.take(np.arange(2000)), scores=train.scores[:2000])
    side = frozen(some, [dev], of_words, [Setting()])
    found = frozen(some, [dev], of_words, [Setting(), apart])
    print("stsb", side.scores, found)
    assert found.setting == apart  # words in common say more than words
    assert found.scores[0]["pearson"] > side.scores[0]["pearson"] + 0.1


def test_what_files_features_can_tell_the_two_texts_of_a_pair_from_the_pair():
    seen = []

    def read(texts, setting):
        seen.append(texts.fingerprint)
        return np.zeros((len(texts), 1), np.float32)

    texts = Texts(["0"], ["abc"], ["xy"], None, None, "mark")
    embed = of_reader(read)
    for setting in (Setting(), Setting(joined=False), Setting(joined=False)):
        embed(texts, [texts], setting)
    assert len(seen) == len(set(seen)) == 3
