"""`--pooling sif`: weights by rarity, and a common component that is fitted on training vectors."""

import numpy as np
import pytest
import torch

import selfwise
from selfwise.core.rng import generator
from selfwise.evaluation.features.sif import remove_common_component, weigh_by_rarity
from selfwise.evaluation.probes.baselines import FeatureSplit
from selfwise.modalities.feature_options import FeatureOptions
from selfwise.modalities.reading_options import ReadingOptions
from selfwise.workflows.probe_examples import ExamplePair, open_labelled_pair
from selfwise.workflows.probe_features import extract_features
from selfwise.workflows.probe_job import ProbeJob
from tests.helpers.exchange_cases import QUICK, filled
from tests.helpers.text_cases import randomise

CORPUS = "the sea was calm and the boat went out to sea; the boat came back " * 40
TEXTS = [
    "the calm sea",
    "boat unknown back",
    "unknown",
    "out out the the the sea was calm and went",
    "came",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    home = tmp_path_factory.mktemp("words")
    (home / "text.txt").write_text(CORPUS)
    options = {"encoder_options": {"dim": 6}, "val_fraction": 0.0, "max_length": 8}
    made = selfwise.pretrain(
        "word2vec", data=home / "text.txt", out=home / "run", **QUICK, **options
    )
    return filled(made, randomise)


def weighted_mean(run, text, table):
    """Algorithm 1 of the paper, lines 1 to 3, by a loop."""
    words = CORPUS.replace(";", "").split()
    known = [word for word in text.split() if word in words]
    total = np.zeros(table.shape[1])
    for word in known:
        fraction = words.count(word) / len(words)
        total += 1e-3 / (1e-3 + fraction) * table[run.tokenizer.id(word)]
    return total / max(1, len(known))


def without_first_direction(vectors, train):
    """Lines 4 to 6: the first singular vector, of training vectors alone."""
    first = np.linalg.svd(np.asarray(train, np.float64), full_matrices=False)[2][0]
    return np.stack([v - first * (first @ v) for v in np.asarray(vectors, np.float64)])


def random_vectors(rows, seed):
    return (torch.randn(rows, 5, generator=generator(seed)) + 1.0).numpy()


def test_a_word_weighs_a_over_a_plus_its_fraction_of_the_text():
    weights = weigh_by_rarity(torch.tensor([0, 1, 9, 990]))
    assert weights.tolist() == pytest.approx([1.0, 0.5, 0.1, 1e-3 / 0.991], rel=1e-6)


def test_the_component_is_that_of_training_vectors_and_not_centered():
    train, test = random_vectors(9, 0), random_vectors(4, 1)
    found = remove_common_component(FeatureSplit(train, test))
    np.testing.assert_allclose(found.train, without_first_direction(train, train), atol=1e-5)
    np.testing.assert_allclose(found.test, without_first_direction(test, train), atol=1e-5)
    assert found.train.dtype == found.test.dtype == np.float32


@pytest.mark.run
def test_embed_weights_words_by_their_counts_in_the_training_text(run):
    table = run.encoder.token.weight.detach().numpy().copy()
    again = selfwise.load(run.folder)  # counts are read from the run folder
    found = selfwise.embed(again, TEXTS, pooling="sif", window="first").vectors
    expected = [weighted_mean(run, " ".join(text.split()[:8]), table) for text in TEXTS]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9)
    assert not found[2].any()
    assert np.array_equal(again.encoder.token.weight.detach().numpy(), table)
    alone = selfwise.embed(again, TEXTS[:1], pooling="sif").vectors
    np.testing.assert_allclose(alone[0], found[0], rtol=1e-6)


@pytest.mark.run
@pytest.mark.parametrize("kind", ["linear", "retrieval"])
def test_a_probe_fits_the_component_on_its_training_part(kind, run, tmp_path):
    files = {}
    for name, texts in (("train", TEXTS), ("test", TEXTS[3:])):
        files[name] = tmp_path / f"{name}.csv"
        rows = [f"{text},{'ab'[i % 2]}" for i, text in enumerate(texts)]
        files[name].write_text("\n".join(["text,label", *rows]) + "\n")
    reading = ReadingOptions(False, False, "", "", "")
    options = FeatureOptions(None, "sif", "", "cpu")
    job = ProbeJob(run, kind, options, reading, data={}, budgets=[None], seeds=1)
    pair = open_labelled_pair(run, files["train"], files["test"], reading)
    assert isinstance(pair, ExamplePair)
    found = extract_features(job, pair)
    train, test = (selfwise.embed(run, part, pooling="sif").vectors for part in (TEXTS, TEXTS[3:]))
    (split,) = found["pretrained"]
    expected = without_first_direction(test, train)
    np.testing.assert_allclose(split.test, expected, rtol=1e-3, atol=1e-8)
    assert np.abs(split.test - test).max() > 0.3 * np.abs(test).max()
    assert len(found["untrained"]) == 3


@pytest.mark.run
def test_sif_needs_word_vectors_and_their_counts(run, tmp_path):
    options = {"encoder": "gpt-tiny", "encoder_options": {"dim": 32, "heads": 2, "depth": 1}}
    options |= {"tokenizer": "chars", "max_length": 16, "val_fraction": 0.0, **QUICK}
    gpt = selfwise.pretrain(
        "gpt", data=run.folder.parent / "text.txt", out=tmp_path / "gpt", **options
    )
    with pytest.raises(ValueError, match="gpt-tiny, whose vectors depend on the words around"):
        selfwise.embed(gpt, TEXTS, pooling="sif")
    with pytest.raises(ValueError, match="unknown pooling 'siff'"):
        selfwise.embed(run, TEXTS, pooling="siff")


@pytest.mark.run
def test_a_choice_of_layers_has_sif_among_its_candidates(run, tmp_path):
    file, reading = tmp_path / "train.csv", ReadingOptions(False, False, "", "", "")
    rows = [f"{text},{'ab'[i % 2]}" for i, text in enumerate(TEXTS)]
    file.write_text("\n".join(["text,label", *rows]) + "\n")
    places = run.modality.list_feature_places(run, "")
    assert [str(place) for place in places if place.pooling == "sif"] == ["output with sif"]
    embed = run.modality.make_embed_places(run, FeatureOptions(None, "", "", "cpu"), places)
    texts = run.modality.open_examples(run, file, reading)
    for place, vectors in zip(places, embed(run.encoder, texts)):
        options = {"layer": place.layer, "pooling": place.pooling}
        alone = selfwise.embed(run, TEXTS, **options).vectors
        np.testing.assert_allclose(vectors, alone, rtol=1e-6, err_msg=str(place))
    score = selfwise.probe(run, train=file, test=file, layer="auto", with_raw=True, quiet=True)
    assert score.result("pretrained + raw input", None).mean >= 0
