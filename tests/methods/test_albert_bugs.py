"""Bugs that the tests of ALBERT notice."""

import pytest
import torch

from selfwise.methods import albert
from selfwise.methods.albert import ALBERT
from selfwise.methods.method import cross_entropy_step
from selfwise.views.text import token_mask
from selfwise.views.text.sentence_pairs import plan_next_sentence, plan_sentence_order
from selfwise.views.text.token_mask import apply_mask, maskable_positions
from selfwise.views.text.whole_word_mask import choose_ngrams, group_words
from tests.helpers.planted import (
    Attribute,
    Bug,
    assert_caught,
    changed_arguments,
    changed_output,
    replaced_fields,
)
from tests.methods import test_albert as facts


def on_large(test):
    return lambda: test(facts.mask_large())


def swap_labels(healthy):
    """The answers to "which text comes first" are the wrong way round."""

    def broken(name, logits, target, chosen=None):
        target = 1 - target if name == "sop" else target
        return healthy(name, logits, target, chosen)

    return broken


NGRAMS = on_large(facts.test_n_grams_of_whole_words_are_chosen_within_a_sentence)
COUNT = on_large(facts.test_15_percent_are_chosen_and_no_row_has_more)
SHARES = on_large(facts.test_80_10_10)
LOSS = facts.test_the_loss_is_the_sum_of_masked_and_order

BUGS = [
    Bug("words are chosen one by one", choose_ngrams, changed_arguments(longest=1), NGRAMS),
    Bug("words are split", group_words,
        lambda healthy: lambda ids, candidate, starts: healthy(
            ids, candidate, torch.ones_like(starts)), NGRAMS),
    Bug("special tokens may be chosen", maskable_positions,
        lambda _: lambda batch, special: batch.valid, NGRAMS),
    Bug("all n-grams have three words", choose_ngrams,
        changed_arguments(draw=lambda draw: torch.ones_like(draw) - 1e-6),
        facts.test_the_share_of_n_grams_falls_with_n),
    Bug("two tokens more are chosen", choose_ngrams,
        changed_arguments(budget=lambda budget: budget + 2), COUNT),
    Bug("half as many tokens are chosen", choose_ngrams,
        changed_arguments(budget=lambda budget: (budget // 2).clamp_min(1)), COUNT),
    Bug("70 % become the mask", Attribute(token_mask, "MASKED"), lambda _: 0.7, SHARES),
    Bug("no token stays as it is", Attribute(token_mask, "RANDOM"), lambda _: 0.2, SHARES),
    Bug("random tokens are never special ones", apply_mask,
        changed_arguments(other=lambda other: other.clamp_min(5)), SHARES),
    Bug("the second text is of another document", plan_sentence_order,
        lambda _: plan_next_sentence, facts.test_pairs_are_in_order_or_swapped, within=albert),
    Bug("pairs have each other's label", cross_entropy_step, swap_labels, LOSS, within=albert),
    Bug("the loss reads every position", cross_entropy_step,
        lambda healthy: lambda name, logits, target, chosen=None: healthy(name, logits, target),
        LOSS, within=albert),
    Bug("the scores are twice as far apart", ALBERT._scores,
        changed_output(lambda scores: (2 * scores[0], scores[1])), LOSS),
    Bug("it is trained with AdamW", Attribute(ALBERT, "paper"), replaced_fields(optimizer="adamw"),
        facts.test_the_recipe_is_the_papers),
]  # fmt: skip


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_planted_bug_is_noticed(bug):
    assert_caught(bug)
