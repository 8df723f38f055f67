"""Block-wise masks of patches (BEiT, Bao et al. 2021, arXiv:2106.08254, algorithm 1).

As in the authors' code (`masking_generator.py`), with which the paper's algorithm agrees but for
what it leaves open: blocks are placed until 75 of 196 patches are hidden; each has at most ten
tries, and is used if it hides something new and not too much. If all ten fail the mask stays as
it is, which is why one in three hides a few less than 75.
"""

from math import log
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from selfwise.core.rng import Rng
from selfwise.views.text.token_mask import sort_masked_first

MASK_SHARE, MIN_BLOCK = (
    75 / 196,
    16 / 196,
)  # of the patches: all that is hidden, and the smallest block
ASPECT = 0.3  # height / width of a block is 0.3 to 1 / 0.3
TRIES = 10  # of each block
BLOCKS = 16  # at most, so that every row takes as many numbers; 4.1 on average, hardly ever 13


class MaskedPatches(NamedTuple):
    """The hidden patches of each image, on the CPU."""

    covered: Bool[Tensor, "b n"]  # in raster order
    where: Int64[Tensor, "b k"]  # k different patches, the hidden ones first
    chosen: Bool[Tensor, "b k"]  # True where the patch is hidden


def check_block_grid(grid: tuple[int, ...]) -> None:
    """Raise ValueError unless blocks can be placed: they are smaller than the grid."""
    if len(grid) != 2 or min(grid) < 2:
        size = " x ".join(map(str, grid))
        raise ValueError(
            f"masks need at least 2 x 2 patches, and these images have {size}; "
            "larger images or a smaller --encoder.patch would be right"
        )


def count_masked_patches(grid: tuple[int, int], share: float = MASK_SHARE) -> int:
    """Count the patches to mask: 75 of 14 x 14. A few fewer are masked if no block fits."""
    return max(1, round(grid[0] * grid[1] * share))


def draw_block_masks(
    n: int,
    grid: tuple[int, int],
    rng: Rng,
    *,
    share: float = MASK_SHARE,
    min_block: float = MIN_BLOCK,
) -> MaskedPatches:
    """Return masks of n images of `grid` patches (down, across), on the CPU.

    `share` of the patches are hidden, in blocks of at least `min_block` of them (of its area before
    rounding, and less where only less is left).
    """
    target, smallest = count_masked_patches(grid, share), max(1.0, grid[0] * grid[1] * min_block)
    numbers = rng.uniform(n, BLOCKS, TRIES, 4)
    covered, going = torch.zeros(n, *grid), torch.arange(n)
    for block_numbers in numbers.unbind(dim=1):
        part = covered[going]
        budget = target - part.sum(dim=(1, 2))
        fits, block = _first_fit(part, budget, block_numbers[going], smallest)
        part = torch.maximum(part, block)
        covered[going] = part
        # these tensors are on the CPU, so no device is waited for
        going = going[fits & (part.sum(dim=(1, 2)) < target)]
        if not len(going):
            break
    hidden = covered.flatten(1).bool()
    return MaskedPatches(hidden, *sort_masked_first(hidden, target))


def _first_fit(
    covered: Float[Tensor, "b h w"],
    budget: Float[Tensor, "b"],
    numbers: Float[Tensor, "b t 4"],
    smallest: float,
) -> tuple[Bool[Tensor, "b"], Float[Tensor, "b h w"]]:
    """Return the first of the tries that fits: whether there is one, and its block (0 and 1).

    All tries see the same mask, since the first that fits ends them; so they are made at once.
    """
    size = torch.tensor(covered.shape[1:], dtype=torch.float32)
    area, aspect, *corner = numbers.unbind(dim=2)
    # near the end the smallest block is larger than what is left: the authors' code draws
    # between the two all the same, and Python's random.uniform lets it
    area = smallest + (budget[:, None] - smallest) * area
    aspect = (log(ASPECT) * (1 - 2 * aspect)).exp()
    side = torch.stack([area * aspect, area / aspect], dim=2).sqrt().round()
    fits = (side < size).all(dim=2)
    first = (torch.stack(corner, dim=2) * (size - side + 1)).floor()
    down, across = (
        ((position >= first[..., None, i]) & (position < (first + side)[..., None, i])).float()
        for i, position in enumerate(torch.arange(int(s)) for s in size)
    )
    new = side.prod(dim=2) - ((down @ covered) * across).sum(dim=2)  # whole numbers, so exact
    fits &= (new > 0) & (new <= budget[:, None])
    first_fit = fits.byte().argmax(dim=1)[:, None, None]
    down, across = (
        side.gather(1, first_fit.expand(-1, 1, side.shape[2])) for side in (down, across)
    )
    any_fits = fits.any(dim=1)
    return any_fits, down.mT * across * any_fits[:, None, None]
