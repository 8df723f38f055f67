"""Color operations on whole batches, every sample with its own parameters.

Each agrees with torchvision's function of the same name on float images. Images are float
(b c h w) in [0, 1] with three channels; with one, saturation, hue and grayscale change nothing.
A trailing underscore marks, as in torch, the function that overwrites its input.

On a CPU core `torch.where` costs thirty times as much as an addition, and a broadcast third
operand ten times: hence plain products, sums and clamps, in place while the data is in the cache.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from selfwise.core.rng import Rng

Images = Float[Tensor, "b c h w"]
PerImage = Float[Tensor, "b"]

LUMA = (0.2989, 0.587, 0.114)  # ITU-R 601-2, rounded as torchvision does
LEAVE = 4  # in an order of operations: do nothing


def to_grayscale(x: Images) -> Images:
    """Turn every channel into the pixel's gray; the number of channels stays."""
    return _gray(x).expand_as(x).contiguous()


def jitter_factors(n: int, strength: float, rng: Rng) -> Float[Tensor, "{n} 4"]:
    """Brightness, contrast, saturation and hue of each sample, uniform.

    Section 3 and appendix A of SimCLR: factors in [1 - 0.8 s, 1 + 0.8 s], not below 0, and a
    shift of the hue in [-0.2 s, 0.2 s] of the circle.
    """
    low, high = max(0.0, 1 - 0.8 * strength), 1 + 0.8 * strength
    numbers = rng.uniform(n, 4)
    factors, shift = numbers[:, :3], numbers[:, 3:]
    return torch.cat([low + (high - low) * factors, 0.4 * strength * (shift - 0.5)], dim=1)


def jitter_colors(x: Images, factors: Float[Tensor, "b 4"], order: Int64[Tensor, "b 4"]) -> Images:
    """Brightness, contrast, saturation and hue, in each sample's own order.

    `factors` holds the parameter of operations 0 (brightness), 1 (contrast), 2 (saturation) and
    3 (hue); `order[i, k]` is the operation that sample i undergoes k-th, or `LEAVE`. `order` must
    be on the CPU: how many samples share an operation decides what is launched.
    """
    return jitter_colors_(x.clone(), factors, order)


def jitter_colors_(x: Images, factors: Float[Tensor, "b 4"], order: Int64[Tensor, "b 4"]) -> Images:
    """`jitter_colors`, which may overwrite `x`."""
    factors, home = factors.to(x.device, non_blocking=True), torch.arange(len(x))
    for step in order.unbind(dim=1):
        now = step[home]
        if (now[1:] < now[:-1]).any():  # bring the samples with the same operation side by side
            now, move = now.sort(stable=True)
            home, move = home[move], move.to(x.device, non_blocking=True)
            x, factors = x.index_select(0, move), factors.index_select(0, move)
        counts = now.bincount(minlength=LEAVE + 1).tolist()
        groups = zip(x.split(counts), factors.split(counts), strict=True)
        for k, (operation, (part, factor)) in enumerate(zip(_OPERATIONS, groups, strict=False)):
            if len(part):
                operation(part, factor[:, k])
    return x.index_select(0, home.argsort().to(x.device, non_blocking=True))


def adjust_brightness_(x: Images, factor: PerImage) -> Images:
    """x * factor, clamped to [0, 1]."""
    return x.mul_(_column(factor)).clamp_(0, 1)


def adjust_contrast_(x: Images, factor: PerImage) -> Images:
    """Away from the image's mean gray (factor above 1) or towards it, clamped to [0, 1]."""
    # the mean of the gray image is the gray of the channels' means: one reduction, no gray image.
    # In two steps, because torch splits a reduction to one number among threads.
    mean = _gray(x.mean(dim=3, keepdim=True).mean(dim=2, keepdim=True))
    return x.mul_(_column(factor)).add_((1 - _column(factor)) * mean).clamp_(0, 1)


def adjust_saturation_(x: Images, factor: PerImage) -> Images:
    """Away from each pixel's gray (factor above 1) or towards it, clamped to [0, 1]."""
    if x.shape[1] == 1:
        return x
    gray = _gray(x).mul_(1 - _column(factor))
    return x.mul_(_column(factor)).add_(gray).clamp_(0, 1)


def adjust_hue_(x: Images, shift: PerImage) -> Images:
    """Turn the hue (of HSV) by `shift`, as a share of the full circle; any number."""
    """Without a round trip through HSV, whose case distinctions are the slow part.

    With lo and hi the least and greatest channel, the hue in sixths of the circle is
    +-(1 + (g + b - r - lo) / (hi - lo)), positive where g >= b: check the six sectors. Back, a
    channel whose own hue (0, 2, -2 for r, g, b) is d sixths away is
    lo + (hi - lo) * clamp(2 - d, 0, 1). For an angle in [-7, 7], around the circle, 2 - d is
    abs(abs(angle) - 3) - 1 wherever the clamp lets it be seen.
    """
    if x.shape[1] == 1:
        return x
    r, g, b = x.split(1, dim=1)
    lo = x.amin(dim=1, keepdim=True)
    chroma = x.amax(dim=1, keepdim=True).sub_(lo)
    tiny = torch.finfo(x.dtype).tiny
    angle = (g + b).sub_(r).sub_(lo).div_(chroma.clamp_min(tiny)).add_(1).copysign_(g - b)
    own = 2 * torch.arange(3, device=x.device).view(1, 3, 1, 1)
    turn = torch.remainder(6 * _column(shift) - own + 3, 6) - 3
    torch.add(angle, turn, out=x)
    x.abs_().sub_(3).abs_().clamp_(1, 2).mul_(chroma).add_(lo.sub_(chroma))
    return x.clamp_(0, 1)


_OPERATIONS = (adjust_brightness_, adjust_contrast_, adjust_saturation_, adjust_hue_)


def _gray(x: Images) -> Float[Tensor, "b 1 h w"]:
    if x.shape[1] == 1:
        return x.clone()
    r, g, b = x.split(1, dim=1)
    gray: Tensor = (r * LUMA[0]).add_(g, alpha=LUMA[1]).add_(b, alpha=LUMA[2])
    return gray


def _column(factor: PerImage) -> Float[Tensor, "b 1 1 1"]:
    return factor.view(-1, 1, 1, 1)
