"""CIE Lab: lightness L in 0 to 100 and the two color axes a (green to red), b (blue to yellow).

sRGB (IEC 61966-2-1) under D65 for the 2 degree observer, with the constants of scikit-image, so
that the numbers agree with its `rgb2lab` and `lab2rgb`. Sums of products are written out, because
a matrix product in half precision would keep eight bits of a color.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

# linear RGB to XYZ, row by row, and back; the inverse is that of these very numbers
TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
TO_RGB = tuple(tuple(row) for row in torch.tensor(TO_XYZ, dtype=torch.float64).inverse().tolist())
WHITE = (0.95047, 1.0, 1.08883)
KNEE = 0.008856  # below it the cube root is a straight line, whose slope has no end at 0


def rgb_to_lab(x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Lab of sRGB in 0 to 1: L in 0 to 100, a and b within -108 to 99."""
    linear = _linear(x)
    fx, fy, fz = (
        _root(_sum(linear, row).div_(white)) for row, white in zip(TO_XYZ, WHITE, strict=True)
    )
    return torch.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], dim=1)


def lightness(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 h w"]:
    """L in 0 to 100 of sRGB in 0 to 1, and of images that are gray already.

    Raises ValueError if the images have neither 1 nor 3 channels.
    """
    if x.shape[1] not in (1, 3):
        raise ValueError(f"lightness needs images of 1 or 3 channels, not {x.shape[1]}")
    linear = _linear(x)
    if x.shape[1] == 3:
        linear = _sum(linear, TO_XYZ[1])[:, None]
    return 116 * _root(linear) - 16


def lab_to_rgb(x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """sRGB of Lab; colors that a screen cannot show are cut off at 0 and 1."""
    lightness, a, b = x.unbind(1)
    fy = (lightness + 16) / 116
    parts = (fy + a / 500, fy, (fy - b / 200).clamp_min(0))
    xyz = [_cube(part) * white for part, white in zip(parts, WHITE, strict=True)]
    linear = torch.stack([_sum(torch.stack(xyz, dim=1), row) for row in TO_RGB], dim=1)
    bright = 1.055 * linear.clamp_min(0.0031308).pow(1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, bright, 12.92 * linear).clamp(0, 1)


def _sum(x: Float[Tensor, "b 3 h w"], weights: Sequence[float]) -> Float[Tensor, "b h w"]:
    first, second, third = x.unbind(1)
    total = (first * weights[0]).add_(second, alpha=weights[1])
    return total.add_(third, alpha=weights[2])


# Where something is written over it is our own: on a CPU these images are large, and each new one
# costs as much as the arithmetic.


def _linear(x: Tensor) -> Tensor:
    """Light, in proportion to what a screen sends out."""
    return torch.where(x > 0.04045, (x + 0.055).div_(1.055).pow_(2.4), x / 12.92)


def _root(x: Tensor) -> Tensor:
    # not below the knee: the slope of a cube root at 0 is infinite, and times 0 it is NaN
    return torch.where(x > KNEE, x.clamp_min(KNEE).pow_(1 / 3), (7.787 * x).add_(16 / 116))


def _cube(x: Tensor) -> Tensor:
    return torch.where(x > 0.2068966, x.pow(3), (x - 16 / 116) / 7.787)
