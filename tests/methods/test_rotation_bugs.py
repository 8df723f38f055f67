"""Bugs that the tests of rotation notice."""

from functools import partial

import pytest

from selfwise.methods import rotation
from selfwise.methods.method import cross_entropy_step
from selfwise.methods.rotation import Rotation
from selfwise.views.image.tiles import rotate_four_ways
from selfwise.views.image.window import Shift
from tests.helpers.planted import (
    Attribute,
    Bug,
    assert_caught,
    changed_arguments,
    changed_output,
    make_rng,
    replaced_fields,
)
from tests.methods import test_rotation as facts

BY_HAND = facts.test_the_four_rotations_by_hand
ALL_FOUR = partial(
    facts.test_all_four_rotations_of_one_view_of_each_image_are_in_the_batch, make_rng
)
LOSS = facts.test_the_loss_is_the_mean_cross_entropy_over_all_turns
SHIFTS = partial(facts.test_small_images_are_shifted_by_up_to_an_eighth, make_rng)

BUGS = [
    Bug("images are turned clockwise", rotate_four_ways,
        changed_output(lambda pair: (pair[0][:, [0, 3, 2, 1]], pair[1])), BY_HAND),
    Bug("turned images are mirrored", rotate_four_ways,
        changed_output(lambda pair: (pair[0].flip(-1), pair[1])), BY_HAND),
    Bug("labels belong to other turns", rotate_four_ways,
        changed_output(lambda pair: (pair[0], (pair[1] + 1) % 4)), BY_HAND),
    Bug("turns are of different images", rotate_four_ways,
        changed_output(lambda pair: (pair[0].clone().index_copy_(
            1, pair[1][0, :1], pair[0][:, :1].roll(1, 0)), pair[1])), ALL_FOUR),
    Bug("images are not turned", rotate_four_ways,
        changed_output(lambda pair: (pair[0][:, :1].expand_as(pair[0]), pair[1])), ALL_FOUR),
    Bug("the labels are in another order than the images", cross_entropy_step,
        lambda healthy: lambda name, logits, target: healthy(name, logits, target.flip(0)), LOSS,
        within=rotation),
    Bug("the upright image alone is asked for", cross_entropy_step,
        lambda healthy: lambda name, logits, target: healthy(name, logits, target, target == 0),
        LOSS, within=rotation),
    Bug("small images are cropped", Rotation.__init__,
        changed_arguments(min_crop_scale=lambda asked: 0.08 if asked is None else asked),
        facts.test_larger_images_are_cropped_and_so_are_small_ones_if_asked),
    Bug("images are moved by up to a quarter", Shift.__call__,
        lambda healthy: lambda self, batch, rng: healthy(
            self._replace(by=2 * self.by), batch, rng), SHIFTS),
    Bug("images stay where they are", Shift.__call__,
        lambda healthy: lambda self, batch, rng: healthy(self._replace(by=0), batch, rng), SHIFTS),
    Bug("images are never flipped", Shift.__call__,
        lambda healthy: lambda self, batch, rng: healthy(self._replace(flip=0.0), batch, rng),
        partial(facts.test_half_of_the_images_are_flipped, make_rng)),
    Bug("images are always flipped", Shift.__call__,
        lambda healthy: lambda self, batch, rng: healthy(self._replace(flip=1.0), batch, rng),
        partial(facts.test_half_of_the_images_are_flipped, make_rng)),
    Bug("pixels are not divided by 255", Shift.__call__, changed_output(lambda x: 255 * x),
        partial(facts.test_pixels_are_read_as_0_to_1, make_rng)),
    Bug("weights decay less", Attribute(Rotation, "paper"), replaced_fields(weight_decay=1e-4),
        facts.test_the_recipe_is_that_of_the_authors_code),
]  # fmt: skip


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_planted_bug_is_noticed(bug):
    assert_caught(bug)
