"""One test for each sentence of the jigsaw paper (arXiv:1603.09246) that the method keeps."""

from itertools import product

import pytest
import torch
from torch import nn

from selfwise.core.types import Features, ImageBatch
from selfwise.encoders import image as image_encoders
from selfwise.methods.jigsaw import Jigsaw
from selfwise.views.image.permutations import permutation_set
from selfwise.views.image.tiles import cut_tiles, draw_corners, standardize_tiles
from selfwise.views.image.window import Window
from tests.helpers import cases


class Mean(nn.Module):
    """An encoder that one can compute by hand: the mean of each channel."""

    dim = 3

    def forward(self, x):
        return Features(x.mean(dim=(2, 3)))

    def hidden(self, x):
        return [self(x)]


def puzzle(size: int, **options) -> Jigsaw:
    return Jigsaw(Mean(), size=size, **{"embed_dim": 4, "num_permutations": 10, **options})


def places(size: int, n: int = 1, channels: int = 1) -> torch.Tensor:
    """Images whose pixels say where they are: row * size + column."""
    x = torch.arange(size * size).float().view(1, 1, size, size)
    return x.expand(n, channels, -1, -1).contiguous()


@pytest.mark.parametrize(("grid", "size"), [(2, 8), (3, 9), (3, 225)])
def test_without_gaps_the_tiles_reassemble_to_the_image(grid, size):
    x, side = torch.rand(2, 3, size, size), size // grid
    corner = torch.zeros(2, grid**2, 3, 2, dtype=torch.int64)
    cut = cut_tiles(x, corner, grid=grid, tile=side)
    rows = [torch.cat(list(cut[:, r * grid : (r + 1) * grid].unbind(1)), 3) for r in range(grid)]
    assert torch.equal(torch.cat(rows, 2), x)


def test_tiles_are_those_of_a_loop(rng):
    """Each at its own corner of its own cell, channel by channel; cells lie in the middle."""
    x = torch.rand(3, 2, 32, 32)
    corner = draw_corners(3, 2, rng(), grid=3, room=3, shift=1)
    cut = cut_tiles(x, corner, grid=3, tile=7)
    for i in range(3):
        for t in range(9):
            for c in range(2):
                down, across = (int(v) for v in corner[i, t, c])
                top, left = 1 + 10 * (t // 3) + down, 1 + 10 * (t % 3) + across
                assert torch.equal(cut[i, t, c], x[i, c, top : top + 7, left : left + 7])


def test_tiles_stay_in_their_cells_and_the_jitter_covers_them(rng):
    """ "We randomly pick a 64x64 tile in each 75x75 cell"."""
    corner = draw_corners(400, 3, rng(), grid=3, room=11, shift=0)
    assert (corner == corner[:, :, :1]).all()  # without a shift the channels stay together
    counts = torch.stack([corner[:, :, 0, axis].flatten().bincount() for axis in (0, 1)])
    assert counts.shape == (2, 12)
    assert (counts - 300).abs().max() < 5 * 300**0.5
    together = (corner[:, 0, 0] == corner[:, 1, 0]).all(dim=1).float().mean()
    assert together < 0.03  # each tile by itself
    cut = cut_tiles(places(225, 400), corner[:, :, :1], grid=3, tile=64)[:, :, 0]
    cell = torch.arange(9)
    top, left = (75 * (cell // 3))[:, None, None], (75 * (cell % 3))[:, None, None]
    row, column = cut // 225, cut % 225
    assert ((row >= top) & (row < top + 75)).all()
    assert ((column >= left) & (column < left + 75)).all()
    for offset in (row - top, column - left):
        assert (int(offset.min()), int(offset.max())) == (0, 74)


def test_channels_are_moved_against_each_other(rng):
    """ "Jittering the color channels by 0, 1 or 2 pixels"; no tile leaves its cell for it."""
    corner = draw_corners(2000, 3, rng(), grid=3, room=11, shift=2)
    assert (int(corner.min()), int(corner.max())) == (0, 11)
    apart = (corner[:, :, 0] - corner[:, :, 1]).flatten()
    share = torch.bincount(apart + 4, minlength=9).float() / len(apart)
    wanted = torch.zeros(9)
    for tile, a, b in product(range(12), range(-2, 3), range(-2, 3)):
        inside = [min(max(tile + moved, 0), 11) for moved in (a, b)]
        wanted[inside[0] - inside[1] + 4] += 1 / (12 * 5 * 5)
    assert (share - wanted).abs().max() < 0.01
    assert (corner[:, 0] - corner[:, 1]).flatten().unique().numel() == 23  # each tile by itself


def test_each_tile_has_its_own_mean_and_deviation():
    """ "We normalize the mean and the standard deviation of each tile independently"."""
    level = 0.2 + 0.8 * torch.rand(2, 9, 3, 1, 1)
    x = torch.rand(2, 9, 3, 8, 8) * level + 1 - level
    done = standardize_tiles(x).double()
    deviation = done.var(dim=(3, 4), correction=0).sqrt()
    assert (done.mean(dim=(3, 4)) - 0.5).abs().max() < 1e-5
    assert (deviation - 0.25).abs().max() < 1e-5
    # what is bright stays bright
    assert torch.equal(done.flatten(3).argmax(dim=3), x.flatten(3).argmax(dim=3))


def test_flat_tiles_are_gray_and_noise_is_not_blown_up():
    x = torch.full((1, 2, 1, 4, 4), 0.7)
    x[0, 1, 0, 0, 0] += 1 / 255
    done = standardize_tiles(x)
    assert (done[0, 0] - 0.5).abs().max() < 1e-3
    assert 0 < float((done[0, 1] - 0.5).abs().max()) < 0.26


def test_some_images_lose_their_colours(rng):
    batch = ImageBatch(torch.rand(1000, 3, 15, 15), torch.arange(1000))
    for odds in (0.0, 0.3, 1.0):
        x = puzzle(15, grayscale_prob=odds, max_channel_shift=0).view(batch, rng()).x
        gray = (x == x[:, :, :1]).flatten(1).all(dim=1)
        assert abs(float(gray.float().mean()) - odds) <= 0.07 * (0 < odds < 1)


def test_gray_is_the_usual_luma_and_goes_before_the_tiles(rng):
    batch = cases.batch(Jigsaw)
    luma = (batch.x / 255 * torch.tensor([0.2989, 0.587, 0.114])[:, None, None]).sum(1, True)
    options = {
        "grid": 2,
        "tile_size": 8,
        "min_crop_side": 1.0,
        "flip_prob": 0.0,
        "num_permutations": 2,
    }
    x = puzzle(16, grayscale_prob=1.0, **options).view(batch, rng()).x
    wanted = standardize_tiles(cut_tiles(luma, torch.zeros(16, 4, 1, 2).long(), grid=2, tile=8))
    torch.testing.assert_close(x, wanted.expand_as(x), atol=1e-4, rtol=0)


def test_the_window_is_a_random_square_of_225_to_256_of_256_pixels(rng):
    """Of the shorter side; sides in whole pixels, all as likely, anywhere in the image."""
    n = 600
    down = torch.arange(260.0).view(1, 260, 1).expand(1, 260, 300)
    across = torch.arange(300.0).view(1, 1, 300).expand(1, 260, 300)
    x = torch.cat([down, across, down]).div(300).expand(n, 3, 260, 300)
    extent = torch.tensor([[256, 300]]).expand(n, 2)
    view = Window(225, flip=0.0)(ImageBatch(x, torch.arange(n), extent), rng()).double() * 300
    side = (view[:, 1, 112, 162] - view[:, 1, 112, 62]) / 100 * 225
    assert (side - side.round()).abs().max() < 0.15  # bicubic keeps a ramp nearly straight
    assert (float(side.round().min()), float(side.round().max())) == (225, 256)
    assert abs(float(side.mean()) - 240.5) < 1.5
    top, left = (view[:, c, 112, 112] + 0.5 - side / 2 for c in (0, 1))
    for first, room in ((top, 256 - side), (left, 300 - side)):
        assert (first > -0.15).all()
        assert (first < room + 0.15).all()
        share = ((first + 0.5) / (room + 1)).clamp(0, 1)
        assert abs(float(share.mean()) - 0.5) < 0.05


def test_a_window_of_the_right_size_is_not_resampled(rng):
    n = 100
    x = torch.arange(260 * 300).float().view(1, 1, 260, 300).div(2**17).expand(n, -1, -1, -1)
    extent = torch.tensor([[256, 300]]).expand(n, 2)
    view = Window(256, min_share=1.0, flip=0.0)(ImageBatch(x, torch.arange(n), extent), rng())
    left = (view[:, 0, 0, 0] * 2**17).round().long()
    assert int(left.min()) < 3
    assert 40 < int(left.max()) <= 44
    for i in range(10):
        seen = x[i, 0, :256, left[i] : left[i] + 256]
        torch.testing.assert_close(view[i, 0], seen, atol=1e-6, rtol=0)


def test_half_of_the_images_are_flipped(rng):
    x = places(15, 1000) / 225
    view = Window(15, min_share=1.0)(ImageBatch(x, torch.arange(1000)), rng())
    mirrored = (view - x.flip(3)).abs().flatten(1).amax(dim=1) < 1e-5
    same = (view - x).abs().flatten(1).amax(dim=1) < 1e-5
    assert (mirrored ^ same).all()
    assert abs(float(mirrored.float().mean()) - 0.5) < 0.08


def test_the_label_is_the_number_of_the_order(rng):
    method = puzzle(15, num_permutations=7, repeats=5)
    batch = ImageBatch(torch.rand(400, 3, 15, 15), torch.arange(400))
    view = method.view(batch, rng())
    known = torch.from_numpy(permutation_set(9, 7).copy())
    assert torch.equal(view.order, known[view.label])
    assert view.label.shape == (400, 5)
    counts = view.label.flatten().bincount(minlength=7)
    assert (counts - 2000 / 7).abs().max() < 90
    assert (view.label[:, 0] == view.label[:, 1]).float().mean() < 0.3  # 1 / 7 by chance
    assert (view.label[0] != view.label[1]).any()


@torch.no_grad()
@pytest.mark.parametrize("grid", [2, 3])
def test_reading_features_in_many_orders_is_encoding_permuted_tiles(rng, grid):
    """What `repeats` saves: the encoder sees each tile by itself, so its place does not matter."""
    method = cases.build("jigsaw", grid=grid, repeats=3, embed_dim=8).double().eval()
    view = method.view(cases.batch(Jigsaw, 4), rng())
    x = view.x.double()
    losses, right = [], 0
    for i in range(4):
        for k in range(3):
            lying = torch.stack([x[i, int(t)] for t in view.order[i, k]])
            side_by_side = method.embed(method.encoder(lying).pooled).flatten()
            scores = method.head(side_by_side)
            losses.append(float(-scores.log_softmax(0)[view.label[i, k]]))
            right += int(scores.argmax() == view.label[i, k])
    step = method(view._replace(x=x))
    assert float(step.loss) == pytest.approx(sum(losses) / 12, rel=1e-9)
    assert float(step.terms["jigsaw_loss"].count) == 12
    assert float(step.metrics["jigsaw_accuracy"].sum) == right


def test_all_tiles_go_through_the_encoder_once(rng):
    seen = []
    method = cases.build("jigsaw")
    method.encoder.register_forward_hook(lambda _, given, __: seen.append(given[0].shape))
    method(method.view(cases.batch(Jigsaw), rng()))
    assert seen == [(16 * 9, 3, 4, 4)]


def test_what_is_known_of_the_permutations():
    method = puzzle(15, num_permutations=100)
    assert method.about == {
        "permutations": 100,
        "least_hamming": 2,
        "mean_hamming": pytest.approx(8.08),
    }
    assert puzzle(15, num_permutations=None).about["permutations"] == 100
    assert puzzle(16, grid=2, num_permutations=None).about["permutations"] == 24
    assert puzzle(15, num_permutations=100, permutation_rule="min").about["least_hamming"] == 6


def test_the_orders_are_saved_with_the_weights():
    """The outputs of the head mean nothing without them."""
    saved = puzzle(15, permutation_rule="min").state_dict()
    other = puzzle(15)
    before = other.table.clone()
    other.load_state_dict(saved)
    assert not torch.equal(before, other.table)


@pytest.mark.parametrize(
    ("size", "grid", "tile"),
    [(225, 3, 64), (255, 3, 72), (32, 3, 8), (32, 2, 14), (28, 3, 8), (15, 3, 4), (96, 3, 28)],
)
def test_sides_of_tiles(size, grid, tile):
    """64 of 75; even, as 9 pixels would cost an encoder half as much again as 8."""
    method = puzzle(size, grid=grid)
    assert (method.tile, method.room) == (tile, size // grid - tile)


def test_channels_move_less_in_small_images():
    assert puzzle(225).shift == 2
    assert puzzle(96).shift == 1
    assert puzzle(32).shift == 0
    assert puzzle(32, max_channel_shift=1).shift == 1
    assert puzzle(32, tile_size=10, max_channel_shift=1).shift == 0  # no room for it


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 14}, r"14 px are too small for 3 x 3 .* --image-size 15 .*, or --grid 2"),
        (
            {"size": 8},
            r"8 px are too small for 3 x 3 .* --image-size 15 or larger would be right$",
        ),
        (
            {"size": 9, "grid": 2},
            r"9 px are too small for 2 x 2 .* --image-size 10 or larger",
        ),
        ({"size": 32, "grid": 4}, "grid must be at least 2 and at most 3, got 4"),
        ({"size": 32, "tile_size": 11}, "tile_size must be 4 to 10 pixels"),
        ({"size": 32, "tile_size": 3}, "tile_size must be 4 to 10 pixels"),
        ({"size": 32, "num_permutations": 1}, "permutations of 9 tiles: 2 to 362,880"),
        ({"size": 32, "num_permutations": 0}, "permutations of 9 tiles: 2 to 362,880"),
        ({"size": 32, "grid": 2, "num_permutations": 25}, "permutations of 4 tiles: 2 to 24"),
        ({"size": 32, "permutation_rule": "max"}, "unknown rule 'max'"),
        ({"size": 32, "repeats": 0}, "repeats must be at least 1"),
        ({"size": 32, "embed_dim": 0}, "embed_dim must be at least 1"),
        (
            {"size": 32, "grayscale_prob": 1.5},
            "grayscale_prob must be at least 0 and at most 1, got 1.5",
        ),
        ({"size": 32, "flip_prob": -1.0}, "flip_prob must be at least 0 and at most 1, got -1"),
        ({"size": 32, "min_crop_side": 0.0}, "min_crop_side must be above 0 and at most 1, got 0"),
        ({"size": 32, "max_channel_shift": -1}, "max_channel_shift must be at least 0, got -1"),
    ],
)
def test_impossible_options_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        puzzle(**options)


def test_an_encoder_of_one_size_is_refused():
    fixed = image_encoders.build_image_encoder(
        "vit_tiny_patch16_224", in_channels=3, size=224, depth=1
    )
    with pytest.raises(ValueError, match=r"tiles of 64 px .*dynamic_img_size true"):
        Jigsaw(fixed, size=224)
    assert fixed.training


def test_a_transformer_that_takes_any_size_gets_whole_patches(rng):
    options = {"dynamic_img_size": True, "depth": 1}
    encoder = image_encoders.build_image_encoder(
        "vit_tiny_patch16_224", in_channels=3, size=224, **options
    )
    method = Jigsaw(encoder, size=224, embed_dim=8, repeats=2)
    assert method.tile == 64
    x = torch.rand(1, 3, 224, 224)
    assert torch.isfinite(method(method.view(ImageBatch(x, torch.arange(1)), rng())).loss)
    with pytest.raises(ValueError, match=r"tiles of 16 px or more .* --image-size 54"):
        Jigsaw(encoder, size=48)


def test_building_the_method_leaves_the_encoder_as_it_was():
    encoder = cases.tiny_encoder()
    encoder.model.layer1.eval()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    Jigsaw(encoder, size=16)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert encoder.training
    assert not encoder.model.layer1.training


def test_gray_images(rng):
    encoder = image_encoders.build_image_encoder("resnet18", in_channels=1, size=16, **cases.TINY)
    method = Jigsaw(encoder, size=16)
    batch = cases.batch(Jigsaw)
    view = method.view(ImageBatch(batch.x[:, :1], batch.index), rng())
    assert view.x.shape == (16, 9, 1, 4, 4)
    assert torch.isfinite(method(view).loss)


@pytest.mark.parametrize("size", [225, 255])
def test_larger_photos(rng, size):
    """Photos of several sizes on one canvas; a plain ResNet with its stride of 32."""
    from skimage import data

    photos = [data.astronaut(), data.coffee(), data.chelsea()]
    x, extent = torch.zeros(3, 3, 512, 600, dtype=torch.uint8), []
    for row, photo in zip(x, photos, strict=True):
        height, width = photo.shape[:2]
        row[:, :height, :width] = torch.from_numpy(photo).permute(2, 0, 1)
        extent.append((height, width))
    encoder = image_encoders.build_image_encoder("resnet18", in_channels=3, size=size, **cases.TINY)
    method = Jigsaw(encoder, size=size, tile_size=64)
    view = method.view(ImageBatch(x, torch.arange(3), torch.tensor(extent)), rng())
    assert view.x.shape == (3, 9, 3, 64, 64)
    assert method.shift == 2
    step = method(view)
    step.loss.backward()
    assert torch.isfinite(step.loss)
