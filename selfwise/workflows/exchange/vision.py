"""Weights of timm and of torchvision as runs on images, to be used and trained further."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm

from selfwise.core.data_info import ImageInfo
from selfwise.core.errors import did_you_mean
from selfwise.interop.huggingface.folder import read_folder, read_weights
from selfwise.interop.timm import config as timm_config
from selfwise.interop.torchvision import IMAGENET, add_batch_counters, rename_weights, timm_name
from selfwise.methods import Method
from selfwise.methods.needs import IMAGE_SIZE
from selfwise.workflows.exchange.imported_checkpoint import ImportedCheckpoint, Weights

FAMILIES = ("timm", "torchvision")
METHOD = "simclr"  # of a run that is told none


def check_method(kind: type[Method], name: str) -> None:
    """Raises ValueError for a method that cannot be made without images."""
    if kind.modality != "image":
        raise ValueError(f"--method {name} is for {kind.modality}, and these weights see images")
    asked = [part for part, need in kind.needs.items() if need is not IMAGE_SIZE]
    if asked:
        raise ValueError(
            f"--method {name} needs {asked[0]} of the images that it is trained on: import the "
            f"weights with another, such as {METHOD}, and give the run to `pretrain {name} --start`"
        )


def take(family: str, folder: Path, *, encoder: str = "", size: int = 0) -> ImportedCheckpoint:
    """The weights without their classifier, and what their images have to look like.

    Raises ValueError with one sentence for what is no such checkpoint.
    """
    if family == "torchvision":
        return _torchvision(folder, encoder, size)
    if folder.is_dir():
        return _folder(folder, encoder, size)
    if not encoder:
        raise ValueError(f"{folder} is weights alone: say of which of timm's models (--encoder)")
    _check_name(encoder)
    return _taken(encoder, {}, "timm", read_weights(folder), size)


def _folder(folder: Path, encoder: str, size: int) -> ImportedCheckpoint:
    """What timm saves or pushes to a hub: config.json and model.safetensors."""
    config, weights = read_folder(folder)
    told = timm_config.read_config(config)
    _check_name(told.architecture)
    if encoder and encoder.partition(".")[0] != told.architecture:
        raise ValueError(
            f"--encoder {encoder}, but {folder} says that it is {told.architecture}: leave it out"
        )
    normalise = _normalise(told.mean, told.std)
    return _taken(told.architecture, told.args, normalise, weights, size or told.size or 0)


def _torchvision(file: Path, encoder: str, size: int) -> ImportedCheckpoint:
    """A state dict of torchvision."""
    if not encoder:
        raise ValueError(f"say of which of torchvision's models {file} is (--encoder resnet50)")
    name = timm_name(encoder)
    weights = rename_weights(encoder, read_weights(file))
    return _taken(name, {}, _normalise(*(list(part) for part in IMAGENET)), weights, size)


def _check_name(name: str) -> None:
    if not timm.is_model(name):
        raise ValueError(f"unknown encoder {name!r}{did_you_mean(name, timm.list_models())}")


def _normalise(mean: list[float] | None, std: list[float] | None) -> Any:
    """The encoder's option."""
    if mean is None or std is None:
        return "timm"
    unit = not any(mean) and all(value == 1 for value in std)
    return "unit" if unit else [mean, std]


def _taken(
    name: str, args: Mapping[str, Any], normalise: Any, weights: Weights, size: int
) -> ImportedCheckpoint:
    """The run, as far as weights decide it; the method's heads are drawn anew."""
    known = timm.get_pretrained_cfg(name)
    config = {} if known is None else known.to_dict()
    kept, notes = _without_classifier(weights, config.get("classifier"))
    size = size or config.get("input_size", (3, 224, 224))[1]
    reading = {"size": size, "channels": _channels(kept, config.get("first_conv"))}
    return ImportedCheckpoint(
        encoder=name,
        encoder_options={**args, "stem": "timm", "normalise": normalise},
        weights=add_batch_counters(kept),
        head={},
        missing=None,
        notes=notes,
        info=ImageInfo(channels=reading["channels"], size=size),
        # files are kept a little larger than what is read of them, as 256 px are for 224
        reading={**reading, "decode": max(256, round(size * 8 / 7))},
    )


def _without_classifier(weights: Weights, classifier: Any) -> tuple[Weights, list[str]]:
    """The rest, and a sentence on what was left out."""
    names = [classifier] if isinstance(classifier, str) else list(classifier or ())
    lost = {n for n in weights if any(n.startswith(f"{name}.") for name in names)}
    notes = [f"the classifier {', '.join(names)} was left out"] if lost else []
    return {n: w for n, w in weights.items() if n not in lost}, notes


def _channels(weights: Weights, first: Any) -> int:
    """Of the images, by what the first convolution takes; 3 where timm does not say which it is."""
    name = f"{first if isinstance(first, str) else (first or ('',))[0]}.weight"
    # a weight of no such shape is refused with all others that do not fit
    channels = weights[name].shape[1] if name in weights and weights[name].ndim > 1 else 3
    if channels not in (1, 3):
        raise ValueError(f"{name} takes images of {channels} channels, and selfwise's have 1 or 3")
    return channels
