"""Images turned, and images taken apart: rotations (arXiv:1803.07728), tiles (arXiv:1603.09246).

Whole batches; every pixel of a turned image or of a tile is a pixel of the image.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from selfwise.core.rng import Rng

TURNS = 4
NOISE = 1 / 255  # what varies less than images with 8 bits can say is flat


def rotate_four_ways(
    x: Float[Tensor, "b c s s"],
) -> tuple[Float[Tensor, "b 4 c s s"], Int64[Tensor, "b 4"]]:
    """Return each image turned by 0, 90, 180 and 270 degrees, counterclockwise, and which turn it
    is.

    Transposed and mirrored, never interpolated (RotNet): resampling would leave marks
    that give the turn away.
    """
    turned = torch.stack([torch.rot90(x, turn, (2, 3)) for turn in range(TURNS)], dim=1)
    return turned, torch.arange(TURNS, device=x.device).expand(len(x), -1)


def draw_corners(
    n: int, channels: int, rng: Rng, *, grid: int, room: int, shift: int
) -> Int64[Tensor, "{n} t {channels} 2"]:
    """Return where each tile begins in its cell (down, across), for each channel; on the CPU.

    Tiles are uniform in 0..room. Channels are moved against each other by -shift to shift, as far
    as they stay in their cell: a tile at the edge of its cell is at the edge in any cell.
    """
    tile = rng.integers(room + 1, n, grid * grid, 1, 2)
    channel = rng.integers(2 * shift + 1, n, grid * grid, channels, 2) - shift
    return (tile + channel).clamp_(0, room)


def cut_tiles(
    x: Float[Tensor, "b c s s"], corner: Int64[Tensor, "b t c 2"], *, grid: int, tile: int
) -> Float[Tensor, "b t c {tile} {tile}"]:
    """Return one tile of each of the grid x grid cells in raster order, t in all, gathered in one
    go.

    `corner` says where tile and channel begin inside the cell. The cells are whole pixels, as
    large as can be, in the middle of the image.
    """
    n, channels, size, _ = x.shape
    cell = size // grid
    start = (size - cell * grid) // 2 + cell * torch.arange(grid, device=x.device)
    first = torch.cartesian_prod(start, start)[:, None] + corner.to(x.device, non_blocking=True)
    plane = size * size * torch.arange(n * channels, device=x.device).view(n, 1, channels)
    row = (plane + first[..., 0] * size + first[..., 1])[..., None]
    row = row + size * torch.arange(tile, device=x.device)
    # every run of `tile` pixels, of which only the chosen ones are copied
    runs = x.flatten().unfold(0, tile, 1)
    return runs.index_select(0, row.flatten()).view(*row.shape, tile)


def assemble_tiles(x: Float[Tensor, "b t c h w"], grid: int) -> Float[Tensor, "b c s s"]:
    """Return tiles in raster order side by side, with white between them."""
    gap = max(1, x.shape[-1] // 16)
    tile = torch.nn.functional.pad(x, (0, gap, 0, gap), value=1.0)
    lines = tile.unflatten(1, (grid, grid)).permute(0, 3, 1, 4, 2, 5)
    assembled: Tensor = lines.flatten(4).flatten(2, 3)[..., :-gap, :-gap]
    return assembled


def standardize_tiles(x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t c h w"]:
    """Return each channel of each tile by itself: mean 0.5 and standard deviation 0.25.

    The jigsaw paper, on shortcuts: mean and deviation of neighboring tiles would tell that they
    are neighbors. Per channel, as bbrattoli/JigsawPuzzlePytorch does in `JigsawImageLoader.py`;
    google/revisiting-self-supervised takes all channels together, and VISSL leaves the tiles as
    they are. Mean and deviation are about those of photos in 0..1, for which encoders are made.
    """
    pixels = x.flatten(3)  # torch.var_mean over two dimensions takes ten times as long
    centred = pixels - pixels.mean(dim=3, keepdim=True)
    deviation = centred.square().mean(dim=3, keepdim=True).sqrt_().clamp_min_(NOISE)
    return centred.mul_(0.25 / deviation).add_(0.5).view(x.shape)
