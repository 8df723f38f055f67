"""Cues that give the order of tiles away, and what becomes of them (arXiv:1603.09246).

Each test first solves the puzzle by its cue alone, on tiles without the defence, so that it can
fail; then the view of the method has to be left with (next to) nothing of it.
"""

import pytest
import torch
import torch.nn.functional as F
from skimage import data
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from selfwise.core.rng import Rng, generator
from selfwise.core.types import Features, ImageBatch
from selfwise.methods import jigsaw
from selfwise.methods.jigsaw import Jigsaw
from selfwise.views.image.augment import evaluation_view, resized_crop

PLACE = torch.arange(9)
WHOLE = {"min_crop_side": 1.0, "flip_prob": 0.0}  # the image as it is


class Any(nn.Module):
    """What the view does not need."""

    dim = 1

    def forward(self, x):
        return Features(x.mean(dim=(1, 2, 3))[:, None])

    def hidden(self, x):
        return [self(x)]


def cut(x: Tensor, **options) -> Tensor:
    """The tiles (b 9 c h w) of images in 0..1 as the method shows them."""
    method = Jigsaw(
        Any(), size=x.shape[2], num_permutations=2, **{**WHOLE, "grayscale_prob": 0.0, **options}
    )
    rng = Rng(generator(0, "view"))
    return method.view(ImageBatch(x, torch.arange(len(x))), rng).x


@pytest.fixture
def bare(monkeypatch):
    """A function: as `cut`, without standardising the tiles."""

    def without(x: Tensor, **options) -> Tensor:
        with monkeypatch.context() as patch:
            patch.setattr(jigsaw, "standardize_tiles", lambda tiles: tiles)
            return cut(x, **options)

    return without


def texture(n: int, size: int, *, coarse: int, channels: int = 1) -> Tensor:
    """Clouds with as many random values as `coarse`: the same statistics everywhere."""
    drawn = torch.rand(n, channels, coarse, coarse, generator=generator(0, "clouds"))
    return F.interpolate(drawn, size, mode="bicubic").clamp(0, 1)


def ranked(cue: Tensor) -> float:
    """How often the rank of a tile's cue (b 9) among its image's tiles is its place."""
    return float((cue.argsort(dim=1).argsort(dim=1) == PLACE).float().mean())


def test_the_brightness_of_a_tile_gives_its_place_away_until_it_is_normalised(bare):
    """Light that falls from above, and a little from the left: the order of the means."""
    across = torch.linspace(0, 1, 225)
    light = 0.6 * across[:, None] + 0.15 * across
    x = 0.2 * texture(32, 225, coarse=75) + light
    assert ranked(bare(x).mean(dim=(2, 3, 4))) > 0.95
    means = cut(x).double().mean(dim=(2, 3, 4))
    assert (means - 0.5).abs().max() < 1e-5  # nothing is left to be ranked


def test_the_contrast_of_a_tile_gives_its_place_away_until_it_is_normalised(bare):
    """Haze: the same mean, and less contrast from place to place."""
    steps = (9 - PLACE.float()).view(3, 3) / 9
    x = 0.5 + (texture(32, 225, coarse=75) - 0.5) * F.interpolate(steps[None, None], 225)

    def spread(tiles: Tensor) -> Tensor:
        return -tiles.double().flatten(2).std(dim=2)

    assert ranked(spread(bare(x))) > 0.95
    assert (spread(cut(x)) - spread(cut(x)).mean()).abs().max() < 1e-4


def matched(tiles: Tensor) -> float:
    """How often the tile whose left edge is most like a tile's right edge lies right of it."""
    left, right = tiles[..., 0].flatten(2), tiles[..., -1].flatten(2)
    cost = torch.cdist(right, left)
    cost += torch.eye(9) * 1e9
    best = cost.argmin(dim=2)
    has = PLACE % 3 < 2
    return float((best == PLACE + 1)[:, has].float().mean())


def test_edges_that_go_on_in_the_next_tile_solve_the_puzzle_until_there_are_gaps():
    """Gaps of 0 to 22 pixels: a texture that changes within five is not to be followed."""
    x = texture(48, 225, coarse=45, channels=3)
    assert matched(cut(x, tile_size=75, max_channel_shift=0)) > 0.95
    chance = 1 / 8
    assert matched(cut(x)) < chance + 0.08  # 288 edges: four standard deviations


@pytest.mark.parametrize("size", [225, 255])
def test_edges_of_photos_match_less_behind_gaps(bare, size):
    """In photos lines go on for longer than a gap, which is no shortcut: chance is 0.125."""
    x = photos(size)
    assert matched(bare(x, tile_size=size // 3, max_channel_shift=0)) > 0.95
    assert matched(cut(x, tile_size=64)) < 0.6


def photos(size: int) -> Tensor:
    """The central squares of five photos that come with scikit-image."""
    squares = []
    for name in ("astronaut", "coffee", "chelsea", "rocket", "cat"):
        photo = torch.from_numpy(getattr(data, name)()).permute(2, 0, 1)
        batch = ImageBatch(photo[None].contiguous(), torch.zeros(1, dtype=torch.int64))
        squares.append(evaluation_view(batch, size))
    return torch.cat(squares)


def aberrated(n: int, size: int, most: float) -> Tensor:
    """Gray clouds whose red is larger than the rest: moved out by `most` pixels at the edge."""
    x = texture(n, size, coarse=56).expand(-1, 3, -1, -1).clone()
    place = torch.linspace(-1, 1, size) * (1 - 2 * most / size)
    grid = torch.stack(torch.meshgrid(place, place, indexing="xy"), dim=2)
    x[:, :1] = F.grid_sample(x[:, :1], grid.expand(n, -1, -1, -1), align_corners=True)
    return x


def displaced(tiles: Tensor) -> Tensor:
    """By how much red is moved against green in each tile, (b 9 2) down and across, in pixels."""
    red, green = (tiles[:, :, c] for c in (0, 1))
    red, green = (part - part.mean(dim=(2, 3), keepdim=True) for part in (red, green))
    both = torch.fft.rfft2(red) * torch.fft.rfft2(green).conj()
    peak = torch.fft.irfft2(both, s=red.shape[2:]).flatten(2).argmax(dim=2)
    side = red.shape[2]
    moved = torch.stack([peak // side, peak % side], dim=2)
    return (moved + side // 2) % side - side // 2


def placed(tiles: Tensor) -> float:
    """How often the sign of the displacement says in which row, and in which column, a tile is."""
    wanted = torch.stack([PLACE // 3, PLACE % 3], dim=1) - 1
    return float((displaced(tiles).sign() == wanted).float().mean())


def test_chromatic_aberration_gives_the_place_away_until_the_colours_are_gone():
    x = aberrated(16, 225, most=3.0)
    assert placed(cut(x, max_channel_shift=0)) > 0.9
    gray = cut(x, max_channel_shift=0, grayscale_prob=1.0)
    assert (gray == gray[:, :, :1]).all()
    assert placed(gray) == pytest.approx(1 / 3)  # no displacement: the middle, for all


def test_channels_that_are_moved_blur_chromatic_aberration():
    x = aberrated(16, 225, most=3.0)
    assert placed(cut(x)) < 0.7


def test_gray_images_stay_gray_when_channels_are_moved():
    """Or else they would have coloured edges; the paper moves the channels of colour images."""
    tiles = cut(aberrated(128, 75, most=1.0), grayscale_prob=0.3, max_channel_shift=2)
    gray = (tiles == tiles[:, :, :1]).flatten(1).all(dim=1).float().mean()
    assert 0.15 < float(gray) < 0.45


def told_by_blur(tiles: Tensor) -> float:
    """How often a linear classifier places a tile by how much each of its pixels is blurred."""
    cue = (tiles - 0.5).square().mean(dim=2).flatten(2)
    half = len(cue) // 2
    known, asked = cue[:half].flatten(0, 1).numpy(), cue[half:].flatten(0, 1).numpy()
    fit = LogisticRegression(max_iter=300).fit(known, PLACE.repeat(half).numpy())
    return float(fit.score(asked, PLACE.repeat(len(cue) - half).numpy()))


def test_resampling_by_one_factor_gives_the_place_away_until_the_factor_is_drawn():
    """28 of 32 pixels made 32 again: every eighth pixel is sharp, in the same places each time.

    On CIFAR-10 the encoder found this (docs/log.md): 71 % of 100 orders after 300 steps, and 18 %
    where the factor is drawn.
    """
    x = torch.rand(1200, 1, 32, 32, generator=generator(0, "noise"))
    box = torch.tensor([[2.0, 2.0, 28.0, 28.0]]).expand(len(x), 4)
    assert told_by_blur(cut(resized_crop(x, box, 32))) > 0.3  # chance is 0.111
    assert (
        told_by_blur(cut(x, min_crop_side=0.6)) < 0.111 + 0.02
    )  # 5,400 tiles: four standard deviations
