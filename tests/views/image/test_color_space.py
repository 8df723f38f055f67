"""Lab as scikit-image has it, and the 313 bins of Zhang, Isola, Efros 2016 (arXiv:1603.08511)."""

import math

import numpy as np
import pytest
import torch
from skimage import data
from skimage.color import lab2rgb, rgb2lab

from selfwise.views.image import color_bins
from selfwise.views.image.color_space import lab_to_rgb, lightness, rgb_to_lab


def colors(step: int = 5) -> torch.Tensor:
    """All colours of a screen whose values are multiples of `step`, as one image (1 3 n 1)."""
    value = torch.arange(0, 256, step).float() / 255
    return torch.cartesian_prod(value, value, value).T[None, :, :, None]


def theirs(function, x: torch.Tensor) -> torch.Tensor:
    found = function(x.permute(0, 2, 3, 1).double().numpy())
    return torch.from_numpy(found).permute(0, 3, 1, 2)


def random_images(n: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, 40, 40, generator=torch.Generator().manual_seed(seed))


def photo() -> torch.Tensor:
    return torch.from_numpy(data.astronaut()[::2, ::2].copy()).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize("x", [random_images(), photo(), colors(15)], ids=["noise", "photo", "all"])
def test_lab_agrees_with_scikit_image(x):
    lab = rgb_to_lab(x)
    assert lab.dtype == torch.float32
    torch.testing.assert_close(lab.double(), theirs(rgb2lab, x), atol=1e-3, rtol=0)
    torch.testing.assert_close(lightness(x), lab[:, :1], atol=1e-4, rtol=0)
    torch.testing.assert_close(lab_to_rgb(lab), x, atol=1e-4, rtol=0)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_colors_that_no_screen_shows_are_cut_off_as_there():
    lab = (random_images(seed=1) - 0.5) * torch.tensor([100.0, 240.0, 240.0])[:, None, None]
    lab[:, 0] += 50
    found, wanted = lab_to_rgb(lab), theirs(lab2rgb, lab)
    torch.testing.assert_close(found.double(), wanted, atol=1e-4, rtol=0)
    assert 0.2 < (found <= 0).float().mean() < 0.8


def test_lightness_of_gray_images_is_that_of_their_value():
    x = random_images()[:, :1]
    assert torch.allclose(lightness(x), lightness(x.expand(-1, 3, -1, -1)), atol=1e-4)
    with pytest.raises(ValueError, match="1 or 3 channels, not 4"):
        lightness(torch.zeros(1, 4, 2, 2))


def test_black_has_a_slope():
    """A cube root has none at 0."""
    x = torch.zeros(1, 3, 1, 1, requires_grad=True)
    rgb_to_lab(x).sum().backward()
    assert bool(x.grad.isfinite().all())
    lab = torch.zeros(1, 3, 1, 1, requires_grad=True)
    lab_to_rgb(lab).sum().backward()
    assert bool(lab.grad.isfinite().all())


def test_half_precision_does_not_round_colors():
    x = random_images()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(rgb_to_lab(x), rgb_to_lab(x.clone()))
        torch.testing.assert_close(rgb_to_lab(x).double(), theirs(rgb2lab, x), atol=1e-3, rtol=0)
        logits = torch.zeros(2, color_bins.BINS)
        torch.testing.assert_close(
            color_bins.annealed_mean(logits),
            color_bins.bin_centers().mean(dim=0).expand(2, 2),
            atol=1e-4,
            rtol=0,
        )


def test_there_are_313_bins_in_the_published_order():
    """Section 2.1: "bins with grid size 10 and keep only the Q = 313 values which are in-gamut"."""
    points = [tuple(point) for point in color_bins.bin_centers().int().tolist()]
    assert len(points) == len(set(points)) == color_bins.BINS == 313
    assert points == sorted(points)
    assert all(a % 10 == b % 10 == 0 for a, b in points)
    assert (points[0], points[5], points[-1]) == ((-90, 50), (-80, 20), (100, 0))
    # how many of the published list have each a, -90 to 100
    rows = [5, 8, 10, 12, 14, 15, 16, 16, 17, 18, 18, 18, 19, 20, 19, 20, 20, 19, 19, 10]
    assert [sum(a == at for a, _ in points) for at in range(-90, 101, 10)] == rows
    assert [b for a, b in points if a == 0] == list(range(-70, 101, 10))


def test_the_bins_are_the_gamut_and_its_rim():
    """What a screen can show, in squares of 10: all corners of them are bins, and no bin is far."""
    ab = rgb_to_lab(colors(15))[0, 1:, :, 0].T
    points = {tuple(point) for point in color_bins.bin_centers().int().tolist()}
    low = {tuple(cell) for cell in (ab / 10).floor().int().tolist()}
    corners = {(10 * (a + i), 10 * (b + j)) for a, b in low for i in (0, 1) for j in (0, 1)}
    assert corners <= points
    assert len(points - corners) <= 16  # seven, with all 16 million colours
    nearest = torch.cdist(color_bins.bin_centers(), ab).amin(dim=1)
    assert nearest.max() < 15.3
    shown = {tuple(point) for point in (10 * (ab / 10).round()).int().tolist()}
    assert shown <= points  # the bin that a colour rounds to is there


@pytest.mark.parametrize("neighbours", [1, 5, 10])
def test_soft_encoding_is_exact(neighbours):
    """Against all 313 distances in float64, for every eighth colour of a screen and the rim."""
    ab = rgb_to_lab(colors(17))[0, 1:, :, 0].T.contiguous()
    far = torch.tensor([[-110.0, 110.0], [109.9, -109.9], [0.0, 0.0], [100.0, 60.0], [-100, 5]])
    ab = torch.cat([ab, far])
    index, share = color_bins.soft_encode(ab, neighbours)
    assert index.shape == share.shape == (len(ab), neighbours)
    distance = torch.cdist(ab.double(), color_bins.bin_centers().double())
    wanted = distance.sort(dim=1).values[:, :neighbours]
    torch.testing.assert_close(distance.gather(1, index), wanted, atol=1e-4, rtol=0)
    gaussian = (-wanted.square() / (2 * 5**2)).exp()
    gaussian = gaussian / gaussian.sum(dim=1, keepdim=True)
    torch.testing.assert_close(share.double(), gaussian, atol=1e-4, rtol=0)
    torch.testing.assert_close(share.sum(dim=1), torch.ones(len(ab)), atol=1e-6, rtol=0)
    assert all(len(set(row)) == neighbours for row in index[::500].tolist())


def test_soft_encoding_by_hand():
    """At a bin: distances 0 and four times 10. In the middle of four: 7.07 each."""
    index, share = color_bins.soft_encode(torch.tensor([[[0.0, 0.0]]]))
    assert index.shape == (1, 1, 5)
    rim = math.exp(-2)
    wanted = torch.tensor([1, rim, rim, rim, rim]) / (1 + 4 * rim)
    assert torch.allclose(share[0, 0], wanted, atol=1e-6)
    points = color_bins.bin_centers()[index[0, 0]]
    assert points[0].tolist() == [0, 0]
    assert {tuple(p) for p in points[1:].tolist()} == {(10, 0), (-10, 0), (0, 10), (0, -10)}
    index, share = color_bins.soft_encode(torch.tensor([[25.0, -5.0]]), 4)
    assert torch.allclose(share, torch.full((1, 4), 0.25))
    assert {tuple(p) for p in color_bins.bin_centers()[index[0]].tolist()} == {
        (20, 0), (20, -10), (30, 0), (30, -10)
    }  # fmt: skip
    with pytest.raises(ValueError, match="neighbors must be 1 to 313"):
        color_bins.soft_encode(torch.zeros(1, 2), 0)


def test_the_prior_is_smoothed_over_the_bins():
    """Section 2.2: a Gaussian of sigma 5; what a bin spreads stays among the bins."""
    points = color_bins.bin_centers().double()
    where = {tuple(point): i for i, point in enumerate(points.int().tolist())}
    alone = torch.zeros(313)
    alone[where[0, 0]] = 7  # not 1: frequencies may be counts
    found = color_bins.smooth_prior(alone)
    kernel = (-(points.square().sum(dim=1)) / 50).exp()
    torch.testing.assert_close(found.double(), kernel / kernel.sum(), atol=1e-7, rtol=0)
    corner = torch.zeros(313)
    corner[where[-90, 50]] = 1
    assert float(color_bins.smooth_prior(corner).sum()) == pytest.approx(1, abs=1e-6)
    assert color_bins.smooth_prior(corner)[where[0, 0]] < 1e-6


@pytest.mark.parametrize("uniform", [0.5, 0.2, 1.0])
def test_rare_colors_count_more(uniform):
    """Section 2.2: w = ((1 - lambda) p + lambda / Q)^-1, and the mean of w over p is 1."""
    random = np.random.default_rng(0)
    p = random.dirichlet(np.full(313, 0.1))
    w = 1 / ((1 - uniform) * p + uniform / 313)
    w /= (p * w).sum()
    prior = torch.from_numpy(p).float()
    found = color_bins.rarity_weights(prior, uniform)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), torch.from_numpy(w), atol=1e-4, rtol=1e-5)
    assert float((prior * found).sum()) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(color_bins.rarity_weights(3 * prior, uniform), found)


def test_the_rarest_colors_count_at_most_so_much():
    """lambda = 1/2: a colour that never occurs counts twice Q times as one that is all there is."""
    one = torch.zeros(313)
    one[7] = 1
    weight = color_bins.rarity_weights(one)
    assert float(weight[7]) == pytest.approx(1)
    assert float(weight[8]) == pytest.approx((0.5 + 0.5 / 313) / (0.5 / 313))


def test_priors_that_are_none():
    for wrong, word in (
        (torch.ones(312), "313 numbers"),
        (-torch.ones(313), "frequencies"),
        (torch.zeros(313), "frequencies"),
        (torch.full((313,), math.nan), "frequencies"),
    ):
        for function in (color_bins.rarity_weights, color_bins.smooth_prior):
            with pytest.raises(ValueError, match=word):
                function(wrong)
    with pytest.raises(ValueError, match="uniform"):
        color_bins.rarity_weights(torch.ones(313), 1.5)
    one = torch.zeros(313)
    one[0] = 1
    with pytest.raises(ValueError, match="never occur"):
        color_bins.rarity_weights(one, 0.0)


def test_the_annealed_mean_is_between_mean_and_mode():
    """Section 2.3, eq. 5: softmax of log z / T, T = 0.38, and the mean of the bins over it."""
    logits = 2 * torch.randn(6, 313, generator=torch.Generator().manual_seed(0))
    z = logits.double().softmax(dim=1)
    sharp = z.pow(1 / 0.38)
    wanted = (sharp / sharp.sum(dim=1, keepdim=True)) @ color_bins.bin_centers().double()
    torch.testing.assert_close(color_bins.annealed_mean(logits).double(), wanted, atol=1e-3, rtol=0)
    mean = z @ color_bins.bin_centers().double()
    torch.testing.assert_close(
        color_bins.annealed_mean(logits, 1.0).double(), mean, atol=1e-3, rtol=0
    )
    mode = color_bins.bin_centers()[logits.argmax(dim=1)]
    torch.testing.assert_close(color_bins.annealed_mean(logits, 1e-3), mode, atol=1e-3, rtol=0)
    sure = 100.0 * torch.eye(313)
    torch.testing.assert_close(
        color_bins.annealed_mean(sure), color_bins.bin_centers(), atol=1e-3, rtol=0
    )


def test_one_of_sixteen_pixels():
    """Section 3: ab at a quarter of the resolution; the authors' code: without averaging."""
    x = torch.arange(16.0 * 16).square().view(1, 1, 16, 16)  # no mean of neighbours is one
    assert color_bins.subsample_pixels(x)[0, 0].tolist() == [
        [(16 * (4 * i + 2) + 4 * j + 2) ** 2 for j in range(4)] for i in range(4)
    ]
    for side, wanted in ((176, 44), (32, 8), (30, 7), (31, 7), (5, 1), (3, 1), (1, 1)):
        assert color_bins.subsample_pixels(torch.zeros(1, 2, side, side)).shape == (
            1,
            2,
            wanted,
            wanted,
        )


def test_gray_images_have_no_color_above_5():
    """`NonGrayMaskLayer`: some |a| or |b| above 5 in the image."""
    ab = torch.zeros(4, 2, 2, 2)
    ab[1, 0, 1, 0], ab[2, 1, 0, 1], ab[3] = -5.1, 5.1, 5.0
    assert color_bins.has_color(ab).tolist() == [False, True, True, False]
