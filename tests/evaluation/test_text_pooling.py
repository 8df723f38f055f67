"""`pooling="layers"`: the means of the embeddings and of every layer, side by side."""

import numpy as np
import pytest
import torch

from selfwise.core.types import TextBatch
from selfwise.data.text.labelled import open_texts
from selfwise.evaluation.features.text import extract_features, tokenize_rows
from selfwise.tokenizers.tokenizer import train_tokenizer
from tests.helpers.text_cases import encoder_of

TEXTS = ["abc cab", "a", "bc ab cab bca", "cc"]


@pytest.mark.parametrize("family", ["bert", "roberta", "albert", "gpt"])
def test_layers_are_the_means_of_every_depth_side_by_side(family):
    encoder, tokenizer = encoder_of(family), train_tokenizer("chars", TEXTS)
    texts = open_texts(TEXTS)
    found = extract_features(encoder, texts, tokenizer, length=16, pooling="layers")
    width = encoder.dim
    assert found.shape == (len(TEXTS), 4 * width)  # the embeddings and three layers
    for layer in range(3):
        one = extract_features(encoder, texts, tokenizer, length=16, layer=layer)
        assert np.array_equal(found[:, (layer + 1) * width : (layer + 2) * width], one)
    for row, vector in zip(tokenize_rows(texts, tokenizer, length=16), found):
        ids = torch.from_numpy(row.ids)[None]
        batch = TextBatch(ids, torch.zeros(1, dtype=torch.long))
        assert np.allclose(encoder.embed(batch)[0].mean(0).detach(), vector[:width], atol=1e-5)


def test_no_layer_can_be_chosen_where_all_are_taken():
    encoder, tokenizer = encoder_of("bert"), train_tokenizer("chars", TEXTS)
    with pytest.raises(ValueError, match="'layers' uses every layer, so --layer 1 has no effect"):
        extract_features(
            encoder, open_texts(TEXTS), tokenizer, length=16, layer=1, pooling="layers"
        )
