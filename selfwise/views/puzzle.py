"""Images turned, and images taken apart: rotations (arXiv:1803.07728), tiles (arXiv:1603.09246).

Whole batches; every pixel of a turned image or of a tile is a pixel of the image.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from selfwise.rng import Rng

TURNS = 4
NOISE = 1 / 255  # what varies less than images with 8 bits can say is flat


def rotations(
    x: Float[Tensor, "b c s s"],
) -> tuple[Float[Tensor, "b 4 c s s"], Int64[Tensor, "b 4"]]:
    """Each image turned by 0, 90, 180 and 270 degrees, counterclockwise, and which turn it is.

    Transposed and mirrored, never interpolated (RotNet, section 3.1): resampling would leave marks
    that give the turn away.
    """
    turned = torch.stack([torch.rot90(x, turn, (2, 3)) for turn in range(TURNS)], dim=1)
    return turned, torch.arange(TURNS, device=x.device).expand(len(x), -1)


def draw_corners(
    n: int, channels: int, rng: Rng, *, grid: int, room: int, shift: int
) -> Int64[Tensor, "{n} t {channels} 2"]:
    """Where each tile begins in its cell (down, across), for each channel; on the CPU.

    Tiles are uniform in 0..room. Channels are moved against each other by -shift to shift, as far
    as they stay in their cell: a tile at the edge of its cell is at the edge in any cell.
    """
    tile = rng.integers(room + 1, n, grid * grid, 1, 2)
    channel = rng.integers(2 * shift + 1, n, grid * grid, channels, 2) - shift
    return (tile + channel).clamp_(0, room)


def tiles(
    x: Float[Tensor, "b c s s"], corner: Int64[Tensor, "b t c 2"], *, grid: int, tile: int
) -> Float[Tensor, "b t c {tile} {tile}"]:
    """One tile of each of the grid x grid cells in raster order, t in all, gathered in one go.

    `corner` says where tile and channel begin inside the cell. The cells are whole pixels, as
    large as can be, in the middle of the image.
    """
    n, channels, size, _ = x.shape
    cell = size // grid
    start = (size - cell * grid) // 2 + cell * torch.arange(grid, device=x.device)
    first = torch.cartesian_prod(start, start)[:, None] + corner.to(x.device, non_blocking=True)
    windows = x.unfold(2, tile, 1).unfold(3, tile, 1)  # nothing is copied: all corners there are
    image = torch.arange(n, device=x.device)[:, None, None]
    channel = torch.arange(channels, device=x.device)
    return windows[image, channel, first[..., 0], first[..., 1]]


def standardised(x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t c h w"]:
    """Each channel of each tile by itself: mean 0.5 and standard deviation 0.25.

    Section 3.2 of the jigsaw paper: mean and deviation of neighbouring tiles would tell that they
    are neighbours. Per channel, as bbrattoli/JigsawPuzzlePytorch does in `JigsawImageLoader.py`;
    google/revisiting-self-supervised takes all channels together, and VISSL leaves the tiles as
    they are. Mean and deviation are about those of photos in 0..1, for which encoders are made.
    """
    variance, mean = torch.var_mean(x, dim=(3, 4), correction=0, keepdim=True)
    return (x - mean) * (0.25 / variance.sqrt().clamp_min(NOISE)) + 0.5
