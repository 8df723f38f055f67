"""Weights of BEiT by Hugging Face's names and by timm's to ours, and back to Hugging Face's.

Everything is names, tensors and json files as dicts: no model is built and nothing runs. Names
from transformers' `models/beit`, as its checkpoints have them, and timm's `models/beit.py`, which
are those of unilm/beit, lm_head and mask_token included.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from selfwise.interop.huggingface.beit_configs import (
    HALF,
    BeitConfig,
    read_config,
    read_timm,
    write_config,
)
from selfwise.interop.huggingface.beit_names import PREFIX, TIMM, WeightSpec, list_weights
from selfwise.interop.timm.config import image_statistics
from selfwise.interop.types import EncoderOptions, JsonObject, Weights

ChannelValues = float | Sequence[float]  # one for all channels, or one for each


class BeitCheckpoint(NamedTuple):
    """A checkpoint by our names, in float32."""

    options: EncoderOptions  # of encoders.vit.build
    size: int  # side of the images in px
    channels: int
    encoder: Weights
    head: Weights  # of the method: mask, head.weight, head.bias
    missing: list[str]  # weights that the checkpoint lacks: to be drawn at random
    notes: list[str]  # what was left out or changed, a sentence each


def from_hf(
    config: JsonObject,
    weights: Mapping[str, Tensor],
    preprocessor: JsonObject | None = None,
) -> BeitCheckpoint:
    """Return a checkpoint of any Beit class, from its config.json, tensors,
    preprocessor_config.json.

    Raises ValueError with one sentence for a model that our encoders do not compute, and for
    weights that are missing or do not fit the config.
    """
    standard = _standardize_names(weights)
    beit_config = read_config(config, standard)
    processor = preprocessor or {}
    statistics = processor.get("image_mean", HALF), processor.get("image_std", HALF)
    if not processor.get("do_normalize", True):
        statistics = 0.0, 1.0
    return _build_checkpoint(beit_config, standard, statistics)


def from_timm(config: JsonObject, weights: Mapping[str, Tensor]) -> BeitCheckpoint:
    """Return a checkpoint of timm's Beit, from its config.json and tensors, or of unilm's code.

    What the model is, its tensors say; the config is read for the statistics of its images. Raises
    ValueError with one sentence for weights that are missing or do not fit each other.
    """
    standard = _split_qkv({TIMM.translate(name): weight for name, weight in weights.items()})
    mean, std = image_statistics(config)
    statistics = HALF if mean is None else mean, HALF if std is None else std
    return _build_checkpoint(read_timm(standard), standard, statistics)


def to_hf(
    options: EncoderOptions,
    encoder: Mapping[str, Tensor],
    head: Mapping[str, Tensor],
    *,
    size: int,
    channels: int,
) -> tuple[JsonObject, Weights]:
    """(config.json, weights) as transformers itself would save them.

    `options` are all fields of the encoder's shape; `head` the rest of the method `beit`, or
    nothing. With the method it is a BeitForMaskedImageModeling, and otherwise a BeitModel, whose
    `last_hidden_state` is our `tokens`. An encoder whose norm is on the mean is a BeitModel too,
    without the head, since theirs reads tokens with the norm on them.
    """
    masked = "head.weight" in head and options["norm"] == "tokens"
    config = write_config(options, size=size, channels=channels, masked=masked)
    config["use_mask_token"] = "mask_embedding" in head
    if masked:
        config["vocab_size"] = len(head["head.weight"])
    head_weights = {
        n: w for n, w in head.items() if n == "mask_embedding" or (masked and n.startswith("head."))
    }
    all_weights, exported = {**encoder, **head_weights}, Weights()
    for spec in list_weights(options, size, channels, masked=masked):
        if spec.ours in all_weights:
            pieces = all_weights[spec.ours].detach().float().chunk(len(spec.theirs))
            shape = (-1, *spec.shape[1:]) if spec.ours != "mask_embedding" else (1, 1, -1)
            exported |= {n: p.reshape(shape).clone() for n, p in zip(spec.theirs, pieces)}
    named = {n if masked else n.removeprefix(PREFIX): w for n, w in exported.items()}
    return config, {n: w.contiguous() for n, w in named.items()}


def _build_checkpoint(
    config: BeitConfig, weights: Weights, statistics: tuple[ChannelValues, ChannelValues]
) -> BeitCheckpoint:
    """Return the tensors by our names, checked, for images of our statistics."""
    options, size, channels, config_notes = config
    units = len(weights["lm_head.weight"]) if "lm_head.weight" in weights else 0
    masked = options["norm"] == "tokens" and "layernorm.weight" in weights
    ours: Weights = {}
    missing: list[str] = []
    used: set[str] = set()
    for spec in list_weights(options, size, channels, masked=masked, units=units):
        absent = [name for name in spec.theirs if name not in weights]
        if absent and spec.required:
            raise ValueError(f"the checkpoint has no weight {absent[0]}")
        if absent:
            missing.append(spec.ours)
        else:
            ours[spec.ours] = _join_tensors(spec, weights)
            used.update(spec.theirs)
    unused = [name for name in sorted(weights) if name not in used]
    notes = [*config_notes]
    notes += [f"{name} has no counterpart in selfwise and was left out" for name in unused]
    mean, std = (_per_channel(values, channels) for values in statistics)
    if mean != [HALF] * channels or std != [HALF] * channels:
        _fold_statistics(ours, torch.tensor(mean), torch.tensor(std))
        notes.append(
            f"its images had mean {mean} and deviation {std}, and ours have 0.5 and 0.5: the "
            "patches' weights were rescaled to keep the features"
        )
    head = {n: ours.pop(n) for n in list(ours) if n == "mask_embedding" or n.startswith("head.")}
    return BeitCheckpoint(options, size, channels, ours, head, missing, notes)


def _join_tensors(spec: WeightSpec, weights: Weights) -> Tensor:
    weight = torch.cat([weights[name].float() for name in spec.theirs])
    weight = weight.flatten() if spec.ours == "mask_embedding" else weight
    if weight.shape != spec.shape:
        raise ValueError(
            f"the checkpoint's {spec.theirs[0]} does not fit the rest: it is "
            f"{tuple(weight.shape)} where {spec.shape} is expected"
        )
    return weight.contiguous().clone()


def _fold_statistics(encoder: Weights, mean: Tensor, std: Tensor) -> None:
    """Turn weights for (x - mean) / std into weights for (x - 0.5) / 0.5; there is no border."""
    weight = encoder["patches.weight"].double()
    mean, std = (t.double()[:, None, None] for t in (mean, std))
    shift = (weight * (HALF - mean) / std).sum(dim=(1, 2, 3))
    encoder["patches.weight"] = (weight * HALF / std).float()
    encoder["patches.bias"] = (encoder["patches.bias"].double() + shift).float()


def _per_channel(values: ChannelValues, channels: int) -> list[float]:
    """Return a number for each channel; of three for one channel, the mean."""
    numbers = (
        [float(v) for v in values] if isinstance(values, Sequence) else [float(values)] * channels
    )
    return numbers if len(numbers) == channels else [sum(numbers) / len(numbers)] * channels


def _standardize_names(weights: Mapping[str, Tensor]) -> Weights:
    """Return the weights by the names of files, with the prefix of a class that has a head."""
    bare = not any(name.startswith(PREFIX) for name in weights)
    standard = {}
    for name, weight in weights.items():
        name = PREFIX + name if bare else name
        for memory_name, file_name in _MEMORY_NAMES:
            name = re.sub(memory_name, file_name, name)
        if not name.endswith(".relative_position_index"):
            standard[name] = weight
    return standard


# transformers 5 has other names in memory than in files
_MEMORY_LAYER = r"^beit\.layers\.(\d+)\."
_FILE_LAYER = r"beit.encoder.layer.\1."
_MEMORY_NAMES = [
    *((rf"{_MEMORY_LAYER}attention\.{short}_proj\.", rf"{_FILE_LAYER}attention.attention.{long}.")
      for short, long in (("q", "query"), ("k", "key"), ("v", "value"))),
    (rf"{_MEMORY_LAYER}attention\.o_proj\.", rf"{_FILE_LAYER}attention.output.dense."),
    (rf"{_MEMORY_LAYER}mlp\.fc1\.", rf"{_FILE_LAYER}intermediate.dense."),
    (rf"{_MEMORY_LAYER}mlp\.fc2\.", rf"{_FILE_LAYER}output.dense."),
    (
        rf"{_MEMORY_LAYER}relative_position_bias\.",
        rf"{_FILE_LAYER}attention.attention.relative_position_bias.",
    ),
    (_MEMORY_LAYER, _FILE_LAYER),
    (r"^beit\.shared_position_bias\.", "beit.encoder.relative_position_bias."),
]  # fmt: skip


def _split_qkv(weights: Weights) -> Weights:
    """Queries, keys and values by themselves, and no constants."""
    separate = Weights()
    for name, weight in weights.items():
        stem, fused, kind = name.partition("attention.attention.qkv.")
        if fused:
            parts = zip(("query", "key", "value"), weight.chunk(3))
            separate |= {f"{stem}attention.attention.{part}.{kind}": w for part, w in parts}
        elif not name.endswith("relative_position_index"):
            separate[name] = weight
    return separate
