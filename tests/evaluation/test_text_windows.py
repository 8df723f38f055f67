"""Long texts are read whole, in windows; means and deviations are those over all their tokens."""

import numpy as np
import pytest
import torch

from selfwise.core.types import TextBatch
from selfwise.data.text.labelled import open_texts
from selfwise.evaluation.features.text import extract_features
from selfwise.evaluation.features.text_windows import describe_truncation, split_into_windows
from selfwise.tokenizers.tokenizer import train_tokenizer
from tests.helpers.text_cases import encoder_of

LENGTH = 12
LONG = "abc cab bca " * 9
TEXTS = [LONG, LONG[:-1] + "c", "a", "", "abc cab", "bca " * 40, "b" * 10, "b" * 11]


@pytest.fixture(params=["bert", "roberta", "albert", "gpt"])
def family(request):
    """An encoder in evaluation mode and a tokenizer of characters."""
    return encoder_of(request.param).eval(), train_tokenizer("chars", TEXTS)


def by_hand(encoder, tokenizer, text, how):
    """The tokens of every window by itself, and how much of the text each window has."""
    one = split_into_windows(open_texts([text or " "]), tokenizer, length=LENGTH, window="mean")
    each, weights = [], []
    for row, count in zip(one.rows, one.tokens):
        batch = TextBatch(torch.from_numpy(row.ids)[None], torch.zeros(1, dtype=torch.long))
        if encoder.segments:
            batch = batch._replace(segment=torch.from_numpy(row.segment)[None])
        with torch.no_grad():
            each.append(encoder(batch).tokens[0].double())
        weights.append(max(1, int(count)))
    share = torch.tensor(weights).double() / sum(weights)
    mean = sum(w * tokens.mean(0) for w, tokens in zip(share, each))
    if how == "mean":
        return mean
    square = sum(w * tokens.square().mean(0) for w, tokens in zip(share, each))
    return torch.cat([mean, (square - mean**2).clamp_min(0).sqrt()])


@pytest.mark.parametrize("how", ["mean", "mean+deviation"])
def test_windows_are_averaged_by_their_tokens(family, how):
    encoder, tokenizer = family
    told = {"length": LENGTH, "pooling": how, "window": "mean"}
    found = extract_features(encoder, open_texts(TEXTS), tokenizer, **told)
    for text, vector in zip(TEXTS, found):
        if text:
            expected = by_hand(encoder, tokenizer, text, how).numpy()
            assert np.abs(vector - expected).max() < 1e-4, text


def test_texts_that_differ_behind_the_first_window_differ(family):
    encoder, tokenizer = family
    texts = open_texts(TEXTS[:2])
    first = extract_features(encoder, texts, tokenizer, length=LENGTH, window="first")
    assert np.array_equal(first[0], first[1])
    mean = extract_features(encoder, texts, tokenizer, length=LENGTH, window="mean")
    assert np.abs(mean[0] - mean[1]).max() > 1e-4


def test_short_texts_are_what_they_were(family):
    encoder, tokenizer = family
    texts = open_texts(TEXTS[2:5] + TEXTS[6:7])
    first, mean = (
        extract_features(encoder, texts, tokenizer, length=LENGTH, window=how)
        for how in ("first", "mean")
    )
    assert np.array_equal(first, mean)


def test_a_window_has_the_length_of_the_run_and_its_special_tokens(family):
    _, tokenizer = family
    found = split_into_windows(open_texts(TEXTS), tokenizer, length=LENGTH, window="mean")
    assert max(len(row.ids) for row in found.rows) == LENGTH
    sizes = [len(ids) for ids in tokenizer.encode(TEXTS)]
    assert np.bincount(found.owner, found.tokens).tolist() == sizes
    assert not describe_truncation(found, LENGTH)


def test_what_is_cut_is_counted(family):
    _, tokenizer = family
    texts = open_texts(TEXTS)
    found = split_into_windows(texts, tokenizer, length=LENGTH, window="first")
    sizes = np.array([len(ids) for ids in tokenizer.encode(TEXTS)])
    room = max(int(found.tokens.max()), 1)
    assert found.cut == np.maximum(0, sizes - room).sum()
    assert found.longer == (sizes > room).sum()
    said = describe_truncation(found, LENGTH)[0]
    assert f"{found.cut:,} tokens were cut" in said


def test_the_deviation_is_that_of_real_tokens(family):
    """Padding changes nothing, and one token has none."""
    encoder, tokenizer = family
    told = {"length": 64, "pooling": "mean+deviation"}
    together = extract_features(encoder, open_texts(["a", "abc cab bca"]), tokenizer, **told)
    for text, vector in zip(["a", "abc cab bca"], together):
        alone = extract_features(encoder, open_texts([text]), tokenizer, **told)[0]
        assert np.abs(alone - vector).max() < 1e-5
    assert together.shape[1] == 2 * encoder.dim
