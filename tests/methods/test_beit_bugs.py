"""Bugs that the tests of BEiT notice."""

from functools import partial

import pytest
import torch

from selfwise.methods import beit
from selfwise.methods.beit import BEiT
from selfwise.methods.method import cross_entropy_step
from selfwise.views.image.block_mask import draw_block_masks
from selfwise.views.image.crop import Crop
from tests.helpers.planted import (
    Attribute,
    Bug,
    assert_caught,
    changed_arguments,
    changed_output,
    make_rng,
    replaced_fields,
)
from tests.methods import test_beit as facts


def on_seen(test):
    return lambda: test(facts.build_seen(), make_rng)


def other_views(**wrong):
    """The patches are hidden as if the view said something else."""
    return lambda healthy: (
        lambda self, view: healthy(
            self, view._replace(**{name: change(view) for name, change in wrong.items()})
        )
    )


def large_weights(healthy):
    def init(self, *args, **kwargs):
        healthy(self, *args, **kwargs)
        torch.nn.init.normal_(self.head.weight)

    return init


STAY = on_seen(facts.test_hidden_patches_are_replaced_and_all_others_stay)
LOSS = on_seen(facts.test_the_loss_is_cross_entropy_at_hidden_patches_alone)
CROP = partial(facts.test_the_units_are_those_of_the_very_crop, make_rng)
SHARE = partial(facts.test_forty_percent_in_blocks, make_rng)
RECIPE = facts.test_the_published_training
VIEW = facts.TestCrop()

BUGS = [
    Bug("hidden patches are seen", BEiT._hidden,
        other_views(covered=lambda view: torch.zeros_like(view.covered)), STAY),
    Bug("all patches are hidden", BEiT._hidden,
        other_views(covered=lambda view: torch.ones_like(view.covered)), STAY),
    Bug("patches beside the hidden ones are hidden", BEiT._hidden,
        other_views(covered=lambda view: view.covered.roll(1, 1)), STAY),
    Bug("the loss reads every place", cross_entropy_step,
        lambda healthy: lambda name, logits, target, chosen=None: healthy(name, logits, target),
        LOSS, within=beit),
    Bug("units are those of other places", BEiT.view,
        changed_output(lambda view: view._replace(target=view.target.roll(1, 1))), CROP),
    Bug("units are those of other images", BEiT._units_of,
        changed_output(lambda units: units.roll(1, 0)), CROP),
    Bug("units are those of the image without its colours' jitter", BEiT._units_of,
        lambda healthy: lambda self, x, n: healthy(self, x.clamp(0.2, 0.8), n), CROP),
    Bug("half of the patches are hidden", draw_block_masks, changed_arguments(share=0.5), SHARE),
    Bug("the share is not asked for", draw_block_masks, changed_arguments(share=0.4), SHARE),
    Bug("the head starts large", BEiT.__init__, large_weights,
        facts.test_the_head_and_the_mask_start_small),
    Bug("images lose no colour", BEiT.__init__,
        changed_arguments(jitter_strength=lambda asked: 0.0 if asked is None else asked), RECIPE),
    Bug("the rate does not grow with the batch", Attribute(BEiT, "paper"),
        replaced_fields(scaling="none"), RECIPE),
    Bug("no image is flipped", Crop.__call__,
        lambda healthy: lambda self, batch, rng: healthy(self._replace(flip=0.0), batch, rng),
        lambda: VIEW.test_flips_half_of_the_images(make_rng)),
    Bug("jitter is twice as strong", Crop.__call__,
        lambda healthy: lambda self, batch, rng: healthy(
            self._replace(jitter=2 * self.jitter), batch, rng),
        lambda: VIEW.test_jitter_changes_brightness_contrast_and_saturation_but_no_hue(make_rng)),
    Bug("pixels are not divided by 255", Crop.__call__, changed_output(lambda x: 255 * x),
        lambda: VIEW.test_the_whole_image_is_the_image(make_rng)),
]  # fmt: skip


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_planted_bug_is_noticed(bug):
    assert_caught(bug)
