"""Small convolutional encoders for image tokenizers: one vector for each patch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from selfwise.core.errors import did_you_mean
from selfwise.core.ranges import NonNegativeInt, PositiveInt
from selfwise.core.rng import init_seed
from selfwise.core.types import Features
from selfwise.encoders.option_checks import build_shape, check_options
from selfwise.nn.codec import ResidualBlock, downsampling_layers, level_widths

# width at the resolution of the grid, residual blocks there
SIZES = {"tiny": (64, 1), "small": (128, 2), "base": (256, 4)}
SMALL, MEDIUM = 64, 128  # px: up to here patches of 4, and of 8, are the default


@dataclass(frozen=True)
class CodecShape:
    """Everything that decides on the weights.

    Args:
        patch: height and width in pixels that a vector represents; a power of two.
        dim: width of the vectors, by default `width`.
        width: channels at the resolution of the grid; half as many at each finer level.
        depth: residual blocks at the resolution of the grid.
    """

    patch: PositiveInt
    dim: PositiveInt
    width: PositiveInt
    depth: NonNegativeInt


class CodecEncoder(nn.Module):
    """Convolutions with stride 2 down to a grid of patches, then residual blocks.

    Each vector sees beyond its patch, as those of DALL-E's dVAE do (arXiv:2102.12092, appendix
    A.1); `pooled` is their mean.

    Raises ValueError if the patches do not fill the images.
    """

    def __init__(self, name: str, shape: CodecShape, *, in_channels: int = 3, size: int = 32):
        super().__init__()
        self.name, self.shape, self.channels, self.patch = name, shape, in_channels, shape.patch
        self.dim = shape.dim
        _check_fits(name, size, shape.patch)
        self.grid = (size // shape.patch, size // shape.patch)
        widths = level_widths(shape.patch, shape.width)
        if shape.patch == 1:
            self.down = nn.ModuleList([nn.Conv2d(in_channels, shape.width, 3, padding=1)])
        else:
            self.down = nn.ModuleList(downsampling_layers(in_channels, widths))
        self.blocks = nn.ModuleList(ResidualBlock(shape.width) for _ in range(shape.depth))
        self.last = nn.Sequential(nn.SiLU(), nn.Conv2d(shape.width, shape.dim, 1))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Features:
        return self.hidden(x)[-1]

    def hidden(self, x: Float[Tensor, "b c h w"]) -> list[Features]:
        """Return the features of every level, block, and of the last layer. `x` is in 0 to 1."""
        x, outputs = 2 * x - 1, []
        for layer in [*self.down, *self.blocks, self.last]:
            x = layer(x)
            outputs.append(_features(x))
        return outputs


def list_codec_encoders() -> list[str]:
    """List codec-SIZE for every size."""
    return [f"codec-{size}" for size in SIZES]


def build_codec_encoder(
    name: str, *, in_channels: int, size: int, seed: int = 0, **options: Any
) -> CodecEncoder:
    """Build a `CodecEncoder` whose random weights are a function of the seed.

    Raises ValueError with one sentence for an unknown name or option, and for values that do not
    go together.
    """
    shape = resolve_codec_shape(name, size, options)
    with init_seed(seed, "encoder"):
        return CodecEncoder(name, shape, in_channels=in_channels, size=size)


def resolve_codec_shape(name: str, size: int, options: Mapping[str, Any]) -> CodecShape:
    """Resolve a preset for images of `size` pixels; options replace values of the preset."""
    family, _, kind = name.partition("-")
    if family != "codec" or kind not in SIZES:
        raise ValueError(f"unknown encoder {name!r}{did_you_mean(name, list_codec_encoders())}")
    check_options(name, CodecShape, options)
    width, depth = SIZES[kind]
    settings = {"patch": _default_patch(size), "width": width, "depth": depth} | dict(options)
    return build_shape(CodecShape, {"dim": settings["width"]} | settings)


def _default_patch(size: int) -> int:
    return 4 if size <= SMALL else 8 if size <= MEDIUM else 16


def _check_fits(name: str, size: int, patch: int) -> None:
    if size < patch or size % patch:
        near = max(patch, round(size / patch) * patch)
        raise ValueError(
            f"encoder {name}: images of {size} px do not divide into patches of {patch} px; "
            f"use --image-size {near} or another --encoder.patch"
        )


def _features(x: Float[Tensor, "b d h w"]) -> Features:
    return Features(x.mean(dim=(2, 3)), x.flatten(2).mT, tuple(x.shape[2:]))
