"""config.json in timm's layout: what a model is, and what its images have to look like.

The fields are those that timm's own `save_for_hf` writes and `local-dir:` reads (timm 1.0).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from selfwise.convert.pictures import crop_pct

# what timm knows of a model besides, and needs where a classifier or other channels are asked for
_KEPT = ("fixed_input_size", "first_conv", "classifier")
# arguments of timm's factory that say nothing of what the features are
_LEFT_OUT = ("num_classes", "in_chans", "img_size", "pretrained", "checkpoint_path", "device")
_ALSO_LEFT_OUT = ("dtype", "cache_dir", "features_only", "pretrained_cfg", "pretrained_cfg_overlay")


class Described(NamedTuple):
    """A model by timm's words."""

    architecture: str
    args: dict[str, Any]  # of timm.create_model, besides num_classes
    mean: Sequence[float]
    std: Sequence[float]
    size: int  # side of the images in px
    channels: int
    features: int  # timm's num_features
    published: Mapping[str, Any]  # what timm's registry says of the architecture


class Read(NamedTuple):
    """What a config.json of timm's says of a model."""

    architecture: str
    args: dict[str, Any]  # options of the model, without channels, size and classes
    mean: list[float] | None
    std: list[float] | None
    size: int | None
    channels: int | None


def write(told: Described) -> dict[str, Any]:
    """The config.json. `crop_pct` and interpolation are those nearest to our own evaluation."""
    images = {
        "input_size": [told.channels, told.size, told.size],
        "interpolation": "bicubic",
        "crop_pct": crop_pct(told.size),
        "crop_mode": "center",
        "mean": list(told.mean),
        "std": list(told.std),
        "num_classes": 0,
    }
    return {
        "architecture": told.architecture,
        "num_classes": 0,
        "num_features": told.features,
        "pretrained_cfg": {
            **{n: told.published[n] for n in _KEPT if n in told.published},
            **images,
        },
        "model_args": dict(told.args),
    }


def read(config: Mapping[str, Any]) -> Read:
    """What it says. Raises ValueError with one sentence where it is none of timm's."""
    name = config.get("architecture")
    if not isinstance(name, str):
        other = config.get("model_type")
        hint = f" (Hugging Face's {other}?)" if isinstance(other, str) else ""
        raise ValueError(f"config.json names no architecture, so it is not one of timm's{hint}")
    told = {**config, **config.get("pretrained_cfg", {})}  # older ones have no second level
    args = dict(config.get("model_args") or {})
    input_size = told.get("input_size") or (None, None, None)
    size = args.get("img_size", input_size[1:])
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise ValueError(f"config.json: images of {sorted(sides)} px, but selfwise's are squares")
    kept = {n: v for n, v in args.items() if n not in (*_LEFT_OUT, *_ALSO_LEFT_OUT)}
    return Read(
        name.partition(".")[0],
        kept,
        _numbers(told.get("mean")),
        _numbers(told.get("std")),
        sides.pop(),
        args.get("in_chans", input_size[0]),
    )


def _numbers(values: Any) -> list[float] | None:
    return None if values is None else [float(value) for value in values]
