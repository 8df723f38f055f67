"""Weights of BEiT by Hugging Face's names and by timm's to ours, and back to Hugging Face's.

Everything is names, tensors and json files as dicts: no model is built and nothing runs. Names
from transformers' `models/beit`, as its checkpoints have them, and timm's `models/beit.py`, which
are those of unilm/beit, lm_head and mask_token included.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from selfwise.interop.huggingface.beit_configs import HALF, read_config, read_timm, write_config
from selfwise.interop.huggingface.beit_names import PREFIX, TIMM, Part, names
from selfwise.interop.timm.config import statistics

Weights = dict[str, Tensor]


class Imported(NamedTuple):
    """A checkpoint by our names, in float32."""

    options: dict[str, Any]  # of build_beit_encoder
    size: int  # side of the images in px
    channels: int
    encoder: Weights
    head: Weights  # of the method: mask, head.weight, head.bias
    missing: list[str]  # what the checkpoint lacks: to be drawn anew
    notes: list[str]  # what was left out or changed, a sentence each


def from_hf(
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    preprocessor: Mapping[str, Any] | None = None,
) -> Imported:
    """A checkpoint of any Beit class, from its config.json, tensors, preprocessor_config.json.

    Raises ValueError with one sentence for a model that our encoders do not compute, and for
    weights that are missing or do not fit the config.
    """
    found = _tidy(weights)
    options, size, channels, notes = read_config(config, found)
    told = preprocessor or {}
    normal = told.get("image_mean", HALF), told.get("image_std", HALF)
    if not told.get("do_normalize", True):
        normal = 0.0, 1.0
    return _imported(options, size, channels, found, notes, normal)


def from_timm(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Imported:
    """A checkpoint of timm's Beit, from its config.json and tensors, or of unilm's code.

    What the model is, its tensors say; the config is read for the statistics of its images. Raises
    ValueError with one sentence for weights that are missing or do not fit each other.
    """
    found = _split({TIMM.translated(name): weight for name, weight in weights.items()})
    options, size, channels = read_timm(found)
    mean, std = statistics(config)
    told = HALF if mean is None else mean, HALF if std is None else std
    return _imported(options, size, channels, found, [], told)


def to_hf(
    options: Mapping[str, Any],
    encoder: Mapping[str, Tensor],
    head: Mapping[str, Tensor],
    *,
    size: int,
    channels: int,
) -> tuple[dict[str, Any], Weights]:
    """(config.json, weights) as transformers itself would save them.

    `options` are all fields of the encoder's shape; `head` the rest of the method `beit`, or
    nothing. With the method it is a BeitForMaskedImageModeling, and otherwise a BeitModel, whose
    `last_hidden_state` is our `tokens`. An encoder whose norm is on the mean is a BeitModel too,
    without the head, since theirs reads tokens with the norm on them.
    """
    masked = "head.weight" in head and options["norm"] == "tokens"
    config = write_config(options, size=size, channels=channels, masked=masked)
    config["use_mask_token"] = "mask" in head
    if masked:
        config["vocab_size"] = len(head["head.weight"])
    kept = {n: w for n, w in head.items() if n == "mask" or (masked and n.startswith("head."))}
    ours, written = {**encoder, **kept}, Weights()
    for part in names(options, size, channels, masked=masked):
        if part.ours in ours:
            pieces = ours[part.ours].detach().float().chunk(len(part.theirs))
            shape = (-1, *part.shape[1:]) if part.ours != "mask" else (1, 1, -1)
            written |= {n: p.reshape(shape).clone() for n, p in zip(part.theirs, pieces)}
    plain = {n if masked else n.removeprefix(PREFIX): w for n, w in written.items()}
    return config, {n: w.contiguous() for n, w in plain.items()}


def _imported(
    options: dict[str, Any],
    size: int,
    channels: int,
    found: Weights,
    notes: list[str],
    normal: tuple[Any, Any],
) -> Imported:
    """The tensors by our names, checked, for images of our statistics."""
    units = len(found["lm_head.weight"]) if "lm_head.weight" in found else 0
    masked = options["norm"] == "tokens" and "layernorm.weight" in found
    gathered: Weights = {}
    missing: list[str] = []
    used: set[str] = set()
    for part in names(options, size, channels, masked=masked, units=units):
        lost = [name for name in part.theirs if name not in found]
        if lost and part.needed:
            raise ValueError(f"the checkpoint has no weight {lost[0]}")
        if lost:
            missing.append(part.ours)
        else:
            gathered[part.ours] = _fitting(part, found)
            used.update(part.theirs)
    notes += [f"{name} has no place in selfwise and was left out" for name in sorted(found)
              if name not in used]  # fmt: skip
    mean, std = (_channels(told, channels) for told in normal)
    if mean != [HALF] * channels or std != [HALF] * channels:
        _fold(gathered, torch.tensor(mean), torch.tensor(std))
        notes.append(
            f"its images had mean {mean} and deviation {std}, and ours 0.5 and 0.5: the patches' "
            "weights are changed so that the features are the same"
        )
    head = {n: gathered.pop(n) for n in list(gathered) if n == "mask" or n.startswith("head.")}
    return Imported(options, size, channels, gathered, head, missing, notes)


def _fitting(part: Part, found: Weights) -> Tensor:
    weight = torch.cat([found[name].float() for name in part.theirs])
    weight = weight.flatten() if part.ours == "mask" else weight
    if weight.shape != part.shape:
        raise ValueError(
            f"the checkpoint's {part.theirs[0]} does not fit the rest: it is "
            f"{tuple(weight.shape)} where {part.shape} is expected"
        )
    return weight.contiguous().clone()


def _fold(encoder: Weights, mean: Tensor, std: Tensor) -> None:
    """Patches of (x - mean) / std become patches of (x - 0.5) / 0.5; there is no border."""
    weight = encoder["patches.weight"].double()
    mean, std = (t.double()[:, None, None] for t in (mean, std))
    shift = (weight * (HALF - mean) / std).sum(dim=(1, 2, 3))
    encoder["patches.weight"] = (weight * HALF / std).float()
    encoder["patches.bias"] = (encoder["patches.bias"].double() + shift).float()


def _channels(told: Any, channels: int) -> list[float]:
    """A number for each channel; of three for one channel, the mean."""
    found = [float(v) for v in told] if isinstance(told, Sequence) else [float(told)] * channels
    return found if len(found) == channels else [sum(found) / len(found)] * channels


def _tidy(weights: Mapping[str, Tensor]) -> Weights:
    """The weights by the names of files, with the prefix of a class that has a head."""
    bare = not any(name.startswith(PREFIX) for name in weights)
    found = {}
    for name, weight in weights.items():
        name = PREFIX + name if bare else name
        for today, file in _TODAY:
            name = re.sub(today, file, name)
        if not name.endswith(".relative_position_index"):
            found[name] = weight
    return found


# transformers 5 has other names in memory than in files
_LAYER = r"^beit\.layers\.(\d+)\."
_FILE = r"beit.encoder.layer.\1."
_TODAY = [
    *((rf"{_LAYER}attention\.{short}_proj\.", rf"{_FILE}attention.attention.{long}.")
      for short, long in (("q", "query"), ("k", "key"), ("v", "value"))),
    (rf"{_LAYER}attention\.o_proj\.", rf"{_FILE}attention.output.dense."),
    (rf"{_LAYER}mlp\.fc1\.", rf"{_FILE}intermediate.dense."),
    (rf"{_LAYER}mlp\.fc2\.", rf"{_FILE}output.dense."),
    (rf"{_LAYER}relative_position_bias\.", rf"{_FILE}attention.attention.relative_position_bias."),
    (_LAYER, _FILE),
    (r"^beit\.shared_position_bias\.", "beit.encoder.relative_position_bias."),
]  # fmt: skip


def _split(found: Weights) -> Weights:
    """Queries, keys and values by themselves, and no constants."""
    apart = Weights()
    for name, weight in found.items():
        stem, fused, kind = name.partition("attention.attention.qkv.")
        if fused:
            parts = zip(("query", "key", "value"), weight.chunk(3))
            apart |= {f"{stem}attention.attention.{part}.{kind}": w for part, w in parts}
        elif not name.endswith("relative_position_index"):
            apart[name] = weight
    return apart
