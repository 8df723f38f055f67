"""config.json in timm's layout: what a model is, and what its images have to look like.

The fields are those that timm's own `save_for_hf` writes and `local-dir:` reads (timm 1.0).
"""

import json
from collections.abc import Mapping, Sequence
from textwrap import shorten
from typing import NamedTuple, TypeGuard

from selfwise.interop.image_preprocessing import crop_pct
from selfwise.interop.types import EncoderOptions, JsonObject

# what timm knows of a model besides, and needs where a classifier or other channels are asked for
_COPIED_FIELDS = ("fixed_input_size", "first_conv", "classifier")
# arguments of timm's factory that say nothing of what the features are
_IGNORED_ARGS = ("num_classes", "in_chans", "img_size", "pretrained", "checkpoint_path", "device")
_MORE_IGNORED_ARGS = (
    "dtype",
    "cache_dir",
    "features_only",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
)
# further options of our encoders, which a file that somebody else wrote must not set
_OUR_OPTIONS = ("self", "name", "in_channels", "size", "seed", "stem", "normalize", "color_space")
_MAX_SIDE = 4096  # side of an image in px, of which the widest known models have a quarter
_MAX_VALUE = 65_535  # no mean or deviation is above that of 16-bit values


class TimmExport(NamedTuple):
    """A model in timm's terms."""

    architecture: str
    args: JsonObject  # of timm.create_model, besides num_classes
    mean: Sequence[float]
    std: Sequence[float]
    size: int  # side of the images in px
    channels: int
    features: int  # timm's num_features
    published: Mapping[str, object]  # what timm's registry says of the architecture


class TimmConfig(NamedTuple):
    """The facts on a model in timm's config.json."""

    architecture: str
    args: EncoderOptions  # options of the model, without channels, size and classes
    mean: list[float] | None
    std: list[float] | None
    size: int | None
    channels: int | None


def write_config(model: TimmExport) -> JsonObject:
    """Return the config.json. `crop_pct` and interpolation are those nearest to our own
    evaluation."""
    image_fields = {
        "input_size": [model.channels, model.size, model.size],
        "interpolation": "bicubic",
        "crop_pct": crop_pct(model.size),
        "crop_mode": "center",
        "mean": list(model.mean),
        "std": list(model.std),
        "num_classes": 0,
    }
    return {
        "architecture": model.architecture,
        "num_classes": 0,
        "num_features": model.features,
        "pretrained_cfg": {
            **{n: model.published[n] for n in _COPIED_FIELDS if n in model.published},
            **image_fields,
        },
        "model_args": dict(model.args),
    }


def read_config(config: Mapping[str, object]) -> TimmConfig:
    """What it says. Raises ValueError with one sentence where it is none of timm's."""
    name = config.get("architecture")
    if not isinstance(name, str):
        model_type = config.get("model_type")
        hint = f" (Hugging Face's {model_type}?)" if isinstance(model_type, str) else ""
        raise ValueError(f"config.json names no architecture, so it is not a timm config{hint}")
    args = _model_args(config)
    channels, size = _image_shape(_merge_levels(config).get("input_size"), args)
    mean, std = image_statistics(config)
    options = {n: v for n, v in args.items() if n not in (*_IGNORED_ARGS, *_MORE_IGNORED_ARGS)}
    return TimmConfig(name.partition(".")[0], options, mean, std, size, channels)


def image_statistics(config: Mapping[str, object]) -> tuple[list[float] | None, list[float] | None]:
    """(mean, std) of the images, where it says so. Raises ValueError for what are none."""
    fields = _merge_levels(config)
    mean, std = (_read_numbers(name, fields.get(name)) for name in ("mean", "std"))
    if mean is not None and std is not None and len(mean) != len(std):
        raise _field_error("std", f"{len(mean)} numbers, as for mean", std)
    if std is not None and min(std) <= 0:
        raise _field_error("std", "above 0", std)
    return mean, std


def _merge_levels(config: Mapping[str, object]) -> JsonObject:
    """Return all fields, those of the second level, `pretrained_cfg`, first: older files have none.

    Raises ValueError with one sentence for a second level that is none.
    """
    second = config.get("pretrained_cfg", {})
    if not isinstance(second, dict):
        raise _field_error("pretrained_cfg", "an object in braces", second)
    return {**config, **second}


def _model_args(config: Mapping[str, object]) -> JsonObject:
    """Of the model, none of them ours."""
    args = config.get("model_args")
    if args is not None and not isinstance(args, dict):
        raise _field_error("model_args", "an object in braces", args)
    for name in args or {}:
        if name in _OUR_OPTIONS:
            raise ValueError(f"config.json: model_args has {name!r}, which is not a timm option")
    return dict(args or {})


def _image_shape(input_size: object, args: Mapping[str, object]) -> tuple[int | None, int | None]:
    """(channels, side in px) of the images, by the arguments before `input_size`."""
    allowed = f"from 1 to {_MAX_SIDE}"
    channels: int | None = None
    sides: Sequence[int | None] = [None]
    if input_size is not None:
        if not (_are_sizes(input_size) and len(input_size) == 3):
            raise _field_error("input_size", f"three whole numbers {allowed}", input_size)
        channels, *sides = input_size
    img_size, in_chans = args.get("img_size"), args.get("in_chans")
    if img_size is not None:
        sizes = img_size if isinstance(img_size, list | tuple) else [img_size]
        if not _are_sizes(sizes) or len(sizes) > 2:
            raise _field_error("img_size", f"a whole number {allowed} or two", img_size)
        sides = sizes
    if in_chans is not None:
        if not (isinstance(in_chans, int) and _are_sizes([in_chans])):
            raise _field_error("in_chans", f"a whole number {allowed}", in_chans)
        channels = in_chans
    if len(set(sides)) != 1:
        raise ValueError(f"config.json: images of {sides} px, but selfwise's are squares")
    return channels, sides[0]


def _are_sizes(values: object) -> TypeGuard[Sequence[int]]:
    """Return whether these are sides or channels."""
    return (
        isinstance(values, list | tuple)  # as timm itself has them in Python
        and len(values) > 0
        and all(type(value) is int and 1 <= value <= _MAX_SIDE for value in values)
    )


def _read_numbers(name: str, values: object) -> list[float] | None:
    """One for each channel."""
    if values is None:
        return None
    if not _are_channel_values(values):
        raise _field_error(name, "a list of a number for each channel, 1 or 3", values)
    return [float(value) for value in values]


def _are_channel_values(values: object) -> TypeGuard[Sequence[float]]:
    return (
        isinstance(values, list | tuple)
        and all(type(value) in (int, float) and abs(value) <= _MAX_VALUE for value in values)
        and len(values) in (1, 3)
    )


def _field_error(name: str, expected: str, value: object) -> ValueError:
    text = shorten(json.dumps(value), 80, placeholder=" ...")
    return ValueError(f"config.json: {name} must be {expected}, not {text}")
