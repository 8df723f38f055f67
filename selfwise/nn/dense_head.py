"""A head that says something of each place of an image, on the maps of an encoder."""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from selfwise.core.types import Features


class DenseHead(nn.Module):
    """Maps of one or several layers to scores at each place of a finer grid.

    Each map goes through a 1x1 convolution with batch norm and ReLU, and is brought to the grid:
    enlarged bilinearly, or averaged where it is finer. Several maps are added, which is
    what a convolution of the hypercolumn would make of them (Larsson et al. 2016,
    arXiv:1603.06668). Then a 3x3 convolution with ReLU, and the scores.

    Args:
        widths: of the maps.
        out: scores at each place.
        grid: places down and across.
        width: channels in between.
    """

    def __init__(self, widths: Sequence[int], out: int, *, grid: tuple[int, int], width: int):
        super().__init__()
        self.grid = grid
        self.inward = nn.ModuleList(_input_projection(dim, width) for dim in widths)
        self.mix = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU())
        self.out = nn.Linear(width, out)

    def forward(self, maps: Sequence[Features]) -> Float[Tensor, "b h w out"]:
        resized = [
            self._resize(part(_to_map(x))) for part, x in zip(self.inward, maps, strict=True)
        ]
        # the scores lie side by side, as what compares them wants it
        outputs: Tensor = self.out(self.mix(sum(resized)).permute(0, 2, 3, 1))
        return outputs

    def _resize(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d p q"]:
        if x.shape[2] >= self.grid[0] and x.shape[3] >= self.grid[1]:
            return F.adaptive_avg_pool2d(x, self.grid)
        return F.interpolate(x, self.grid, mode="bilinear", align_corners=False)


def _input_projection(dim: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(dim, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())


def _to_map(features: Features) -> Float[Tensor, "b d h w"]:
    assert features.tokens is not None, "the caller has checked"
    assert features.grid is not None
    feature_map: Tensor = features.tokens.mT.unflatten(2, features.grid)
    return feature_map
