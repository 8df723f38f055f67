"""Resizing and blurring as products with banded matrices, one for each sample and axis.

Each row of the result mixes a few rows of the image. `embedding_bag` computes just that, at 224
pixels forty times as fast as a dense product on a CPU core. Columns become rows by transposing in
between.
"""

from math import ceil
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor


class BandedMatrix(NamedTuple):
    """A banded matrix for each sample: pixel i is the sum over k of weight[i, k] * row[i, k]."""

    row: Int64[Tensor, "b s k"]
    weight: Float[Tensor, "b s k"]


def apply_bands(x: Float[Tensor, "b c h w"], mix: BandedMatrix) -> Float[Tensor, "b c s w"]:
    """Return the product of each sample's banded matrix with its image, channel by channel."""
    (n, c, height, width), (_, size, taps) = x.shape, mix.row.shape
    planes = torch.arange(0, n * c * height, height, device=x.device).view(n, c, 1, 1)
    bags = (planes + mix.row[:, None]).view(-1, taps)
    weight = mix.weight[:, None].expand(n, c, size, taps).reshape(-1, taps)
    sums = F.embedding_bag(bags, x.view(-1, width), mode="sum", per_sample_weights=weight)
    return sums.view(n, c, size, width)


def bicubic_bands(
    start: Float[Tensor, "b"], length: Float[Tensor, "b"], size: int, full: int
) -> BandedMatrix:
    """Return how `size` pixels are made of the `length` pixels from `start` on, of `full` at most.

    Keys' cubic convolution with a = -0.5, stretched by the scale where it shrinks (antialiasing);
    at the border the weights that remain are rescaled to sum to 1.
    """
    scale = (length / size)[:, None]
    stretch = scale.clamp_min(1)
    centre = (torch.arange(size, device=start.device) + 0.5) * scale
    first = (centre - 2 * stretch + 0.5).floor()
    # as many taps as the whole side would need: known without looking at the lengths
    taps = torch.arange(ceil(4 * max(1, full / size)), device=start.device)
    at = first[:, :, None] + taps
    far = ((at + 0.5 - centre[:, :, None]) / stretch[:, :, None]).abs_()
    last = (length - 1)[:, None, None]
    weight = _keys(far).mul_((at >= 0) & (at <= last))
    weight /= weight.sum(dim=2, keepdim=True)
    row = at.clamp_min(0).minimum(last).add_(start[:, None, None])
    return BandedMatrix(row.long(), weight)


def _keys(far: Float[Tensor, "b s k"]) -> Float[Tensor, "b s k"]:
    """Return keys 1981 with a = -0.5.

    1.5 d^3 - 2.5 d^2 + 1 up to d = 1, from there -0.5 (d - 1) (d - 2)^2 up to 2.
    """
    near, beyond = far.clamp(max=1), far.clamp(1, 2)
    inner = (1.5 * near).sub_(2.5).mul_(near).mul_(near).add_(1)
    return inner.sub_((beyond - 1).mul_((beyond - 2).square_()).mul_(0.5))


def mirror_bands(mix: BandedMatrix, flip: Bool[Tensor, "b"]) -> BandedMatrix:
    """Return the same matrices, with the rows of the flipped samples in reverse order."""
    size = mix.row.shape[1]
    order = torch.arange(size, device=flip.device) - flip[:, None] * (size - 1)
    order = order.abs_()[:, :, None]
    return BandedMatrix(mix.row.take_along_dim(order, 1), mix.weight.take_along_dim(order, 1))


def gaussian_bands(sigma: Float[Tensor, "b"], size: int, kernel: int) -> BandedMatrix:
    """Return a Gaussian window on each of `size` pixels, mirrored at the border."""
    offset = torch.arange(kernel, device=sigma.device) - kernel // 2
    window = (offset / sigma[:, None]).square_().mul_(-0.5).exp_()
    window /= window.sum(dim=1, keepdim=True)
    row = (torch.arange(size, device=sigma.device)[:, None] + offset).abs_()
    row = (size - 1) - (size - 1 - row).abs_()
    each = (len(sigma), size, kernel)
    return BandedMatrix(row.expand(each), window[:, None].expand(each))
