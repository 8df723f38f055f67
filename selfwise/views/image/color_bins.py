"""The 313 colors that an image can be made of, and how rare each is.

Zhang, Isola, Efros 2016 (arXiv:1603.08511), section 2: the plane of a and b in squares of 10.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

GRID = 10  # between two bins, in units of Lab
STRIDE = 4  # of the pixels whose color is guessed
SIGMA = 5.0  # of the Gaussian, section 2.1
TEMPERATURE = 0.38  # of the annealed mean, section 2.3
GRAY = 5.0  # an image with no |a| or |b| above it is gray; `NonGrayMaskLayer` of the authors' code
# The bins as the authors published them (`pts_in_hull.npy`), of which this is the whole: for each
# a the first and the last b, everything between included. The paper calls them "in gamut". Grid
# points that are a color for some L are 228; corners of squares that hold a color are 306. All
# of these are among the 313, and no bin is 15 away from a color; how the last seven came in is
# not said. Networks and priors that others have trained count on this list and its order.
ROWS = {
    -90: (50, 90), -80: (20, 90), -70: (0, 90), -60: (-20, 90), -50: (-30, 100),
    -40: (-40, 100), -30: (-50, 100), -20: (-50, 100), -10: (-60, 100), 0: (-70, 100),
    10: (-80, 90), 20: (-80, 90), 30: (-90, 90), 40: (-100, 90), 50: (-100, 80),
    60: (-110, 80), 70: (-110, 80), 80: (-110, 70), 90: (-110, 70), 100: (-90, 0),
}  # fmt: skip
BINS = sum((last - first) // GRID + 1 for first, last in ROWS.values())  # 313

EDGE, CELL = 110.0, 5.0  # candidates for the nearest bins are known for each cell of the plane
SIDE = round(2 * EDGE / CELL)  # cells down and across


def bin_centers(device: torch.device | str = "cpu") -> Float[Tensor, "q 2"]:
    """(a, b) of the 313 bins, ascending by a, then by b: the published order."""
    return _bin_centers().to(device)


def soft_encode(
    ab: Float[Tensor, "*shape 2"], neighbors: int = 5
) -> tuple[Int64[Tensor, "*shape k"], Float[Tensor, "*shape k"]]:
    """Return the nearest bins of each color, nearest first, and their shares, which add up to 1.

    Shares fall with the distance as a Gaussian of sigma 5. The paper takes 5 neighbors (section
    2.1), the authors' code 10; the sixth to tenth have 2 % together. Exact for colors that are
    within 110 on both axes, as all of sRGB are. Raises ValueError if `neighbors` is not 1 to 313.
    """
    near, *axes = _candidate_bins(neighbors, ab.device)
    cell = ((ab + EDGE) / CELL).long().clamp(0, SIDE - 1)
    cell_number = (cell[..., 0] * SIDE + cell[..., 1]).flatten()
    # one axis after the other, written over: twice as fast as a tensor of all differences
    a, b = (
        axis.to(ab.dtype).index_select(0, cell_number).sub_(value.reshape(-1, 1)).square_()
        for axis, value in zip(axes, ab.unbind(-1), strict=True)
    )
    closest = a.add_(b).topk(neighbors, dim=1, largest=False)
    shape = (*ab.shape[:-1], neighbors)
    share = F.softmax(closest.values.div_(-2 * SIGMA**2), dim=1)
    nearest = near.index_select(0, cell_number).gather(1, closest.indices)
    return nearest.view(shape), share.view(shape)


def subsample_pixels(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c r s"]:
    """Return one of 4 x 4 pixels, without averaging (section 3; the authors' code), at least one.

    It is the third down and across and not the first: nearer to the middle, so that a coarse map
    that is enlarged bilinearly lies where the colors are.
    """
    height, width = (max(1, side // STRIDE) for side in x.shape[2:])
    first = [min(STRIDE // 2, side // 2) for side in x.shape[2:]]
    return x[:, :, first[0] :: STRIDE, first[1] :: STRIDE][:, :, :height, :width]


def has_color(ab: Float[Tensor, "b 2 h w"]) -> Bool[Tensor, "b"]:
    """True for images with some color: some |a| or |b| above 5, as in the authors' code."""
    return (ab.abs() > GRAY).flatten(1).any(dim=1)


def smooth_prior(prior: Float[Tensor, "q"]) -> Float[Tensor, "q"]:
    """Return frequencies that add up to 1, spread over the bins by a Gaussian of sigma 5 (section
    2.2).

    What a bin spreads stays among the bins. Raises ValueError unless there are 313 numbers, none
    below 0, that are not all 0.
    """
    check_prior(prior)
    distance = torch.cdist(_bin_centers().double(), _bin_centers().double())
    kernel = F.softmax(-distance.square() / (2 * SIGMA**2), dim=0)
    spread = kernel @ (prior.double() / prior.double().sum())
    return spread.to(prior.dtype)


def rarity_weights(prior: Float[Tensor, "q"], uniform: float = 0.5) -> Float[Tensor, "q"]:
    """Return how much a pixel of each bin counts: 1 / ((1 - uniform) p + uniform / 313), section
    2.2.

    Scaled so that the mean over pixels, which have the frequencies p, is 1. Raises ValueError for a
    prior as `smooth_prior` does, and if `uniform` is not 0 to 1, or is 0 where a bin never occurs.
    """
    check_prior(prior)
    if not 0 <= uniform <= 1:
        raise ValueError(f"uniform, a share of the prior, must be 0 to 1, got {uniform:g}")
    p = prior.double() / prior.double().sum()
    if uniform == 0 and bool((p == 0).any()):
        raise ValueError("uniform must be above 0, since some colors never occur in the prior")
    weight = 1 / ((1 - uniform) * p + uniform / BINS)
    return (weight / (p * weight).sum()).to(prior.dtype)


def annealed_mean(
    logits: Float[Tensor, "*shape q"], temperature: float = TEMPERATURE
) -> Float[Tensor, "*shape 2"]:
    """Return the color between mean (temperature 1) and mode (towards 0): section 2.3, eq. 5."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    with torch.autocast(logits.device.type, enabled=False):
        return F.softmax(wide / temperature, dim=-1) @ bin_centers(logits.device).to(wide.dtype)


def check_prior(prior: Float[Tensor, "..."]) -> None:
    """Raise ValueError unless it is 313 frequencies."""
    if tuple(prior.shape) != (BINS,):
        raise ValueError(
            f"a prior has {BINS} numbers, one for each bin, and this one has the shape "
            f"{tuple(prior.shape)}"
        )
    if not bool(prior.isfinite().all()) or bool((prior < 0).any()) or not bool(prior.sum() > 0):
        raise ValueError("a prior must be frequencies: numbers of 0 or more that are not all 0")


def check_neighbors(neighbors: int) -> None:
    """Raise ValueError unless there are so many bins."""
    if not 1 <= neighbors <= BINS:
        raise ValueError(f"neighbors must be 1 to {BINS} bins (the paper: 5), got {neighbors}")


@lru_cache(maxsize=1)
def _bin_centers() -> Float[Tensor, "q 2"]:
    points = [(a, b) for a, (low, high) in ROWS.items() for b in range(low, high + 1, GRID)]
    return torch.tensor(points, dtype=torch.float32)


@lru_cache(maxsize=8)
def _candidate_bins(
    neighbors: int, device: torch.device
) -> tuple[Int64[Tensor, "cells m"], Float[Tensor, "cells m"], Float[Tensor, "cells m"]]:
    """For each cell of the plane all bins that can be among the k nearest of a point, their a, b.

    13 for five neighbors.
    """
    check_neighbors(neighbors)
    low = torch.arange(SIDE, dtype=torch.float64) * CELL - EDGE
    centre = torch.cartesian_prod(low, low) + CELL / 2
    distance = (centre[:, None] - _bin_centers().double()).square().sum(dim=2).sqrt()
    ordered, near = distance.sort(dim=1)
    # half a diagonal away from the center the k-th may be farther, and another bin nearer, by that
    reach = ordered[:, neighbors - 1 : neighbors] + CELL * 2**0.5
    width = int((ordered <= reach).sum(dim=1).max())
    near = near[:, :width].contiguous()
    a, b = _bin_centers()[near].unbind(-1)
    return near.to(device), a.contiguous().to(device), b.contiguous().to(device)
