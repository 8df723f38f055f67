"""The baseline with labels: the mean cross-entropy over labelled pairs, nothing else."""

import pytest
import torch
import torch.nn.functional as F

from selfwise.core.rng import Rng, generator
from selfwise.methods.supervised import Supervised
from tests.helpers import cases


def test_the_loss_is_the_cross_entropy_of_image_and_its_own_label(rng):
    method = cases.build("supervised").eval()
    batch = cases.batch(Supervised)
    view = method.view(batch, rng())
    logits = method.head(method.encoder(view.x).pooled)
    by_hand = torch.stack([-F.log_softmax(row, 0)[y] for row, y in zip(logits, batch.label)])
    step = method(view)
    torch.testing.assert_close(step.loss, by_hand.mean())
    torch.testing.assert_close(step.terms["cross_entropy"].sum, by_hand.sum())
    right = (logits.argmax(1) == batch.label).float().mean()
    assert step.metrics["accuracy"].mean == pytest.approx(float(right))


def test_predict_is_what_is_trained(rng):
    method = cases.build("supervised").eval()
    view = method.view(cases.batch(Supervised), rng())
    expected = F.cross_entropy(method.predict(view.x), view.label)
    torch.testing.assert_close(method(view).loss, expected)


def test_each_image_keeps_its_label(rng):
    method = cases.build("supervised", min_crop_scale=1.0, flip_prob=0.0)
    method.augment = method.augment._replace(ratio=(1.0, 1.0))
    batch = cases.batch(Supervised)
    view = method.view(batch, rng())
    assert torch.equal(view.label, batch.label)
    torch.testing.assert_close(view.x, batch.batch.x / 255, atol=1e-6, rtol=0)


def test_views_are_those_of_simclr_with_the_same_names():
    ours = cases.build(
        "supervised", min_crop_scale=0.3, flip_prob=0.1, jitter_strength=0.7, blur_prob=0.2
    )
    theirs = cases.build(
        "simclr", min_crop_scale=0.3, flip_prob=0.1, jitter_strength=0.7, blur_prob=0.2
    )
    assert ours.augment == theirs.augment
    batch = cases.batch(Supervised)
    a = ours.view(batch, Rng(generator(0))).x
    b = theirs.view(batch.batch, Rng(generator(0))).a
    assert torch.equal(a, b)


def test_without_jitter_colours_stay():
    augment = cases.build("supervised").augment
    assert (augment.strength, augment.jitter, augment.grayscale, augment.blur) == (0, 0, 0, 0)


@pytest.mark.parametrize("classes", [0, 1])
def test_one_class_is_nothing_to_tell(classes):
    encoder = cases.build("supervised").encoder
    with pytest.raises(ValueError, match=f"two classes or more, got {classes}"):
        Supervised(encoder, size=32, classes=classes)
