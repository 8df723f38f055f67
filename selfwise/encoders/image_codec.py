"""Small convolutional encoders for image tokenizers: one vector for each patch."""

from dataclasses import dataclass, fields
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from selfwise.core.errors import nearest
from selfwise.core.rng import init_seed
from selfwise.core.types import Features
from selfwise.nn.codec import Residual, downward, level_widths

# width at the resolution of the grid, residual blocks there
SIZES = {"tiny": (64, 1), "small": (128, 2), "base": (256, 4)}
SMALL, MEDIUM = 64, 128  # px: up to here patches of 4, and of 8, are the default


@dataclass(frozen=True)
class Shape:
    """Everything that decides on the weights.

    Args:
        patch: pixels that a vector stands for, down and across; a power of two.
        dim: width of the vectors, by default `width`.
        width: channels at the resolution of the grid; half as many at each finer level.
        depth: residual blocks at the resolution of the grid.
    """

    patch: int
    dim: int
    width: int
    depth: int


class Codec(nn.Module):
    """Convolutions with stride 2 down to a grid of patches, then residual blocks.

    Each vector sees beyond its patch, as those of DALL-E's dVAE do (arXiv:2102.12092, appendix
    A.1); `pooled` is their mean.

    Raises ValueError if the patches do not fill the images.
    """

    def __init__(self, name: str, shape: Shape, *, in_channels: int = 3, size: int = 32):
        super().__init__()
        self.name, self.shape, self.channels, self.patch = name, shape, in_channels, shape.patch
        self.dim = shape.dim
        _check_fits(name, size, shape.patch)
        self.grid = (size // shape.patch, size // shape.patch)
        widths = level_widths(shape.patch, shape.width)
        if shape.patch == 1:
            self.down = nn.ModuleList([nn.Conv2d(in_channels, shape.width, 3, padding=1)])
        else:
            self.down = nn.ModuleList(downward(in_channels, widths))
        self.blocks = nn.ModuleList(Residual(shape.width) for _ in range(shape.depth))
        self.last = nn.Sequential(nn.SiLU(), nn.Conv2d(shape.width, shape.dim, 1))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Features:
        return self.hidden(x)[-1]

    def hidden(self, x: Float[Tensor, "b c h w"]) -> list[Features]:
        """The features of every level, block, and of the last layer. `x` is in 0 to 1."""
        x, found = 2 * x - 1, []
        for layer in [*self.down, *self.blocks, self.last]:
            x = layer(x)
            found.append(_features(x))
        return found


def names() -> list[str]:
    """The encoders there are."""
    return [f"codec-{size}" for size in SIZES]


def build(name: str, *, in_channels: int, size: int, seed: int = 0, **options: Any) -> Codec:
    """A `Codec` whose random weights are a function of the seed.

    Raises ValueError with one sentence for a name or an option that is not known, and for values
    that do not go together.
    """
    shape = shape_of(name, size, options)
    with init_seed(seed, "encoder"):
        return Codec(name, shape, in_channels=in_channels, size=size)


def shape_of(name: str, size: int, options: dict[str, Any]) -> Shape:
    """The preset for images of `size` pixels, with the options in place of its own values."""
    family, _, kind = name.partition("-")
    if family != "codec" or kind not in SIZES:
        raise ValueError(f"unknown encoder {name!r}{nearest(name, names())}")
    known = [field.name for field in fields(Shape)]
    for option, value in options.items():
        if option not in known:
            raise ValueError(f"encoder {name} has no option {option!r}{nearest(option, known)}")
        least = 0 if option == "depth" else 1
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(
                f"encoder {name}: {option} must be a whole number of at least {least}, "
                f"not {value!r}"
            )
    width, depth = SIZES[kind]
    told = {"patch": _patch(size), "width": width, "depth": depth, **options}
    return Shape(**{"dim": told["width"], **told})


def _patch(size: int) -> int:
    return 4 if size <= SMALL else 8 if size <= MEDIUM else 16


def _check_fits(name: str, size: int, patch: int) -> None:
    if size < patch or size % patch:
        near = max(patch, round(size / patch) * patch)
        raise ValueError(
            f"encoder {name}: images of {size} px are not made of whole patches of {patch} px; "
            f"--size {near} or another --encoder.patch would be right"
        )


def _features(x: Float[Tensor, "b d h w"]) -> Features:
    return Features(x.mean(dim=(2, 3)), x.flatten(2).mT, tuple(x.shape[2:]))
