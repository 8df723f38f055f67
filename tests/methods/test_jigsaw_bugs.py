"""Bugs that the tests of jigsaw notice."""

from functools import partial

import pytest
import torch

from selfwise.methods import jigsaw
from selfwise.methods.jigsaw import Jigsaw
from selfwise.methods.method import cross_entropy_step
from selfwise.views.image.permutations import permutation_set
from selfwise.views.image.tiles import cut_tiles, draw_corners, standardize_tiles
from selfwise.views.image.window import Window
from tests.helpers.planted import (
    Attribute,
    Bug,
    assert_caught,
    changed_arguments,
    changed_output,
    make_rng,
)
from tests.methods import test_jigsaw as facts

WHOLE = partial(facts.test_without_gaps_the_tiles_reassemble_to_the_image, 3, 9)
CELLS = partial(facts.test_tiles_stay_in_their_cells_and_the_jitter_covers_them, make_rng)
CHANNELS = partial(facts.test_channels_are_moved_against_each_other, make_rng)
LABEL = partial(facts.test_the_label_is_the_number_of_the_order, make_rng)
ORDERS = partial(facts.test_reading_features_in_many_orders_is_encoding_permuted_tiles, make_rng, 2)
EACH = facts.test_each_tile_has_its_own_mean_and_deviation
SIDES = partial(facts.test_sides_of_tiles, 225, 3, 64)
SQUARE = partial(facts.test_a_window_of_the_right_size_is_not_resampled, make_rng)


def one_deviation(healthy):
    """All tiles of an image together have this mean and deviation."""
    return lambda x: (
        healthy(x.transpose(1, 2).flatten(2, 3)[:, None])
        .view(len(x), x.shape[2], x.shape[1], *x.shape[3:])
        .transpose(1, 2)
    )


BUGS = [
    Bug("tiles are in column order", cut_tiles,
        changed_output(lambda x: x.unflatten(1, (3, 3)).transpose(1, 2).flatten(1, 2)), WHOLE),
    Bug("tiles are mirrored", cut_tiles, changed_output(lambda x: x.flip(-1)), WHOLE),
    Bug("tiles lie in the corner of their cells", draw_corners,
        changed_output(torch.zeros_like), CELLS),
    Bug("all tiles of an image have one place", draw_corners,
        changed_output(lambda corner: corner[:, :1].expand_as(corner)), CELLS),
    Bug("tiles leave their cells", draw_corners, changed_output(lambda corner: corner + 1), CELLS),
    Bug("channels are moved by one pixel at most", draw_corners, changed_arguments(shift=1),
        CHANNELS),
    Bug("the channels of all tiles are moved alike", draw_corners,
        changed_output(lambda corner: corner[:, :1].expand_as(corner)), CHANNELS),
    Bug("tiles have one deviation for all", standardize_tiles, one_deviation, EACH),
    Bug("what is dark becomes bright", standardize_tiles, changed_output(lambda x: 1 - x), EACH),
    Bug("labels belong to other orders", Jigsaw.view,
        changed_output(lambda view: view._replace(label=(view.label + 1) % 7)), LABEL),
    Bug("an image has one order alone", Jigsaw.view,
        changed_output(lambda view: view._replace(
            order=view.order[:, :1].expand_as(view.order),
            label=view.label[:, :1].expand_as(view.label))), LABEL),
    Bug("tiles are put where the order says and not read from there", Jigsaw._scores,
        lambda healthy: lambda self, x, order: healthy(self, x, order.argsort(dim=2)), ORDERS),
    Bug("tiles are not permuted", Jigsaw._scores,
        lambda healthy: lambda self, x, order: healthy(self, x, order.sort(dim=2).values), ORDERS),
    Bug("labels are in another order than the scores", cross_entropy_step,
        lambda healthy: lambda name, logits, target: healthy(name, logits, target.flip(0)), ORDERS,
        within=jigsaw),
    Bug("tiles fill their cells", Attribute(jigsaw, "TILE_SHARE"), lambda _: 1.0, SIDES),
    Bug("permutations are the first ones there are", permutation_set,
        lambda healthy: lambda tiles, count, rule="mean": healthy(tiles, count, rule="min"),
        facts.test_what_is_known_of_the_permutations),
    Bug("images keep their colours", Jigsaw.__init__, changed_arguments(grayscale_prob=0.0),
        partial(facts.test_some_images_lose_their_colours, make_rng)),
    Bug("the window is always whole", Window.__call__,
        lambda healthy: lambda self, batch, rng: healthy(self._replace(min_share=1.0), batch, rng),
        partial(facts.test_the_window_is_a_random_square_of_225_to_256_of_256_pixels, make_rng)),
    Bug("the window is always mirrored", Window.__call__,
        lambda healthy: lambda self, batch, rng: healthy(self._replace(flip=1.0), batch, rng),
        partial(facts.test_half_of_the_images_are_flipped, make_rng)),
    Bug("the window is mirrored though nobody asks", Window.__call__,
        changed_output(lambda x: x.flip(3)), SQUARE),
]  # fmt: skip


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_planted_bug_is_noticed(bug):
    assert_caught(bug)
