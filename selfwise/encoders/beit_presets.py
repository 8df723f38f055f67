"""Sizes of BEiT's vision transformer, and later published features that it includes.

Base and large are the paper's (arXiv:2106.08254, appendix G). The smaller ones are ours, without
drop path where a model is too small to overfit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from selfwise.core.errors import did_you_mean
from selfwise.core.ranges import NonNegativeFloat, PositiveFloat, PositiveInt
from selfwise.encoders.option_checks import (
    DropProbability,
    Option,
    build_shape,
    check_divides,
    check_options,
)

SMALL = 64  # px: up to here the patches have a side of 4 instead of 16


@dataclass(frozen=True)
class ViTShape:
    """Everything that decides on the weights of a vision transformer and how they are used.

    Args:
        depth: number of blocks.
        dim: width.
        heads: attention heads of each block; they divide `dim`.
        ff: width inside the MLP; by default 4 times `dim`.
        patch: side of a patch in px; by default 16, and 4 for images up to 64 px.
        layer_scale: LayerScale at the start; 0: none.
        drop_path: probability that an image skips a part of the last block in training; less by
            steps before it, and 0 in the first.
        relative: attention knows how far apart two patches are.
        shared_bias: by one table for all blocks, as in BEiT's pre-training; or one for each.
        absolute: a learned position is added to each patch.
        norm: where the final norm is: on the "tokens", or on their mean, "pooled", as in BEiT's
            fine-tuned models.
        eps: of every LayerNorm.
    """

    depth: PositiveInt
    dim: PositiveInt
    heads: PositiveInt
    ff: PositiveInt
    patch: PositiveInt
    layer_scale: NonNegativeFloat = 0.1
    drop_path: DropProbability = 0.0
    relative: bool = True
    shared_bias: bool = True
    absolute: bool = False
    norm: Literal["tokens", "pooled"] = "tokens"
    eps: PositiveFloat = 1e-6


SIZES: dict[str, dict[str, Option]] = {
    "tiny": {"depth": 2, "dim": 64, "heads": 2},
    "mini": {"depth": 6, "dim": 192, "heads": 3},
    "small": {"depth": 12, "dim": 384, "heads": 6, "drop_path": 0.1},
    "base": {"depth": 12, "dim": 768, "heads": 12, "drop_path": 0.1},
    "large": {"depth": 24, "dim": 1024, "heads": 16, "drop_path": 0.1, "layer_scale": 1e-5},
}


def list_beit_encoders() -> list[str]:
    """List beit-SIZE for every size."""
    return [f"beit-{size}" for size in SIZES]


def resolve_vit_shape(name: str, options: Mapping[str, Any], *, size: int) -> ViTShape:
    """Resolve a preset for images of `size` px; options replace values of the preset.

    Raises ValueError with one sentence for an unknown name or option, and for values that do
    not go together or do not fit the images.
    """
    family, _, size_name = name.partition("-")
    if family != "beit" or size_name not in SIZES:
        raise ValueError(
            f"unknown vision transformer {name!r}{did_you_mean(name, list_beit_encoders())}"
        )
    check_options(name, ViTShape, options)
    settings = {"patch": 4 if size <= SMALL else 16} | SIZES[size_name] | dict(options)
    shape = build_shape(ViTShape, {"ff": 4 * settings["dim"]} | settings)
    check_divides(name, shape, {"heads": "heads"})
    _check_size(name, shape.patch, size)
    return shape


def _check_size(name: str, patch: int, size: int) -> None:
    if size < patch:
        raise ValueError(
            f"encoder {name} has patches of {patch} px, larger than images of {size} px; "
            "use a smaller patch or larger images"
        )
    if size % patch:
        nearest_size = max(patch, patch * round(size / patch))
        raise ValueError(
            f"encoder {name} has patches of {patch} px, which do not divide images of {size} px; "
            f"the nearest size is {nearest_size}"
        )
