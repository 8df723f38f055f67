"""Bugs that the tests of RoBERTa notice."""

import pytest
import torch

from selfwise.core.rng import Rng
from selfwise.methods import roberta
from selfwise.methods.method import cross_entropy_step
from selfwise.methods.roberta import RoBERTa
from selfwise.views.text import token_mask
from selfwise.views.text.token_mask import apply_mask, maskable_positions, text_ids
from tests.helpers.planted import (
    Attribute,
    Bug,
    assert_caught,
    changed_arguments,
    changed_output,
    replaced_fields,
)
from tests.methods import test_roberta as facts


def on_large(test):
    return lambda: test(facts.mask_large())


def first_number(fixed):
    """The number that decides on rounding is always this one."""

    def change(drawn):
        drawn = drawn.clone()
        drawn[:, 0] = fixed
        return drawn

    return changed_output(change)


KEYS = on_large(facts.test_masks_are_a_function_of_seed_epoch_and_example)
COUNT = on_large(facts.test_the_count_is_rounded_up_or_down_at_random)
SHARES = on_large(facts.test_80_10_10_and_random_tokens_are_text)

BUGS = [
    Bug("every epoch has the same masks", Rng.keyed,
        lambda healthy: lambda self, keys, *shape: healthy(self, keys[:, 1:], *shape), KEYS),
    Bug("every example has the same masks", Rng.keyed,
        lambda healthy: lambda self, keys, *shape: healthy(self, keys[:, :1], *shape), KEYS),
    Bug("every seed has the same masks", Rng.keyed,
        lambda healthy: lambda self, keys, *shape: healthy(
            Rng(self.generator, seed=0), keys, *shape), KEYS),
    Bug("masks depend on the place in the batch", Rng.keyed,
        lambda healthy: lambda self, keys, *shape: self.uniform(len(keys), *shape), KEYS),
    Bug("masks are the same at every visit", Rng.keyed,
        lambda healthy: lambda self, keys, *shape: healthy(self, keys[:, 1:], *shape),
        on_large(facts.test_masks_are_dynamic)),
    Bug("the count is rounded down", Rng.keyed, first_number(0.0), COUNT),
    Bug("the count is rounded up", Rng.keyed, first_number(0.999), COUNT),
    Bug("random tokens may be special ones", text_ids,
        lambda _: lambda vocab: torch.arange(vocab.size), SHARES),
    Bug("90 % become the mask", Attribute(token_mask, "MASKED"), lambda _: 0.9, SHARES),
    Bug("no token stays as it is", Attribute(token_mask, "RANDOM"), lambda _: 0.2, SHARES),
    Bug("special tokens may be chosen", maskable_positions,
        lambda _: lambda batch, special: batch.valid,
        on_large(facts.test_special_tokens_are_never_chosen_and_the_rest_stays)),
    Bug("what is not chosen is masked as well", apply_mask,
        lambda healthy: lambda batch, where, chosen, **drawn: healthy(
            batch, where, torch.ones_like(chosen), **drawn)._replace(chosen=chosen),
        on_large(facts.test_special_tokens_are_never_chosen_and_the_rest_stays)),
    Bug("the loss reads every position", cross_entropy_step,
        lambda healthy: lambda name, logits, target, chosen=None: healthy(name, logits, target),
        facts.test_the_loss_is_the_mean_over_the_chosen, within=roberta),
    Bug("the scores are twice as far apart", RoBERTa._scores, changed_output(lambda x: 2 * x),
        facts.test_the_loss_is_the_mean_over_the_chosen),
    Bug("rows are of full sentences whatever is asked", RoBERTa.__init__,
        changed_arguments(packing="full_sentences"),
        facts.test_rows_are_of_full_sentences_or_packed),
    Bug("Adam has BERT's averages", Attribute(RoBERTa, "paper"),
        replaced_fields(betas=(0.9, 0.999)), facts.test_the_recipe_is_the_papers),
]  # fmt: skip


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_planted_bug_is_noticed(bug):
    assert_caught(bug)
