"""Bugs that the tests of the supervised baseline notice."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from selfwise.core.types import Step
from selfwise.methods.supervised import Supervised
from selfwise.views.image.augment import build_supervised_augment
from tests.helpers.planted import Bug, assert_caught, changed_arguments, changed_output, make_rng
from tests.methods import test_supervised as facts


def change_terms(change):
    return changed_output(
        lambda step: Step({n: change(t) for n, t in step.terms.items()}, step.metrics)
    )


LOSS = partial(facts.test_the_loss_is_the_cross_entropy_of_image_and_its_own_label, make_rng)
LABEL = partial(facts.test_each_image_keeps_its_label, make_rng)
VIEWS = facts.test_views_are_those_of_simclr_with_the_same_names

BUGS = [
    Bug("labels are those of other images", Supervised.view,
        changed_output(lambda view: view._replace(label=view.label.roll(1))), LABEL),
    Bug("the loss reads another label", Supervised.forward,
        lambda healthy: lambda self, view: healthy(
            self, view._replace(label=(view.label + 1) % 4)), LOSS),
    Bug("pixels are not divided by 255", Supervised.view,
        changed_output(lambda view: view._replace(x=255 * view.x)), LABEL),
    Bug("images are flipped though nobody asks", build_supervised_augment,
        changed_arguments(flip_prob=1.0), LABEL),
    Bug("colours change", build_supervised_augment, changed_arguments(jitter_strength=1.0),
        facts.test_without_jitter_colours_stay),
    Bug("the size of crops is not asked for", build_supervised_augment,
        changed_arguments(min_crop_scale=0.2), VIEWS),
    Bug("the blur is not asked for", build_supervised_augment,
        changed_arguments(blur_prob=0.0), VIEWS),
    Bug("the loss is a sum over the batch", Supervised.forward,
        change_terms(lambda term: term._replace(count=torch.ones(()))), LOSS),
    Bug("the loss is a mean that is counted as a sum", Supervised.forward,
        change_terms(lambda term: term._replace(sum=term.sum / term.count)), LOSS),
    Bug("what is predicted is not what is trained", Supervised.predict,
        changed_output(lambda logits: F.dropout(logits, 0.5)),
        partial(facts.test_predict_is_what_is_trained, make_rng)),
    Bug("a class alone is a task", Supervised.__init__,
        changed_arguments(classes=lambda asked: max(asked, 2)),
        partial(facts.test_one_class_is_nothing_to_tell, 1)),
]  # fmt: skip


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_planted_bug_is_noticed(bug):
    assert_caught(bug)
