"""Bugs that the tests of GPT notice."""

import pytest
import torch

from selfwise.methods import gpt
from selfwise.methods.gpt import GPT
from selfwise.methods.method import cross_entropy_step
from selfwise.views.text.collate import collate_windows
from selfwise.views.text.packing import plan_windows
from tests.helpers import cases
from tests.helpers.planted import Attribute, Bug, assert_caught, changed_output, replaced_fields
from tests.methods import test_gpt as facts


def on_method(test):
    return lambda: test(cases.build("gpt").eval())


def without(**fields):
    """The view is made as if the batch did not say this."""
    return lambda healthy: lambda self, batch, rng: healthy(self, batch._replace(**fields), rng)


NEXT = on_method(facts.test_the_target_is_the_next_token)
EDGES = on_method(facts.test_no_target_lies_in_padding_or_in_another_document)
EPOCH = on_method(facts.test_every_token_is_a_target_once_in_an_epoch)
LOSS = facts.test_the_loss_is_the_mean_cross_entropy_of_the_targets

BUGS = [
    Bug("the target is the token itself", GPT.view,
        changed_output(lambda view: view._replace(target=view.batch.ids)), NEXT),
    Bug("the target is the token after the next", GPT.view,
        changed_output(lambda view: view._replace(target=view.target.roll(-1, 1))), NEXT),
    Bug("the last target is left out", GPT.view,
        changed_output(lambda view: view._replace(
            chosen=view.chosen & (view.where < view.where.amax()))), NEXT),
    Bug("padding is a target", GPT.view, without(valid=None), EDGES),
    Bug("the first token of the next document is a target", GPT.view, without(starts=None), EDGES),
    Bug("padding is counted", GPT.counts,
        lambda _: lambda self, view: {"lm_loss": torch.tensor(float(view.chosen.numel()))},
        EDGES),
    Bug("the last document is left out", plan_windows,
        lambda healthy: lambda documents, *args, **options: healthy(
            documents[:-1], *args, **options), EPOCH),
    Bug("tokens are in the wrong order", collate_windows,
        changed_output(lambda batch: batch._replace(ids=batch.ids.flip(1))), EPOCH),
    Bug("the loss reads every position", cross_entropy_step,
        lambda healthy: lambda name, logits, target, chosen=None: healthy(name, logits, target),
        on_method(facts.test_the_loss_reads_chosen_targets_only), within=gpt),
    Bug("the scores are twice as far apart", GPT._scores, changed_output(lambda x: 2 * x), LOSS),
    Bug("the rate does not fall", Attribute(GPT, "paper"), replaced_fields(schedule="constant"),
        facts.test_the_recipe_is_nanogpts),
]  # fmt: skip


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_planted_bug_is_noticed(bug):
    assert_caught(bug)
