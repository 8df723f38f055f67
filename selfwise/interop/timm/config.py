"""config.json in timm's layout: what a model is, and what its images have to look like.

The fields are those that timm's own `save_for_hf` writes and `local-dir:` reads (timm 1.0).
"""

import json
from collections.abc import Mapping, Sequence
from textwrap import shorten
from typing import Any, NamedTuple

from selfwise.interop.image_preprocessing import crop_pct

# what timm knows of a model besides, and needs where a classifier or other channels are asked for
_KEPT = ("fixed_input_size", "first_conv", "classifier")
# arguments of timm's factory that say nothing of what the features are
_LEFT_OUT = ("num_classes", "in_chans", "img_size", "pretrained", "checkpoint_path", "device")
_ALSO_LEFT_OUT = ("dtype", "cache_dir", "features_only", "pretrained_cfg", "pretrained_cfg_overlay")
# what an encoder of ours is told besides: a file that somebody else wrote does not decide on it
_OURS = ("self", "name", "in_channels", "size", "seed", "stem", "normalise", "sees")
_LARGEST = 4096  # side of an image in px, of which the widest known models have a quarter
_FAR = 65_535  # no mean or deviation is above that of 16-bit values


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
    args = _arguments(config)
    channels, size = _shape(_of_images(config).get("input_size"), args)
    mean, std = statistics(config)
    kept = {n: v for n, v in args.items() if n not in (*_LEFT_OUT, *_ALSO_LEFT_OUT)}
    return Read(name.partition(".")[0], kept, mean, std, size, channels)


def statistics(config: Mapping[str, Any]) -> tuple[list[float] | None, list[float] | None]:
    """(mean, std) of the images, where it says so. Raises ValueError for what are none."""
    told = _of_images(config)
    mean, std = (_numbers(name, told.get(name)) for name in ("mean", "std"))
    if mean is not None and std is not None and len(mean) != len(std):
        raise _refused("std", f"{len(mean)} numbers, as mean is", std)
    if std is not None and min(std) <= 0:
        raise _refused("std", "above 0", std)
    return mean, std


def _of_images(config: Mapping[str, Any]) -> dict[str, Any]:
    """All fields, those of the second level, `pretrained_cfg`, first: older files have none.

    Raises ValueError with one sentence for a second level that is none.
    """
    second = config.get("pretrained_cfg", {})
    if not isinstance(second, dict):
        raise _refused("pretrained_cfg", "an object in braces", second)
    return {**config, **second}


def _arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Of the model, none of them ours."""
    args = config.get("model_args")
    if args is not None and not isinstance(args, dict):
        raise _refused("model_args", "an object in braces", args)
    for name in args or {}:
        if name in _OURS:
            raise ValueError(f"config.json: model_args has {name!r}, which is no option of timm's")
    return dict(args or {})


def _shape(images: Any, args: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """(channels, side in px) of the images, by the arguments before `input_size`."""
    whole = f"from 1 to {_LARGEST}"
    if images is not None and not (_counts(images) and len(images) == 3):
        raise _refused("input_size", f"three whole numbers {whole}", images)
    channels, *sides = images or (None, None, None)
    size, seen = args.get("img_size"), args.get("in_chans")
    if size is not None:
        sides = size if isinstance(size, list | tuple) else [size]
        if not _counts(sides) or len(sides) > 2:
            raise _refused("img_size", f"a whole number {whole} or two", size)
    if seen is not None and not _counts([seen]):
        raise _refused("in_chans", f"a whole number {whole}", seen)
    if len(set(sides)) != 1:
        raise ValueError(f"config.json: images of {sides} px, but selfwise's are squares")
    return (channels if seen is None else seen), sides[0]


def _counts(values: Any) -> bool:
    """Whether these are sides or channels."""
    return (
        isinstance(values, list | tuple)  # as timm itself has them in Python
        and len(values) > 0
        and all(type(value) is int and 1 <= value <= _LARGEST for value in values)
    )


def _numbers(name: str, values: Any) -> list[float] | None:
    """One for each channel."""
    if values is None:
        return None
    numbers = isinstance(values, list | tuple) and all(
        type(value) in (int, float) and abs(value) <= _FAR for value in values
    )
    if not numbers or len(values) not in (1, 3):
        raise _refused(name, "a list of a number for each channel, 1 or 3", values)
    return [float(value) for value in values]


def _refused(name: str, right: str, found: Any) -> ValueError:
    said = shorten(json.dumps(found), 80, placeholder=" ...")
    return ValueError(f"config.json: {name} must be {right}, not {said}")
