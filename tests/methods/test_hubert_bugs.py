"""Bugs that the tests of HuBERT notice."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from selfwise.losses.cross_entropy import cosine_logits
from selfwise.methods import hubert
from selfwise.methods.hubert import HuBERT
from selfwise.methods.method import cross_entropy_step
from selfwise.views.audio.span_mask import SpanMask
from tests.helpers.planted import (
    Attribute,
    Bug,
    assert_caught,
    changed_arguments,
    changed_output,
    replaced_fields,
)
from tests.methods import test_hubert as facts


def on_tones(test, *more):
    return lambda: test(facts.mask_tones(), *more)


def start_normal(healthy):
    """The codes of the units are drawn from a normal distribution."""

    def init(self, *args, **kwargs):
        healthy(self, *args, **kwargs)
        nn.init.normal_(self.code_embeddings)

    return init


def count_all_unmasked(healthy):
    """Frames that are hidden or do not exist are among those that are seen."""

    def broken(name, logits, target, chosen=None):
        return healthy(name, logits, target, None if name == "unmasked" else chosen)

    return broken


def scale_term(name, factor):
    def change(step):
        step.terms[name] = step.terms[name]._replace(sum=factor * step.terms[name].sum)
        return step

    return changed_output(change)


LOSS = on_tones(facts.test_the_loss_is_the_mean_over_hidden_frames_and_the_penalty)
MASK = on_tones(facts.test_the_mask_vector_stands_in_the_place_of_the_projection)
RECIPE = facts.test_the_recipe_is_the_papers

BUGS = [
    Bug("the temperature is 1", cosine_logits,
        lambda healthy: lambda hidden, codes, temperature: healthy(hidden, codes, 1.0), LOSS,
        within=hubert),
    Bug("scores are products and not cosines", cosine_logits,
        lambda _: lambda hidden, codes, temperature=0.1: hidden @ codes.T / temperature,
        facts.test_scores_are_cosines_over_the_temperature),
    Bug("scores are rounded to bf16", cosine_logits,
        changed_output(lambda scores: scores.bfloat16()),
        facts.test_scores_are_computed_in_float32),
    Bug("vectors are rounded before they are widened", cosine_logits,
        lambda healthy: lambda hidden, codes, temperature=0.1: healthy(
            F.normalize(hidden, dim=1), codes, temperature),
        facts.test_scores_are_computed_in_float32),
    Bug("hidden frames are heard", HuBERT._seen,
        lambda _: lambda self, view: self.encoder.embed(view.batch), MASK),
    Bug("all frames are hidden from the encoder", HuBERT._seen,
        lambda healthy: lambda self, view: healthy(
            self, view._replace(mask=torch.ones_like(view.mask))), MASK),
    Bug("the loss reads every place", cross_entropy_step,
        lambda healthy: lambda name, logits, target, chosen=None: healthy(name, logits, target),
        LOSS, within=hubert),
    Bug("units are those of the next frame", SpanMask.mask_frames,
        changed_output(lambda view: view._replace(target=view.target.roll(-1, 1))), LOSS),
    Bug("the penalty is a tenth", HuBERT.forward, scale_term("feature_penalty", 0.1), LOSS),
    Bug("the weight of the penalty is not asked for", HuBERT.__init__,
        changed_arguments(feature_penalty=10.0),
        on_tones(facts.test_the_penalty_is_the_mean_square_of_the_stem)),
    Bug("hidden frames are counted as seen", cross_entropy_step, count_all_unmasked,
        on_tones(facts.test_alpha_weighs_the_frames_that_are_seen), within=hubert),
    Bug("the accuracy is over all places", cross_entropy_step, count_all_unmasked,
        on_tones(facts.test_metrics_are_the_share_hidden_and_how_often_the_guess_is_right),
        within=hubert),
    Bug("codes start normal", HuBERT.__init__, start_normal,
        facts.test_one_mask_vector_and_codes_start_uniform),
    Bug("half as many frames are hidden", HuBERT.__init__,
        changed_arguments(mask_prob=lambda asked: 0.4 if asked is None else asked), RECIPE),
    Bug("codes are as wide as the encoder", HuBERT.__init__,
        changed_arguments(proj_dim=lambda asked: 768 if asked is None else asked), RECIPE),
    Bug("gradients are not clipped", Attribute(HuBERT, "paper"),
        replaced_fields(grad_clip=0.0), RECIPE),
]  # fmt: skip


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_planted_bug_is_noticed(bug):
    assert_caught(bug)
