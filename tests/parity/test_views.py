"""Every operation against torchvision's, one sample at a time, with the same parameters."""

import pytest
import torch
import torchvision.transforms.v2.functional as reference
from torch import Tensor
from torchvision.transforms import InterpolationMode

from selfwise.core.rng import Rng, generator
from selfwise.core.types import ImageBatch
from selfwise.views.image import color_jitter as color_jitter
from selfwise.views.image.augment import (
    Augment,
    crop_boxes,
    evaluation_view,
    gaussian_blur,
    resized_crop,
)

N = 12


def images(n: int, c: int, h: int, w: int, seed: int = 0) -> Tensor:
    """Noise with black, white, gray, saturated and exactly tied pixels among it."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.rand(n, c, h, w, generator=draw)
    x[0], x[1] = 0.0, 1.0
    x[2, :, : h // 2] = 0.3  # gray: no hue
    x[3] = (x[3] * 4).round() / 4  # ties between channels, many 0 and 1
    x[4] = 0.5 + 1e-4 * x[4]  # nearly gray: the hue hangs on the last bits
    return x


def cropped(x: Tensor, box: Tensor, size: int) -> Tensor:
    top, left, height, width = (int(value) for value in box)
    return reference.resized_crop(
        x, top, left, height, width, [size, size], InterpolationMode.BICUBIC, antialias=True
    ).clamp(0, 1)


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(32, 32, 32), (96, 80, 32), (50, 70, 96), (17, 31, 8), (300, 224, 64), (5, 5, 24)],
)
def test_resized_crop(height, width, size):
    x = images(N, 3, height, width)
    box = crop_boxes(torch.tensor([[height, width]]).expand(N, 2), Rng(generator(0)))
    box[-1] = torch.tensor([0, 0, height, width])
    box[-2] = torch.tensor([height - 1, width - 1, 1, 1])
    flip = torch.arange(N) % 2 == 0
    expected = torch.stack([cropped(a, b, size) for a, b in zip(x, box, strict=True)])
    torch.testing.assert_close(resized_crop(x, box, size), expected, atol=2e-6, rtol=0)
    mirrored = torch.where(flip.view(-1, 1, 1, 1), expected.flip(3), expected)
    torch.testing.assert_close(resized_crop(x, box, size, flip=flip), mirrored, atol=2e-6, rtol=0)


def test_resized_crop_of_bytes_is_that_of_their_values():
    x = (images(N, 3, 20, 20) * 255).round().byte()
    box = crop_boxes(torch.tensor([[20, 20]]).expand(N, 2), Rng(generator(0)))
    torch.testing.assert_close(
        resized_crop(x, box, 16), resized_crop(x.float() / 255, box, 16), atol=0, rtol=0
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("brightness", 0, 2), ("contrast", 0, 2), ("saturation", 0, 2), ("hue", -0.5, 0.5)],
)
def test_colour_operation(name, low, high, channels):
    x = images(N, channels, 20, 21)
    parameter = torch.linspace(low, high, N)[torch.randperm(N)]
    ours = getattr(color_jitter, f"adjust_{name}_")(x.clone(), parameter)
    adjust = getattr(reference, f"adjust_{name}")
    pairs = zip(x, parameter.tolist(), strict=True)
    expected = torch.stack([adjust(image, value) for image, value in pairs])
    torch.testing.assert_close(ours, expected, atol=2e-6, rtol=0)
    assert ours.min() >= 0
    assert ours.max() <= 1


def test_grayscale():
    x = images(N, 3, 20, 21)
    expected = reference.rgb_to_grayscale(x, num_output_channels=3)
    torch.testing.assert_close(color_jitter.to_grayscale(x), expected, atol=1e-6, rtol=0)
    assert torch.equal(color_jitter.to_grayscale(x[:, :1]), x[:, :1])


def jittered(x: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    for k in order.tolist():
        if k != color_jitter.LEAVE:
            name = ("brightness", "contrast", "saturation", "hue")[k]
            x = getattr(reference, f"adjust_{name}")(x, float(factors[k]))
    return x


def test_jitter_follows_each_samples_order():
    n = 64
    x = images(n, 3, 9, 10)
    factors = color_jitter.jitter_factors(n, 1.0, Rng(generator(1)))
    order = Rng(generator(2)).orders(4, n)
    order[5], order[6, 1] = color_jitter.LEAVE, color_jitter.LEAVE
    before = x.clone()
    ours = color_jitter.jitter_colors(x, factors, order)
    each = zip(x, factors, order, strict=True)
    expected = torch.stack([jittered(*sample) for sample in each])
    # contrast and saturation multiply the rounding errors of the operations before them
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        color_jitter.jitter_colors(x[7:8], factors[7:8], order[7:8]), ours[7:8]
    )
    assert torch.equal(x, before)
    assert torch.equal(ours[5], x[5])


@pytest.mark.parametrize("kernel", [1, 3, 9, 23])
def test_gaussian_blur(kernel):
    x, sigma = images(N, 3, 24, 30), torch.linspace(0.1, 2, N)
    pairs = zip(x, sigma.tolist(), strict=True)
    expected = torch.stack(
        [reference.gaussian_blur(image, [kernel, kernel], [value, value]) for image, value in pairs]
    )
    torch.testing.assert_close(gaussian_blur(x, sigma, kernel), expected, atol=3e-6, rtol=0)


@pytest.mark.parametrize("kernel", [4, -1, 21])
def test_a_wrong_blur_kernel_is_refused(kernel):
    with pytest.raises(ValueError, match="odd and at most 19"):
        gaussian_blur(torch.rand(2, 3, 10, 12), torch.ones(2), kernel)


def test_evaluation_view_leaves_an_image_of_that_size():
    x = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    view = evaluation_view(ImageBatch(x, torch.arange(4)), 32)
    assert torch.equal(view, x.float() / 255)


@pytest.mark.parametrize("fraction", [1.0, 0.875])
def test_evaluation_view_is_the_central_square_of_the_real_image(fraction):
    x = images(5, 3, 40, 50)
    extent = torch.tensor([[40, 50], [31, 20], [20, 31], [40, 40], [33, 50]])
    view = evaluation_view(ImageBatch(x, torch.arange(5), extent), 24, fraction=fraction)
    for k, (height, width) in enumerate(extent.tolist()):
        side = round(min(height, width) * fraction)
        square = reference.center_crop(x[k, :, :height, :width], [side, side])
        expected = cropped(square, torch.tensor([0, 0, side, side]), 24)
        torch.testing.assert_close(view[k], expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize(("size", "kernel"), [(40, 5), (70, 7)])
def test_augment_is_the_five_operations_in_turn(size, kernel):
    """The fast composition against torchvision, sample by sample, from the same draws."""
    n = 48
    x = (images(n, 3, 44, 60) * 255).round().byte()
    extent = torch.randint(20, 44, (n, 2))
    batch, augment = ImageBatch(x, torch.arange(n), extent), Augment(size)
    views, draws = augment(batch, Rng(generator(3))), augment._draw(batch, Rng(generator(3)))
    for k, row in enumerate(draws.row.tolist()):
        y = cropped(x[row].float() / 255, draws.box[k], size)
        y = y.flip(2) if draws.flip[k] else y
        y = jittered(y, draws.factors[k], draws.order[k])
        y = reference.rgb_to_grayscale(y, num_output_channels=3) if draws.gray[k] else y
        if draws.blurred[k]:
            y = reference.gaussian_blur(y, [kernel, kernel], [float(draws.sigma[k])] * 2)
        torch.testing.assert_close(views[row], y, atol=3e-5, rtol=0)
