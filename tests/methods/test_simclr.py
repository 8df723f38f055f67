"""One test for each sentence of the SimCLR paper (arXiv:2002.05709) that the method keeps."""

import math

import pytest
import torch
from torch import nn

from selfwise.core.types import Features, ImageBatch
from selfwise.losses.contrastive import nt_xent
from selfwise.methods.simclr import SimCLR, TwoViews
from selfwise.nn.heads import ProjectionHead
from tests.helpers import cases


class Mean(nn.Module):
    """An encoder that one can compute by hand: the mean of each channel."""

    dim = 3

    def forward(self, x):
        return Features(x.mean(dim=(2, 3)))

    def hidden(self, x):
        return [self(x)]


def test_two_views_are_drawn_independently_from_the_same_family(rng):
    """Section 2.1: "two separate data augmentation operators sampled from the same family"."""
    method = cases.build("simclr")
    view = method.view(cases.batch(SimCLR), rng())
    assert view.a.shape == view.b.shape == (16, 3, 16, 16)
    for a, b in zip(view.a, view.b):
        assert (a - b).abs().max() > 0.02
    assert (view.a.mean() - view.b.mean()).abs() < 0.1
    assert min(view.a.min(), view.b.min()) >= 0
    assert max(view.a.max(), view.b.max()) <= 1


def test_the_loss_is_nt_xent_of_the_projections(rng):
    """Section 2.1: the loss is taken on z = g(h), h = f(x)."""
    torch.manual_seed(0)
    method = SimCLR(Mean(), size=8, proj_dim=4, temperature=0.3)
    view = method.view(cases.batch(SimCLR), rng())
    h = torch.cat([view.a.mean(dim=(2, 3)), view.b.mean(dim=(2, 3))])
    z = method.projection(h)  # batch norm sees both views together, as in the authors' code
    step = method(view)
    assert torch.allclose(step.loss, nt_xent(z[:16], z[16:], 0.3), atol=1e-6)
    assert float(step.terms["nt_xent"].count) == 32


def test_the_temperature_reaches_the_loss(rng):
    method = cases.build("simclr", temperature=0.1)
    other = cases.build("simclr", temperature=1.0)
    view = method.view(cases.batch(SimCLR), rng())
    assert method(view).loss > 1.2 * other(view).loss


def test_the_partner_metric_counts_nearest_partners():
    method = SimCLR(Mean(), size=4)
    method.projection = nn.Identity()
    eye = torch.eye(3)[:, :, None, None].expand(3, 3, 4, 4)
    matched = method(TwoViews(eye, eye)).metrics["contrastive_top1"].mean
    crossed = method(TwoViews(eye, eye.flip(0))).metrics["contrastive_top1"].mean
    assert float(matched) == 1.0
    assert float(crossed) == pytest.approx(1 / 3)


@pytest.mark.parametrize(("layers", "linears"), [(2, 2), (3, 3)])
def test_projection_head(layers, linears):
    """Section 4.2: an MLP with ReLU; the authors' code: batch norm everywhere, no last bias."""
    head = ProjectionHead(8, dim=4, layers=layers)
    kinds = [type(part).__name__ for part in head]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU"] * (linears - 1) + ["Linear", "BatchNorm1d"]
    assert head[-1].bias is None
    assert all(part.bias is None for part in head if isinstance(part, nn.Linear))
    z = head(torch.randn(64, 8))
    assert z.shape == (64, 4)
    assert z.min() < 0  # no ReLU at the end


def test_small_images_have_half_the_jitter_and_no_blur():
    """Appendix B.9: CIFAR-10 with strength 0.5 and without blur."""
    small, large = SimCLR(Mean(), size=32), SimCLR(Mean(), size=224)
    assert (small.augment.strength, small.augment.blur) == (0.5, 0.0)
    assert (large.augment.strength, large.augment.blur) == (1.0, 0.5)
    asked = SimCLR(Mean(), size=32, jitter_strength=0.0, blur_prob=0.2)
    assert (asked.augment.strength, asked.augment.blur) == (0.0, 0.2)


def test_other_images_are_negatives():
    """Section 2.1: the other 2(N - 1) augmented examples of the batch are the negatives."""
    method = SimCLR(Mean(), size=4, temperature=0.5)
    method.projection = nn.Identity()
    pair = torch.eye(3)[:2, :, None, None].expand(2, 3, 4, 4).contiguous()
    apart = method(TwoViews(pair, pair)).loss
    near = method(TwoViews(pair[:1].repeat(2, 1, 1, 1), pair[:1].repeat(2, 1, 1, 1))).loss
    # by hand, T = 0.5: two orthogonal negatives; two that are as near as the partner
    assert float(apart) == pytest.approx(-2 + math.log(math.exp(2) + 2), rel=1e-5)
    assert float(near) == pytest.approx(math.log(3), rel=1e-5)


def test_the_images_are_read_as_pixels_in_0_to_1(rng):
    method = SimCLR(Mean(), size=16, min_crop_scale=1.0, flip_prob=0.0, jitter_strength=0.0)
    method.augment = method.augment._replace(grayscale=0.0, ratio=(1.0, 1.0))
    batch = cases.batch(SimCLR)
    view = method.view(ImageBatch(batch.x, batch.index), rng())
    torch.testing.assert_close(view.a, batch.x / 255, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "options", [{"proj_layers": 4}, {"temperature": 0.0}, {"min_crop_scale": 0.0}, {"flip_prob": 2}]
)
def test_impossible_options_are_named(options):
    with pytest.raises(ValueError, match=r"proj_layers|temperature|min_crop_scale|flip_prob"):
        SimCLR(Mean(), size=16, **options)
