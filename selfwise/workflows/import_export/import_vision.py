"""Import weights of timm and of torchvision as runs on images, to use or train further."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import timm

from selfwise.core.data_info import ImageInfo
from selfwise.core.errors import did_you_mean
from selfwise.interop.huggingface.folder import read_folder, read_weights
from selfwise.interop.timm import config as timm_config
from selfwise.interop.torchvision import (
    IMAGENET,
    add_batch_counters,
    find_timm_name,
    rename_weights,
)
from selfwise.methods import Method
from selfwise.methods.needs import IMAGE_SIZE
from selfwise.workflows.import_export.imported_checkpoint import (
    ImportedCheckpoint,
    ImportOptions,
    Weights,
)

FAMILIES = ("timm", "torchvision")
Normalize = str | list[list[float]]  # "timm", "unit", or mean and deviation of each channel
METHOD = "simclr"  # used if the user names no method


def check_vision_method(kind: type[Method], name: str) -> None:
    """Raise ValueError for a method that cannot be built without images."""
    if kind.modality != "image":
        raise ValueError(f"--method {name} is for {kind.modality}, and these weights see images")
    needs = [part for part, need in kind.needs.items() if need is not IMAGE_SIZE]
    if needs:
        raise ValueError(
            f"--method {name} needs {needs[0]} of its training images: import the "
            f"weights with another method, such as {METHOD}, then run `pretrain {name} "
            "--init-from RUN`"
        )


def read_checkpoint(family: str, folder: Path, options: ImportOptions) -> ImportedCheckpoint:
    """Read the weights without their classifier, and the size and range of their images.

    Raises ValueError with one sentence for anything else than such a checkpoint.
    """
    encoder, size = options.encoder, options.image_size
    if family == "torchvision":
        return _read_torchvision(folder, encoder, size)
    if folder.is_dir():
        return _read_timm_folder(folder, encoder, size)
    if not encoder:
        raise ValueError(
            f"{folder} has weights without a config.json: give timm's name of the model with "
            "--encoder"
        )
    _check_name(encoder)
    return _make_checkpoint(encoder, {}, "timm", read_weights(folder), size)


def _read_timm_folder(folder: Path, encoder: str, size: int) -> ImportedCheckpoint:
    """Read a folder that timm saves or pushes to a hub: config.json and model.safetensors."""
    config, weights = read_folder(folder)
    description = timm_config.read_config(config)
    name = description.architecture
    _check_name(name)
    if encoder and encoder.partition(".")[0] != name:
        raise ValueError(f"--encoder {encoder}, but {folder} holds {name}: leave out --encoder")
    normalize = _choose_normalize(description.mean, description.std)
    size = size or description.size or 0
    return _make_checkpoint(name, description.args, normalize, weights, size)


def _read_torchvision(file: Path, encoder: str, size: int) -> ImportedCheckpoint:
    """Read a state dict of torchvision."""
    if not encoder:
        raise ValueError(
            f"{file} does not name its model: give torchvision's name of it, such as --encoder "
            "resnet50"
        )
    name = find_timm_name(encoder)
    weights = rename_weights(encoder, read_weights(file))
    normalize = _choose_normalize(*(list(part) for part in IMAGENET))
    return _make_checkpoint(name, {}, normalize, weights, size)


def _check_name(name: str) -> None:
    if not timm.is_model(name):
        raise ValueError(f"unknown encoder {name!r}{did_you_mean(name, timm.list_models())}")


def _choose_normalize(mean: list[float] | None, std: list[float] | None) -> Normalize:
    """Choose the encoder's option `normalize`."""
    if mean is None or std is None:
        return "timm"
    unit = not any(mean) and all(value == 1 for value in std)
    return "unit" if unit else [mean, std]


def _make_checkpoint(
    name: str, args: Mapping[str, object], normalize: Normalize, weights: Weights, size: int
) -> ImportedCheckpoint:
    """Make the run, as far as the weights determine it; the method's heads are drawn at random."""
    published = timm.get_pretrained_cfg(name)
    config = {} if published is None else published.to_dict()
    trunk, notes = _without_classifier(weights, config.get("classifier"))
    size = size or config.get("input_size", (3, 224, 224))[1]
    reading = {"image_size": size, "channels": _count_channels(trunk, config.get("first_conv"))}
    return ImportedCheckpoint(
        encoder=name,
        encoder_options={**args, "stem": "timm", "normalize": normalize},
        weights=add_batch_counters(trunk),
        head={},
        missing=None,
        notes=notes,
        info=ImageInfo(channels=reading["channels"], size=size),
        # images are stored a little larger than the model reads them, such as 256 px for 224
        reading={**reading, "max_decode_size": max(256, round(size * 8 / 7))},
    )


def _without_classifier(
    weights: Weights, classifier: str | Sequence[str] | None
) -> tuple[Weights, list[str]]:
    """Return the remaining weights, and a sentence on what was left out."""
    names = [classifier] if isinstance(classifier, str) else list(classifier or ())
    lost = {n for n in weights if any(n.startswith(f"{name}.") for name in names)}
    notes = [f"the classifier {', '.join(names)} was left out"] if lost else []
    return {n: w for n, w in weights.items() if n not in lost}, notes


def _count_channels(weights: Weights, first: str | Sequence[str] | None) -> int:
    """Return the channels that the first convolution takes; 3 if timm does not name that layer."""
    name = f"{first if isinstance(first, str) else (first or ('',))[0]}.weight"
    # weights of another shape are refused later, with all other weights that do not fit
    channels = weights[name].shape[1] if name in weights and weights[name].ndim > 1 else 3
    if channels not in (1, 3):
        raise ValueError(
            f"{name} takes images of {channels} channels, but images in selfwise have 1 or 3"
        )
    return channels
