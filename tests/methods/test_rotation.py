"""One test for each sentence of RotNet (arXiv:1803.07728) that the method keeps."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from selfwise.core.types import Features, ImageBatch
from selfwise.methods.rotation import RotatedImages, Rotation
from selfwise.views.image.crop import Crop
from selfwise.views.image.tiles import rotate_four_ways
from selfwise.views.image.window import Shift
from tests.helpers import cases


class Corners(nn.Module):
    """An encoder that sees the four corner pixels of the first channel."""

    dim = 4

    def forward(self, x):
        return Features(x[:, 0][:, [0, 0, -1, -1], [0, -1, 0, -1]])

    def hidden(self, x):
        return [self(x)]


def places(size: int, n: int = 1) -> ImageBatch:
    """Float images whose pixels say where they are: 1 + row * size + column, over 4096."""
    x = (1 + torch.arange(size * size).view(1, 1, size, size).float()) / 4096
    return ImageBatch(x.expand(n, 3, -1, -1), torch.arange(n))


def test_the_four_rotations_by_hand():
    """Counterclockwise, as the authors' code: its 90 is the transpose upside down."""
    x = torch.tensor([[1.0, 2], [3, 4]])[None, None]
    turned, label = rotate_four_ways(x)
    assert turned[0, :, 0].tolist() == [
        [[1, 2], [3, 4]],
        [[2, 4], [1, 3]],
        [[4, 3], [2, 1]],
        [[3, 1], [4, 2]],
    ]
    assert label.tolist() == [[0, 1, 2, 3]]


def test_rotations_are_exact_and_of_each_image():
    """No interpolation: the pixels are the same numbers; channels and images stay apart."""
    x = torch.rand(3, 2, 5, 5)
    turned, label = rotate_four_ways(x)
    for i in range(3):
        for turn in range(4):
            for c in range(2):
                for row in range(5):
                    for column in range(5):
                        here = [(row, column), (column, 4 - row)][turn % 2]
                        if turn > 1:
                            here = (4 - here[0], 4 - here[1])
                        assert turned[i, turn, c, row, column] == x[i, c, *here]
    assert (label == torch.arange(4)).all()


def test_all_four_rotations_of_one_view_of_each_image_are_in_the_batch(rng):
    """Section 2: of the same image, so that nothing but the turn tells them apart."""
    view = cases.build("rotation").view(cases.batch(Rotation), rng())
    assert view.x.shape == (16, 4, 3, 16, 16)
    for turn in range(4):
        assert torch.equal(torch.rot90(view.x[:, turn], -turn, (2, 3)), view.x[:, 0])


@torch.no_grad()
def test_the_loss_is_the_mean_cross_entropy_over_all_turns():
    torch.manual_seed(0)
    method = Rotation(Corners(), size=8).double()
    x = torch.rand(5, 3, 8, 8, dtype=torch.float64)
    step = method(RotatedImages(*rotate_four_ways(x)))
    losses, right = [], 0
    for image in x:
        for turn in range(4):
            seen = torch.rot90(image, turn, (1, 2))[None]
            scores = method.head(Corners()(seen).pooled)[0]
            losses.append(float(-scores.log_softmax(0)[turn]))
            right += int(scores.argmax() == turn)
    assert float(step.loss) == pytest.approx(sum(losses) / 20, rel=1e-9)
    assert float(step.terms["rotation_loss"].count) == 20
    assert float(step.metrics["rotation_accuracy"].sum) == right


def test_small_images_are_shifted_by_up_to_an_eighth(rng):
    """The authors' code for CIFAR: a crop of 32 pixels of the image with 4 of padding."""
    n = 2000
    view = Rotation(Corners(), size=32, flip_prob=0.0).upright(places(32, n), rng())
    down, across = torch.zeros(n, dtype=torch.int64), torch.zeros(n, dtype=torch.int64)
    whole = F.pad(places(32).x, [4] * 4)[0]
    for i, image in enumerate(view):
        seen = int((image[0, 16, 16] * 4096).round()) - 1
        down[i], across[i] = seen // 32 - 16, seen % 32 - 16
        top, left = 4 + int(down[i]), 4 + int(across[i])
        assert torch.equal(image, whole[:, top : top + 32, left : left + 32])
    for moved in (down, across):
        counts = torch.bincount(moved + 4, minlength=9)
        assert len(counts) == 9
        assert counts.min() > n / 9 - 75  # five standard deviations
    assert (down == across).float().mean() < 0.2


def test_half_of_the_images_are_flipped(rng):
    n = 1000
    shift = Shift(16, 0)
    view = shift(places(16, n), rng())
    same = (view == places(16, n).x).flatten(1).all(dim=1)
    mirrored = (view == places(16, n).x.flip(3)).flatten(1).all(dim=1)
    assert (same ^ mirrored).all()
    assert abs(float(mirrored.float().mean()) - 0.5) < 0.08


def test_pixels_are_read_as_0_to_1(rng):
    batch = cases.batch(Rotation)
    view = Shift(16, 0, flip=0.0)(batch, rng())
    assert torch.equal(view, batch.x / 255)


@pytest.mark.parametrize("extent", [None, [[40, 60], [32, 50]]])
def test_other_shapes_are_brought_to_a_square_first(rng, extent):
    """Turned at a square size: nothing is cut off, and there are no black corners."""
    x = torch.full((2, 3, 40, 60), 200, dtype=torch.uint8)
    x[:, :, :, :30] = 100
    extent = None if extent is None else torch.tensor(extent)
    view = Shift(32, 0, flip=0.0)(ImageBatch(x, torch.arange(2), extent), rng())
    assert view.shape == (2, 3, 32, 32)
    assert view[:, :, :, :6].mul(255).round().eq(100).all()
    assert view[:, :, :, -6:].mul(255).round().eq(200).all()


def test_larger_images_are_cropped_and_so_are_small_ones_if_asked():
    def upright(size, **options):
        return Rotation(Corners(), size=size, **options).upright

    assert upright(64) == Shift(64, 8)
    assert upright(65) == Crop(65, scale=(0.08, 1.0))
    assert upright(32, min_crop_scale=0.5, flip_prob=0.0) == Crop(32, scale=(0.5, 1.0), flip=0.0)


def test_gray_images(rng):
    encoder = cases.image_encoders.build_image_encoder(
        "resnet18", in_channels=1, size=16, **cases.TINY
    )
    batch = cases.batch(Rotation)
    method = Rotation(encoder, size=16)
    view = method.view(ImageBatch(batch.x[:, :1], batch.index), rng())
    assert view.x.shape == (16, 4, 1, 16, 16)
    assert torch.isfinite(method(view).loss)


def test_the_recipe_is_that_of_the_authors_code():
    told = Rotation.paper
    assert (told.optimizer, told.lr, told.base_batch, told.batch_size) == ("sgd", 0.1, 128, 128)
    assert told.weight_decay == 5e-4
    assert not Rotation.couples_batch


@pytest.mark.parametrize(
    "options",
    [{"min_crop_scale": 0.0}, {"min_crop_scale": 1.5}, {"flip_prob": 2.0}, {"flip_prob": -0.1}],
)
def test_impossible_options_are_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Rotation(Corners(), size=32, **options)
