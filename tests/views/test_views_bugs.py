"""Bugs that the tests of the views notice."""

from functools import partial

import numpy as np
import pytest
import torch

from selfwise.views.audio import span_mask
from selfwise.views.audio.span_mask import SpanMask, count_valid_frames
from selfwise.views.image.augment import Augment, crop_boxes
from selfwise.views.image.block_mask import draw_block_masks
from selfwise.views.image.color_bins import rarity_weights, smooth_prior, soft_encode
from selfwise.views.image.color_jitter import jitter_factors
from selfwise.views.image.color_space import rgb_to_lab
from selfwise.views.text import sentence_pairs, token_mask, whole_word_mask
from selfwise.views.text.packing import plan_best_fit, plan_full_sentences
from selfwise.views.text.sentence_pairs import PairSampler
from selfwise.views.text.whole_word_mask import choose_ngrams, group_words
from tests.helpers.planted import (
    Attribute,
    Bug,
    assert_caught,
    changed_arguments,
    changed_output,
)
from tests.views.audio import test_span_mask as spans
from tests.views.image import test_augment as draws
from tests.views.image import test_block_mask as blocks
from tests.views.image import test_color_space as colors
from tests.views.text import test_packing as packing
from tests.views.text import test_sentence_pairs as pairs
from tests.views.text import test_token_mask as tokens

HIDDEN = partial(spans.test_57_percent_are_hidden, 249, 4.4)
WALK = partial(tokens.test_cover_is_the_walk_of_the_papers_code, longest=3, share=0.15)
LAB = partial(colors.test_lab_agrees_with_scikit_image, colors.random_images())
JITTER = partial(draws.test_jitter_factors_are_uniform_in_the_papers_ranges, 1.0)
OFTEN = draws.test_each_operation_comes_as_often_as_it_should
EACH_TOKEN = partial(packing.test_no_token_is_lost_and_none_is_there_twice, "best_fit", 24)


def on_many_masks(test):
    return lambda: test(blocks.drawn(8000).covered)


def half_as_often(healthy):
    """A draw below p happens with p / 2."""

    def draw(self, batch, rng):
        found = healthy(self, batch, rng)
        return found._replace(gray=found.gray & (torch.arange(len(found.gray)) % 2 == 0))

    return draw


def swap_labels(healthy):
    """What follows is called other, and what is in order swapped."""
    return lambda self, *, swap: ((a, b, 1 - y) for a, b, y in healthy(self, swap=swap))


BUGS = [
    Bug("half as many spans are drawn", SpanMask.draw,
        lambda healthy: lambda self, *given: healthy(
            self._replace(share=self.share / 2), *given), HIDDEN),
    Bug("spans are one frame longer", span_mask._expand_starts,
        lambda healthy: lambda starts, length: healthy(starts, length + 1), HIDDEN),
    Bug("one span is enough", Attribute(span_mask, "MIN_SPANS"), lambda _: 1,
        spans.test_there_are_two_spans_at_least),
    Bug("the last frame may be hidden", SpanMask.draw,
        changed_output(lambda mask: mask.roll(1, 1)),
        spans.test_starts_are_uniform_and_the_last_frame_is_seen),
    Bug("frames with a few real samples are real", count_valid_frames,
        changed_output(lambda count: count + 1),
        spans.test_a_frame_is_real_if_all_its_samples_are),
    Bug("the units are those of the frame before", SpanMask.mask_frames,
        changed_output(lambda view: view._replace(target=view.target.roll(1, 1))),
        spans.test_the_view_lists_the_hidden_frames_and_their_units),
    Bug("40 % are hidden to the patch", draw_block_masks, changed_arguments(share=0.4),
        on_many_masks(blocks.test_the_statistics_of_the_authors_code)),
    Bug("all images have one mask", draw_block_masks,
        changed_output(lambda drawn: type(drawn)(*(part[:1].expand_as(part) for part in drawn))),
        blocks.test_images_have_masks_of_their_own),
    Bug("red and blue are exchanged", rgb_to_lab,
        lambda healthy: lambda x: healthy(x.flip(1)), LAB),
    Bug("gamma is left out", rgb_to_lab, lambda healthy: lambda x: healthy(x.clamp_min(0) ** 0.9),
        LAB),
    Bug("the nearest bin has all of the share", soft_encode,
        changed_output(lambda pair: (pair[0], torch.eye(pair[1].shape[-1])[0].expand_as(pair[1]))),
        colors.test_soft_encoding_by_hand),
    Bug("the prior is not smoothed", smooth_prior,
        lambda _: lambda prior: prior / prior.sum(),
        colors.test_the_prior_is_smoothed_over_the_bins),
    Bug("frequent colours count more", rarity_weights, changed_output(lambda weight: 1 / weight),
        partial(colors.test_rare_colors_count_more, 0.5)),
    Bug("hue turns twice as far", jitter_factors,
        changed_output(lambda factors: factors * torch.tensor([1.0, 1, 1, 2])), JITTER),
    Bug("brightness only rises", jitter_factors,
        changed_output(lambda factors: torch.where(factors < 1, 2 - factors, factors)), JITTER),
    Bug("gray comes half as often", Augment._draw, half_as_often, OFTEN),
    Bug("flips and gray come together", Augment._draw,
        changed_output(lambda drawn: drawn._replace(gray=drawn.flip)), OFTEN),
    Bug("crops are smaller than asked", crop_boxes, changed_arguments(scale=(0.04, 0.5)),
        draws.test_boxes_have_the_distribution_of_torchvision),
    Bug("all images have one crop", crop_boxes,
        changed_output(lambda box: box[:1].expand_as(box)),
        draws.test_boxes_have_the_distribution_of_torchvision),
    Bug("the count is rounded up", token_mask.num_to_mask,
        lambda _: lambda length, share: (length.double() * share).ceil().long().clamp_min(1),
        partial(tokens.test_the_count_is_what_python_rounds_to, 0.15)),
    Bug("padding may be chosen", token_mask.maskable_positions,
        lambda _: lambda batch, special: ~special[batch.ids],
        tokens.test_padding_and_special_tokens_are_no_candidates),
    Bug("a word ends at each token", group_words,
        lambda healthy: lambda ids, candidate, starts: healthy(
            ids, candidate, torch.ones_like(starts)), WALK),
    Bug("a word is found across a special token", group_words,
        changed_output(lambda groups: groups._replace(joined=torch.ones_like(groups.joined))),
        tokens.test_words_begin_where_the_vocabulary_says_and_behind_a_special_token),
    Bug("n-grams of every length are equally likely", whole_word_mask._draw_ngram_lengths,
        lambda _: lambda totals, draw: 1 + (draw * len(totals)).long(),
        tokens.test_n_grams_are_drawn_with_p_proportional_to_1_over_n),
    Bug("one token more than the budget is chosen", choose_ngrams,
        changed_arguments(budget=lambda budget: budget + 1), WALK),
    Bug("next and other are exchanged", PairSampler.draw_pairs,
        swap_labels,
        pairs.test_label_0_follows_and_label_1_is_of_another_document),
    Bug("pairs in their order are called swapped", PairSampler.draw_pairs,
        swap_labels,
        pairs.test_swapped_pairs_are_following_texts_in_the_wrong_order),
    Bug("pairs are never short", Attribute(sentence_pairs, "SHORT"), lambda _: 0.0,
        pairs.test_one_pass_in_ten_aims_at_a_shorter_pair),
    Bug("a document is left out", plan_best_fit,
        lambda healthy: lambda documents, *more, **options: healthy(
            documents[1:], *more, **options), EACH_TOKEN),
    Bug("documents are in the order of the files", plan_full_sentences,
        changed_arguments(random=lambda _: np.random.default_rng(0)),
        packing.test_the_order_of_documents_is_drawn),
]  # fmt: skip


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_planted_bug_is_noticed(bug):
    assert_caught(bug)
