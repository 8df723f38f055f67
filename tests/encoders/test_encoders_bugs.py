"""Bugs that the comparisons of encoders with those of transformers notice."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from selfwise.encoders import speech as speech_module
from selfwise.nn import attention
from selfwise.nn.attention import build_layout, number_positions
from selfwise.nn.audio_stems import ConvPositions
from selfwise.nn.patch_transformer import PatchAttention
from selfwise.nn.relative_position import relative_position_index
from selfwise.nn.transformer import MLP, Transformer
from tests.helpers.planted import Bug, assert_caught, changed_arguments, changed_output
from tests.parity import test_speech as speech
from tests.parity import test_text_encoders as text
from tests.parity import test_vit as vit


def text_layers(family):
    return partial(text.test_hidden_states_of_every_layer, family=family, padded=True)


VIT = partial(vit.test_hidden_states_of_every_layer, "shared")
SPEECH = partial(speech.test_hidden_states_of_every_layer, "base")
NORM = speech.test_the_normalised_wave_is_that_of_their_feature_extractor

BUGS = [
    Bug("padding is seen", build_layout, changed_arguments(valid=None), text_layers("bert")),
    Bug("what comes later is seen", build_layout, changed_arguments(causal=False),
        partial(text.test_hidden_states_of_every_layer, family="gpt", padded=False)),
    Bug("documents of a row see each other", build_layout, changed_arguments(starts=None),
        partial(text.test_packed_documents_are_those_of_transformers, "bert")),
    Bug("positions are counted over the row", number_positions,
        lambda _: lambda starts, n: torch.arange(n).expand(len(starts), n),
        partial(text.test_packed_documents_are_those_of_transformers, "bert")),
    Bug("scores are not divided by the root of the width", attention.attend,
        lambda healthy: lambda q, k, v, *more, **options: healthy(2 * q, k, v, *more, **options),
        text_layers("bert")),
    Bug("another GELU", MLP.forward,
        lambda _: lambda self, x: self.down(F.gelu(self.up(x), approximate="none") * 1.001),
        text_layers("bert")),
    Bug("the last norm is left out", Transformer._final_norm, lambda _: lambda self, x: x,
        partial(text.test_hidden_states_of_every_layer, family="gpt", padded=False)),
    Bug("the table of positions is turned", relative_position_index,
        changed_output(lambda index: index.T.contiguous()), VIT),
    Bug("patches attend without their places", PatchAttention._attend,
        lambda healthy: lambda self, q, k, v, bias: healthy(self, q, k, v, None), VIT),
    Bug("positions of frames are shifted by one", ConvPositions.forward,
        changed_output(lambda x: x.roll(1, 1)), SPEECH),
    Bug("the wave has a variance of 4", speech_module._standardize,
        changed_output(lambda x: 2 * x), NORM),
]  # fmt: skip


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_planted_bug_is_noticed(bug):
    assert_caught(bug)
