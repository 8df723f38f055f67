"""The convolutions of image tokenizers: pixels to a grid of vectors, and back."""

from collections.abc import Iterator
from itertools import pairwise
from math import gcd
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

MIN_WIDTH = 16  # of the finest level


class ResidualBlock(nn.Module):
    """x + f(x), f two convolutions (3x3, 1x1), each after GroupNorm and SiLU."""

    def __init__(self, width: int):
        super().__init__()
        groups = gcd(8, width)
        self.inner = nn.Sequential(
            nn.GroupNorm(groups, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(groups, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 1),
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        outputs: Tensor = x + self.inner(x)
        return outputs


class Decoder(nn.Module):
    """A grid of vectors to an image: residual blocks, then each level twice as large.

    What is made larger comes out of a convolution with four times the channels, of which each
    four become 2 x 2 pixels (Shi et al. 2016, arXiv:1609.05158).

    Args:
        dim: width of the vectors.
        channels: of the image.
        patch: pixels that a vector stands for, down and across; a power of two.
        width: channels at the resolution of the grid; half as many at each finer level.
        depth: residual blocks at the resolution of the grid.

    Raises ValueError if `patch` is not a power of two, or a width is too small.
    """

    def __init__(self, dim: int, channels: int, *, patch: int, width: int, depth: int = 2):
        super().__init__()
        widths = level_widths(patch, width)
        parts: list[nn.Module] = [nn.Conv2d(dim, width, 3, padding=1)]
        parts += [ResidualBlock(width) for _ in range(depth)]
        for coarse, fine in pairwise(widths):
            parts += [nn.SiLU(), nn.Conv2d(coarse, 4 * fine, 3, padding=1), nn.PixelShuffle(2)]
        self.parts = nn.Sequential(*parts)
        self.last = nn.Sequential(nn.SiLU(), nn.Conv2d(widths[-1], channels, 3, padding=1))

    def forward(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b c s t"]:
        """Values around 0 to 1, not cut off: the untrained decoder is near a middle gray."""
        images: Tensor = self.last(self.parts(x)) + 0.5
        return images


def level_widths(patch: int, width: int) -> list[int]:
    """Return the channels of each level, from the grid to the pixels: log2(patch) + 1 of them.

    Raises ValueError if `patch` is not a power of two, or `width` is below 1.
    """
    if patch < 1 or patch & (patch - 1):
        raise ValueError(f"patch must be a power of two (1, 2, 4, 8, 16), got {patch}")
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}")
    narrowest = min(MIN_WIDTH, width)
    return [max(narrowest, width >> level) for level in range(patch.bit_length())]


def downsampling_layers(channels: int, widths: list[int]) -> Iterator[nn.Module]:
    """For each level but the finest: the layer that halves the resolution.

    `widths` are those of the levels, from the grid to the pixels. The finest has no layer of its
    own: at full resolution it would cost more than all the others.
    """
    for fine, coarse in zip([channels, *widths[::-1][1:-1]], widths[::-1][1:], strict=True):
        act: list[nn.Module] = [] if fine == channels else [nn.SiLU()]
        yield nn.Sequential(*act, nn.Conv2d(fine, coarse, 4, stride=2, padding=1))


@runtime_checkable
class LevelShape(Protocol):
    """The size of a codec at the resolution of its grid."""

    @property
    def width(self) -> int: ...

    @property
    def depth(self) -> int: ...


@runtime_checkable
class PatchCodec(Protocol):
    """An encoder of image patches whose images a decoder can rebuild."""

    grid: tuple[int, int]
    patch: int
    channels: int
    shape: LevelShape


def build_decoder(encoder: object, dim: int, *, size: int, name: str) -> Decoder:
    """Build the decoder that mirrors a codec: vectors of width `dim` on its grid to its images.

    Raises ValueError, naming the method, if the encoder is not a codec.
    """
    if not isinstance(encoder, PatchCodec):
        raise ValueError(
            f"{name} reconstructs images from patches, and needs an encoder for that: "
            "codec-tiny, codec-small or codec-base"
        )
    if encoder.grid[0] * encoder.patch != size:
        raise ValueError(
            f"{name} has images of {size} px and an encoder for {encoder.grid[0] * encoder.patch} "
            "px; use one size for both"
        )
    width, depth = encoder.shape.width, encoder.shape.depth
    return Decoder(dim, encoder.channels, patch=encoder.patch, width=width, depth=depth)
