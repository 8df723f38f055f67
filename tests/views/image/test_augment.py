"""What is drawn for a view: distributions, independence of samples, exact slices."""

import math
from types import SimpleNamespace

import pytest
import torch
from scipy.stats import ks_2samp, kstest
from torchvision.transforms import RandomResizedCrop

from selfwise.core.rng import Rng, generator
from selfwise.core.types import ImageBatch, slice_batch
from selfwise.views.image import augment as image
from selfwise.views.image.augment import Augment, crop_boxes, resized_crop
from selfwise.views.image.color_jitter import jitter_factors

PLAIN = {"flip": 0.0, "jitter": 0.0, "grayscale": 0.0, "blur": 0.0}


def batch(n: int, side: int = 24, channels: int = 3, seed: int = 0) -> ImageBatch:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 256, (n, channels, side, side), dtype=torch.uint8, generator=draw)
    return ImageBatch(x, torch.arange(n))


def box_by_hand(extent, shares, aspects, corner, scale, ratio):
    """RandomResizedCrop.get_params of torchvision, with numbers that are given."""
    height, width = extent
    for share, aspect in zip(shares, aspects, strict=True):
        area = height * width * (scale[0] + (scale[1] - scale[0]) * share)
        aspect = math.exp(math.log(ratio[0]) + math.log(ratio[1] / ratio[0]) * aspect)
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return [int(corner[0] * (height - h + 1)), int(corner[1] * (width - w + 1)), h, w]
    w = min(width, round(height * ratio[1]))
    h = min(height, round(width / ratio[0]))
    return [(height - h) // 2, (width - w) // 2, h, w]


@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.9, 1.0)])
def test_boxes_follow_the_rule_of_ten_attempts(scale):
    n, ratio = 400, (3 / 4, 4 / 3)
    extent = torch.randint(4, 300, (n, 2), generator=torch.Generator().manual_seed(0))
    extent[:100, 1] = extent[:100, 0] * 4  # wide: with large areas no attempt fits
    extent[100:200, 0] = extent[100:200, 1] * 4
    draws = Rng(generator(0))
    tries, corner = draws.uniform(n, 10, 2).double(), draws.uniform(n, 2).double()
    expected = [
        box_by_hand(e, t[:, 0].tolist(), t[:, 1].tolist(), c, scale, ratio)
        for e, t, c in zip(extent.tolist(), tries, corner.tolist(), strict=True)
    ]
    box = crop_boxes(extent, Rng(generator(0)), scale=scale, ratio=ratio)
    # single precision may round a side the other way, where it falls between two pixels
    same = (box == torch.tensor(expected)).all(dim=1)
    assert same.float().mean() > 0.99
    assert (box[:, :2] >= 0).all()
    assert (box[:, :2] + box[:, 2:] <= extent).all()


def test_boxes_have_the_distribution_of_torchvision():
    n, (height, width) = 4000, (60, 90)
    box = crop_boxes(torch.tensor([[height, width]]).expand(n, 2), Rng(generator(5)))
    torch.manual_seed(0)
    canvas = torch.empty(3, height, width)
    theirs = torch.tensor(
        [RandomResizedCrop.get_params(canvas, [0.08, 1], [3 / 4, 4 / 3]) for _ in range(n)]
    ).double()
    ours = box.double()
    features = (lambda b: b[:, 0], lambda b: b[:, 1], lambda b: b[:, 2] * b[:, 3])
    for feature in (*features, lambda b: b[:, 3] / b[:, 2]):
        assert ks_2samp(feature(ours).numpy(), feature(theirs).numpy()).pvalue > 1e-3


def test_boxes_stay_inside_when_the_draw_is_almost_one():
    almost = SimpleNamespace(uniform=lambda n, *shape: torch.full((n, *shape), 1 - 2**-24))
    rng = Rng(generator(0))
    rng.uniform = almost.uniform
    extent = torch.tensor([[3000, 4000]])
    box = crop_boxes(extent, rng, scale=(0.08, 0.1))
    assert (box[:, :2] + box[:, 2:] <= extent).all()


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 2.0])
def test_jitter_factors_are_uniform_in_the_papers_ranges(strength):
    factors = jitter_factors(4000, strength, Rng(generator(1)))
    low, high = max(0.0, 1 - 0.8 * strength), 1 + 0.8 * strength
    if strength == 0:
        assert torch.equal(factors, torch.tensor([1.0, 1, 1, 0]).expand(4000, 4))
        return
    for k in range(3):
        assert kstest(factors[:, k].numpy(), "uniform", (low, high - low)).pvalue > 1e-3
    uniform = (-0.2 * strength, 0.4 * strength)
    assert kstest(factors[:, 3].numpy(), "uniform", uniform).pvalue > 1e-3


def test_each_operation_comes_as_often_as_it_should():
    n = 6000
    draws = Augment(8)._draw(batch(n, 8), Rng(generator(2)))
    left = (draws.order == 4).all(dim=1)
    assert ((draws.order == 4).any(dim=1) == left).all()
    found = {
        "flip": draws.flip,
        "jitter": ~left,
        "gray": draws.gray,
        "blur": draws.blurred,
    }
    for name, p in {
        "flip": 0.5,
        "jitter": 0.8,
        "gray": 0.2,
        "blur": 0.5,
    }.items():
        bound = 4 * math.sqrt(p * (1 - p) / n)
        assert abs(found[name].float().mean().item() - p) < bound, name
    together = torch.stack([part.float() for part in found.values()])
    assert torch.corrcoef(together).fill_diagonal_(0).abs().max() < 4 / math.sqrt(n)
    assert kstest(draws.sigma.numpy(), "uniform", (0.1, 1.9)).pvalue > 1e-3
    kinds = draws.order[~left].unique(dim=0, return_counts=True)[1]
    assert len(kinds) == 24  # every order of the four operations, equally often
    assert kinds.min() > 0.6 * kinds.float().mean()


def test_every_sample_has_its_own_parameters():
    same = slice_batch(batch(1), slice(0, 1)).x.expand(20, -1, -1, -1)
    views = Augment(24)(ImageBatch(same, torch.arange(20)), Rng(generator(3)))
    assert len(views.flatten(1).unique(dim=0)) == 20


@pytest.mark.parametrize("size", [13, 32, 50])
@pytest.mark.parametrize("channels", [1, 3])
def test_slices_give_exactly_the_views_of_the_whole_batch(size, channels, monkeypatch):
    n = 37
    monkeypatch.setattr(image, "CHUNK", 5 * channels * size**2)  # whole and slices: other chunks
    images, augment = batch(n, 29, channels), Augment(size)
    whole = augment(images, Rng(generator(4)))
    for start, stop in ((0, 1), (1, 8), (8, 30), (30, 37)):
        part = slice(start, stop)
        views = augment(slice_batch(images, part), Rng(generator(4), part, n))
        assert torch.equal(views, whole[part])


def test_the_draws_do_not_depend_on_the_options():
    """Two augmentations differ in what was changed, not in every later number."""
    images = batch(64)
    drawn = [
        Augment(24, **changed)._draw(images, Rng(generator(6)))
        for changed in (
            {},
            {"strength": 0.5},
            {"grayscale": 0.0, "blur": 1.0, "strength": 1.0},
        )
    ]
    sigma, box = ([d._asdict()[name][d.row.argsort()] for d in drawn] for name in ("sigma", "box"))
    assert torch.equal(sigma[0], sigma[1])
    assert torch.equal(sigma[0], sigma[2])
    assert torch.equal(box[0], box[1])
    assert torch.equal(box[0], box[2])


def test_same_generator_same_view_and_other_generator_another():
    images, augment = batch(8), Augment(24)
    first, again, other = (augment(images, Rng(generator(seed))) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.isclose(first, other).flatten(1).all(dim=1).any()


@pytest.mark.parametrize("stored", [torch.uint8, torch.float32])
def test_the_batch_is_left_as_it_was(stored):
    images = batch(16)
    images = images._replace(x=images.x if stored == torch.uint8 else images.x / 255)
    before = images.x.clone()
    views = Augment(24)(images, Rng(generator(0)))
    assert torch.equal(images.x, before)
    assert views.dtype == torch.float32
    assert views.is_contiguous()
    assert views.min() >= 0
    assert views.max() <= 1


def test_with_everything_off_a_view_is_a_crop():
    images, augment = batch(16), Augment(20, **PLAIN)
    box = crop_boxes(torch.tensor([[24, 24]]).expand(16, 2), Rng(generator(7)))
    views = augment(images, Rng(generator(7)))
    assert torch.equal(views, resized_crop(images.x, box, 20))


def test_only_the_real_part_of_a_canvas_is_seen():
    images = batch(32, 30)
    extent = torch.tensor([[12, 17]]).expand(32, 2)
    outside = images.x.clone()
    outside[:, :, 12:], outside[:, :, :, 17:] = 255, 255
    views, same = (
        Augment(16)(ImageBatch(x, images.index, extent), Rng(generator(8)))
        for x in (images.x, outside)
    )
    assert torch.equal(views, same)


def test_an_image_with_one_channel_keeps_one():
    views = Augment(24)(batch(16, channels=1), Rng(generator(9)))
    assert views.shape == (16, 1, 24, 24)
    assert not views.isnan().any()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"size": 0}, "size"),
        ({"scale": (0.0, 1.0)}, "scale"),
        ({"scale": (0.5, 1.1)}, "scale"),
        ({"scale": (0.9, 0.5)}, "scale"),
        ({"ratio": (0.0, 1.0)}, "ratio"),
        ({"flip": 1.5}, "flip"),
        ({"jitter": -0.1}, "jitter"),
        ({"grayscale": math.nan}, "grayscale"),
        ({"blur": 2.0}, "blur"),
        ({"strength": -1.0}, "strength"),
        ({"strength": math.nan}, "strength"),
    ],
)
def test_options_out_of_range_are_refused(option, message):
    with pytest.raises(ValueError, match=f"^{message}[^\n]*$"):
        Augment(**{"size": 32, **option}).check()
    Augment(32).check()
