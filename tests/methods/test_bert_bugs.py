"""Bugs that the tests of BERT notice."""

import pytest
import torch

from selfwise.methods import bert
from selfwise.methods.bert import BERT
from selfwise.methods.method import cross_entropy_step
from selfwise.views.text import token_mask
from selfwise.views.text.token_mask import (
    apply_mask,
    choose_positions,
    maskable_positions,
    num_to_mask,
)
from tests.helpers.planted import (
    Attribute,
    Bug,
    assert_caught,
    changed_arguments,
    changed_output,
    replaced_fields,
)
from tests.methods import test_bert as facts


def on_large(test, **options):
    return lambda: test(facts.mask_large(**options))


def on_method(test):
    return lambda: test(facts.build())


def swap_labels(healthy):
    """The answers to "does B follow A" are the wrong way round."""

    def broken(name, logits, target, chosen=None):
        target = 1 - target if name == "nsp" else target
        return healthy(name, logits, target, chosen)

    return broken


SHARES = on_large(facts.test_80_10_10)
OUTSIDE = on_large(facts.test_nothing_but_the_chosen_changes_and_special_tokens_are_never_chosen)

BUGS = [
    Bug("85 % become the mask", Attribute(token_mask, "MASKED"), lambda _: 0.85, SHARES),
    Bug("20 % become a random token", Attribute(token_mask, "RANDOM"), lambda _: 0.2, SHARES),
    Bug("the random token is always one and the same", apply_mask,
        changed_arguments(other=lambda other: torch.full_like(other, 7)), SHARES),
    Bug("random tokens are never special ones", apply_mask,
        changed_arguments(other=lambda other: other.clamp_min(5)), SHARES),
    Bug("a row is masked, replaced or kept as a whole", apply_mask,
        changed_arguments(kind=lambda kind: kind[:, :1].expand_as(kind)),
        facts.test_whole_words_are_chosen_as_a_whole),
    Bug("special tokens may be chosen", maskable_positions,
        lambda _: lambda batch, special: batch.valid, OUTSIDE),
    Bug("what is not chosen is masked as well", apply_mask,
        lambda healthy: lambda batch, where, chosen, **drawn: healthy(
            batch, where, torch.ones_like(chosen), **drawn)._replace(chosen=chosen), OUTSIDE),
    Bug("shares are rounded down", num_to_mask,
        lambda _: lambda length, share: (length.double() * share).floor().long().clamp_min(1),
        on_large(facts.test_15_percent_of_all_tokens_are_chosen)),
    Bug("long rows have at most 16 masks", num_to_mask,
        changed_output(lambda count: count.clamp_max(16)),
        on_method(facts.test_masks_of_a_long_row_are_as_many)),
    Bug("the first tokens are chosen", choose_positions,
        lambda healthy: lambda candidate, score, count, k: healthy(
            candidate, torch.arange(score.shape[1]).expand_as(score) / 1000, count, k),
        on_large(facts.test_every_text_token_is_equally_likely_to_be_chosen)),
    Bug("words are split", BERT.__init__, changed_arguments(whole_word_mask=False),
        facts.test_whole_words_are_chosen_as_a_whole),
    Bug("the loss reads every position", cross_entropy_step,
        lambda healthy: lambda name, logits, target, chosen=None: healthy(name, logits, target),
        on_method(facts.test_the_loss_reads_targets_at_chosen_positions_only), within=bert),
    Bug("pairs have each other's label", cross_entropy_step, swap_labels,
        on_method(facts.test_the_loss_is_the_sum_of_both_means), within=bert),
    Bug("the scores are twice as far apart", BERT._scores,
        changed_output(lambda scores: (2 * scores[0], scores[1])),
        on_method(facts.test_the_loss_is_the_sum_of_both_means)),
    Bug("the rate is ten times the paper's", Attribute(BERT, "paper"), replaced_fields(lr=1e-3),
        facts.test_the_recipe_is_the_papers),
]  # fmt: skip


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_planted_bug_is_noticed(bug):
    assert_caught(bug)
