"""Bugs that the tests of colorization notice."""

from functools import partial

import pytest
import torch

from selfwise.losses.cross_entropy import soft_cross_entropy
from selfwise.methods import colorization
from selfwise.methods.colorization import Colorization
from selfwise.views.image.color_bins import (
    annealed_mean,
    has_color,
    rarity_weights,
    soft_encode,
    subsample_pixels,
)
from selfwise.views.image.color_counts import count_colors
from selfwise.views.image.color_space import lightness, rgb_to_lab
from tests.helpers.planted import Bug, assert_caught, changed_output, make_rng
from tests.methods import test_colorization as facts

TARGET = partial(facts.test_the_target_is_the_color_of_each_fourth_pixel, make_rng)
WEIGHT = partial(facts.test_a_pixel_counts_as_its_nearest_bin_is_rare, make_rng)
LOSS = partial(facts.test_the_loss_against_a_double_loop, make_rng)
GRAY = partial(facts.test_gray_images_are_left_out_of_the_loss, make_rng)
NO_COLORS = partial(facts.test_a_batch_without_colors_has_no_loss_and_no_gradient, make_rng, 1.0)
ANNEALED = facts.test_colors_are_the_annealed_mean_enlarged

BUGS = [
    Bug("a and b are exchanged", rgb_to_lab, changed_output(lambda lab: lab[:, [0, 2, 1]]), TARGET,
        within=colorization),
    Bug("the colour is the mean of 4 x 4 pixels", subsample_pixels,
        lambda _: lambda x: torch.nn.functional.avg_pool2d(x, 4), TARGET, within=colorization),
    Bug("the target is one pixel aside", subsample_pixels,
        lambda healthy: lambda x: healthy(x.roll(1, 3)), TARGET, within=colorization),
    Bug("a colour has five neighbours whatever is asked", soft_encode,
        lambda healthy: lambda ab, neighbors=5: healthy(ab, 5), TARGET, within=colorization),
    Bug("shares are those of other bins", soft_encode,
        changed_output(lambda pair: (pair[0], pair[1].flip(-1))), TARGET, within=colorization),
    Bug("rare and frequent colours count alike", rarity_weights,
        changed_output(torch.ones_like), WEIGHT, within=colorization),
    Bug("a pixel counts as its second bin is rare", Colorization.view,
        lambda healthy: lambda self, batch, rng: (lambda view: view._replace(
            weight=self.rarity[view.bins[..., 1]]))(healthy(self, batch, rng)), WEIGHT),
    Bug("frequent colours count more", rarity_weights, changed_output(lambda w: 1 / w), WEIGHT,
        within=colorization),
    Bug("the nearest bin alone is the target", soft_cross_entropy,
        lambda healthy: lambda logits, bins, share: healthy(
            logits, bins[:, :1], torch.ones_like(share[:, :1])), LOSS, within=colorization),
    Bug("the weights are left out", Colorization.forward,
        lambda healthy: lambda self, view: healthy(
            self, view._replace(weight=torch.ones_like(view.weight))), LOSS),
    Bug("gray images are learned from", has_color, changed_output(torch.ones_like), GRAY,
        within=colorization),
    Bug("gray images are counted", Colorization._count,
        lambda _: lambda self, view: torch.tensor(float(view.weight.numel())), GRAY),
    Bug("a batch without colours is divided by nothing", Colorization._count,
        changed_output(lambda count: count.round()), NO_COLORS),
    Bug("the encoder sees colours", lightness, lambda _: lambda x: 100 * x[:, :1],
        facts.test_the_encoder_sees_the_lightness_alone),
    Bug("the colour is the most likely one's opposite", annealed_mean,
        changed_output(lambda ab: -ab), ANNEALED),
    Bug("gray images are counted in the prior", has_color, changed_output(torch.ones_like),
        facts.test_the_prior_counts_the_pixels_that_are_guessed),
    Bug("every colour of the prior is counted twice", count_colors,
        changed_output(lambda found: found._replace(counts=2 * found.counts)),
        facts.test_the_prior_counts_the_pixels_that_are_guessed),
]  # fmt: skip


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_planted_bug_is_noticed(bug):
    assert_caught(bug)
