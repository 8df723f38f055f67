"""Bugs that the tests of SimCLR notice."""

from functools import partial

import pytest

from selfwise.core.types import Step
from selfwise.losses.contrastive import nt_xent
from selfwise.methods import simclr
from selfwise.methods.method import mean_over
from selfwise.methods.simclr import SimCLR, TwoViews
from selfwise.views.image.augment import build_simclr_augment
from tests.helpers.planted import Bug, assert_caught, changed_arguments, changed_output, make_rng
from tests.methods import test_simclr as facts

TEMPERATURE = partial(facts.test_the_temperature_reaches_the_loss, make_rng)
VIEWS = partial(facts.test_two_views_are_drawn_independently_from_the_same_family, make_rng)
LOSS = partial(facts.test_the_loss_is_nt_xent_of_the_projections, make_rng)


def encode_apart(healthy):
    """Batch norm sees each view by itself."""

    def forward(self, view):
        a, b = (self.projection(self.encoder(x).pooled) for x in view)
        loss = nt_xent(a, b, self.temperature)
        return Step({"nt_xent": mean_over(loss, 2 * len(a))}, healthy(self, view).metrics)

    return forward


BUGS = [
    Bug("the second view is the first", SimCLR.view,
        changed_output(lambda view: TwoViews(view.a, view.a)), VIEWS),
    Bug("the second view is of other strength", SimCLR.view,
        changed_output(lambda view: TwoViews(view.a, view.b / 2)), VIEWS),
    Bug("the pixels are not divided by 255", SimCLR.view,
        changed_output(lambda view: TwoViews(255 * view.a, 255 * view.b)), VIEWS),
    Bug("the temperature is the default whatever is asked", nt_xent,
        lambda healthy: lambda a, b, temperature: healthy(a, b), TEMPERATURE, within=simclr),
    Bug("the partners are those of other images", nt_xent,
        lambda healthy: lambda a, b, t: healthy(a, b.roll(1, 0), t), LOSS, within=simclr),
    Bug("each view is normalised by itself", SimCLR.forward, encode_apart, LOSS),
    Bug("an image is counted once and not twice", mean_over,
        lambda healthy: lambda value, n: healthy(value, n // 2), LOSS, within=simclr),
    Bug("only one other image is a negative", nt_xent,
        lambda healthy: lambda a, b, t: healthy(a[:1].repeat(2, 1), b[:1].repeat(2, 1), t),
        facts.test_other_images_are_negatives, within=simclr),
    Bug("an image's own other view is among the negatives of the metric", simclr._cosines,
        lambda healthy: lambda a, b: (healthy(a, b)[0], healthy(a, b)[1].clamp_min(2)),
        facts.test_the_partner_metric_counts_nearest_partners),
    Bug("small images have the jitter of large ones", build_simclr_augment,
        changed_arguments(jitter_strength=lambda asked: 1.0 if asked is None else asked),
        facts.test_small_images_have_half_the_jitter_and_no_blur),
    Bug("blur is left out everywhere", build_simclr_augment, changed_arguments(blur_prob=0.0),
        facts.test_small_images_have_half_the_jitter_and_no_blur),
]  # fmt: skip


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_planted_bug_is_noticed(bug):
    assert_caught(bug)
