"""`--layer auto` and `--with-raw` on runs: equal candidates for all encoders, one pass, errors."""

import json
from pathlib import Path

import numpy as np
import pytest

import selfwise
from selfwise.evaluation.probes.choose_features import TrainLabels
from selfwise.evaluation.scores.names import COMBINED
from selfwise.modalities.feature_options import (
    MAX_PLACES,
    FeatureOptions,
    FeaturePlace,
    list_places,
)
from selfwise.modalities.reading_options import ReadingOptions


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A text run of a few steps."""
    folder = tmp_path_factory.mktemp("chosen")
    words = ["good sun and sea", "bad rain on stone", "the boat is far", "a green tree"]
    (folder / "text.txt").write_text("\n".join(words[i % 4] for i in range(60)))
    options = {"encoder": "roberta-tiny", "steps": 1, "batch_size": 4, "max_length": 16}
    options |= {"tokenizer": "wordpiece:80", "documents": "line", "quiet": True}
    options |= {"encoder_options": {"dim": 16, "heads": 2, "depth": 2}}
    return selfwise.pretrain("roberta", data=folder / "text.txt", out=folder / "run", **options)


@pytest.fixture
def reviews(tmp_path):
    rows = [f"{'good' if i % 2 else 'bad'} word{i % 7}\t{i % 2}" for i in range(60)]
    path = tmp_path / "reviews.tsv"
    path.write_text("\n".join(["text\tlabel", *rows]) + "\n")
    return path


def test_places_are_bounded_and_the_default_comes_first():
    few = list_places(2, ["mean", "cls"], [FeaturePlace(None, "layers")])
    assert few[:3] == [(None, "mean"), (None, "cls"), (None, "layers")]
    assert few[3:] == [(1, "mean"), (1, "cls"), (0, "mean"), (0, "cls")]
    for depth, poolings in ((12, ["a"]), (48, ["a", "b", "c"]), (24, ["a", "b"])):
        many = list_places(depth, poolings)
        assert len(many) == len(set(many)) <= MAX_PLACES
        layers = sorted({p.layer for p in many if p.layer is not None})
        assert layers[-1] == depth - 1
        assert np.ptp(np.diff(layers)) <= 1


def test_features_of_all_places_are_those_of_each(run, reviews):
    modality, texts = run.modality, run.modality.open_examples(run, reviews, ReadingOptions(True))
    places = modality.list_feature_places(run, "")
    assert len(places) == 7  # the output and two layers with two poolings, and all layers at once
    several = modality.make_embed_places(run, FeatureOptions(), places)(run.encoder, texts)
    for place, features in zip(places, several):
        alone = modality.make_embed(run, FeatureOptions(place.layer, place.pooling))
        np.testing.assert_array_equal(features, alone(run.encoder, texts))
    assert [p.pooling for p in modality.list_feature_places(run, "cls")] == ["cls"] * 3
    with pytest.raises(ValueError, match="'layers' uses every layer, so --layer auto"):
        modality.list_feature_places(run, "layers")


@pytest.mark.run
def test_every_encoder_chooses_among_the_same_candidates(run, reviews, monkeypatch, capsys):
    asked, original = [], TrainLabels.choose

    def spy(self, candidates, rows, seed, **told):
        asked.append((tuple(candidates), len(rows), seed))
        return original(self, candidates, rows, seed, **told)

    monkeypatch.setattr(TrainLabels, "choose", spy)
    told = {"train": reviews, "seeds": 2, "labels_per_class": "3,all"}
    score = selfwise.probe(run, **told, layer="auto", with_raw=True)
    encoders = [one for one in asked if "output with mean" in one[0]]
    assert len({names for names, *_ in encoders}) == 1
    for draw in ((6, 0), (6, 1), (48, 0)):
        assert [one[1:] for one in encoders].count(draw) == 4  # trained, and three untrained
    assert "candidates for each encoder and draw of labels: output with mean" in (
        capsys.readouterr().out
    )
    lengths = {r.competitor: len(r.choices) for r in score.results if r.per_class == 3}
    assert lengths == {"pretrained": 2, "untrained": 6, "raw input": 0, COMBINED: 2}
    filed = json.loads(Path(score.path).read_text())
    assert filed["layer"] == "auto"
    assert "the training labels chose, for pretrained: " in selfwise.show(run.folder)
    again = selfwise.probe(run, **told, layer="auto", with_raw=True, quiet=True)
    assert again.rows() == score.rows()


@pytest.mark.parametrize("kind", ["sgd", "retrieval", "weighted", "finetune"])
def test_kinds_without_a_search_cannot_choose(run, reviews, kind):
    for option in ({"layer": "auto"}, {"with_raw": True}):
        with pytest.raises(ValueError, match=r"use --kind linear or knn|frozen"):
            selfwise.probe(run, train=reviews, kind=kind, **option)
