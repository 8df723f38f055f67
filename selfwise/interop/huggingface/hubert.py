"""Weights of Hugging Face's HuBERT to ours, and back.

Everything is names, tensors and json files as dicts: no model is built and nothing runs. Names
from transformers' `models/hubert`, as its checkpoints have them.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from selfwise.core.errors import did_you_mean
from selfwise.core.types import RATE
from selfwise.interop.huggingface.config_fields import merge_fields
from selfwise.interop.types import EncoderOptions, JsonObject, Weights

KERNELS, STRIDES = [10, 3, 3, 3, 3, 2, 2], [5, 2, 2, 2, 2, 2, 2]
PREFIX, MASK = "hubert.", "masked_spec_embed"
# gelu_new, gelu_fast and gelu_pytorch_tanh are the same function, written in three ways
ACTIVATIONS = {"gelu": "gelu", "relu": "relu"}
ACTIVATIONS |= dict.fromkeys(("gelu_new", "gelu_fast", "gelu_pytorch_tanh"), "gelu_tanh")
_ACTIVATION_NAMES = {"gelu": "gelu", "relu": "relu", "gelu_tanh": "gelu_new"}

# our option: their field
_FIELD_NAMES = {
    "depth": "num_hidden_layers",
    "dim": "hidden_size",
    "heads": "num_attention_heads",
    "ff": "intermediate_size",
    "stem_norm": "feat_extract_norm",
    "stem_bias": "conv_bias",
    "position_kernel": "num_conv_pos_embeddings",
    "position_groups": "num_conv_pos_embedding_groups",
    "eps": "layer_norm_eps",
    "dropout": "hidden_dropout",
    "input_dropout": "feat_proj_dropout",
    "attention_dropout": "attention_dropout",
    "layerdrop": "layerdrop",
}
# their values where config.json is silent, as in HubertConfig
_DEFAULTS: JsonObject = {
    **{"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
    **{"intermediate_size": 3072, "hidden_act": "gelu", "hidden_dropout": 0.1},
    **{"activation_dropout": 0.1, "attention_dropout": 0.1, "feat_proj_dropout": 0.0},
    **{"layerdrop": 0.1, "layer_norm_eps": 1e-5, "feat_extract_norm": "group"},
    **{"conv_dim": [512] * 7, "conv_stride": STRIDES, "conv_kernel": KERNELS, "conv_bias": False},
    **{"num_conv_pos_embeddings": 128, "num_conv_pos_embedding_groups": 16},
    **{"do_stable_layer_norm": False},
}
# fields that change what is computed, and the only values of each that we compute
_ALLOWED_VALUES: dict[str, tuple[object, ...]] = {
    "feat_extract_activation": ("gelu",),
    "feat_proj_layer_norm": (True,),
    "conv_pos_batch_norm": (False, None),
    "adapter_attn_dim": (None,),
    "conv_kernel": (KERNELS,),
    "conv_stride": (STRIDES,),
}
_TOP_NAMES = {
    "stem_norm": "feature_projection.layer_norm",
    "project": "feature_projection.projection",
}
_LAYER_NAMES: dict[str, tuple[str, ...]] = {
    "attention.qkv": tuple(f"attention.{part}_proj" for part in ("q", "k", "v")),
    "attention.out": ("attention.out_proj",),
    "norm1": ("layer_norm",),
    "mlp.up": ("feed_forward.intermediate_dense",),
    "mlp.down": ("feed_forward.output_dense",),
    "norm2": ("final_layer_norm",),
}
_POSITION = "encoder.pos_conv_embed.conv."
_WEIGHT_NORM = {"g": "parametrizations.weight.original0", "v": "parametrizations.weight.original1"}
_OLD_NAMES = {"weight_g": _WEIGHT_NORM["g"], "weight_v": _WEIGHT_NORM["v"]}  # before torch 2.1


class HubertCheckpoint(NamedTuple):
    """A checkpoint by our names, in float32."""

    name: str  # of the encoder: hubert
    options: EncoderOptions  # of encoders.speech.build
    encoder: Weights
    mask: Tensor | None  # (d) of the method: what hidden frames are replaced by
    missing: list[str]  # weights that the checkpoint lacks: to be drawn at random
    notes: list[str]  # what was left out or assumed, a sentence each


def from_hf(
    config: JsonObject,
    weights: Mapping[str, Tensor],
    preprocessor: JsonObject | None = None,
) -> HubertCheckpoint:
    """Return a checkpoint of any Hubert class, from its config.json, tensors,
    preprocessor_config.json.

    Raises ValueError with one sentence for a model that our encoders do not compute, and for
    weights that are missing or do not fit the config.
    """
    options, notes = _read_config(config)
    if preprocessor is not None:
        options["normalize"] = bool(preprocessor.get("do_normalize", True))
        rate = preprocessor.get("sampling_rate", RATE)
        if rate != RATE:
            raise ValueError(
                f"preprocessor_config.json: sampling_rate is {rate}, but selfwise's speech has "
                f"{RATE}"
            )
    else:
        notes.append(
            "there is no preprocessor_config.json, so normalize was set to "
            f"{str(options['normalize']).lower()}, as in the published models of its kind"
        )
    standard = _standardize_names(weights)
    encoder, used = {}, {MASK}
    for ours, theirs, shape in list_encoder_names(options):
        absent = [name for name in theirs if name not in standard]
        if absent:
            raise ValueError(f"the checkpoint has no weight {absent[0]}")
        weight = torch.cat([standard[name].float() for name in theirs])
        if weight.shape != shape:
            raise ValueError(
                f"the checkpoint's {theirs[0]} does not fit its config.json: together with its "
                f"parts it is {tuple(weight.shape)}, but the config requires {shape}"
            )
        encoder[ours] = weight.contiguous().clone()
        used.update(theirs)
    mask = standard.get(MASK)
    if mask is not None and mask.shape != (options["dim"],):
        raise ValueError(f"the checkpoint's {MASK} is not as wide as its layers")
    unused = [name for name in sorted(standard) if name not in used]
    notes += [f"{name} has no counterpart in selfwise and was left out" for name in unused]
    missing = ["mask_embedding"] if mask is None else []
    mask = None if mask is None else mask.float().clone()
    return HubertCheckpoint("hubert", options, encoder, mask, missing, notes)


def to_hf(
    options: EncoderOptions, encoder: Mapping[str, Tensor], mask: Tensor | None = None
) -> tuple[JsonObject, Weights]:
    """(config.json, weights) of a HubertModel, as transformers itself would save them.

    `options` are all fields of the encoder's shape; `mask` (d) is the method's. Raises ValueError
    with one sentence for an encoder that HubertModel cannot be.
    """
    if options["stem"] != "wave":
        raise ValueError(
            f"transformers' HubertModel reads the wave, and this encoder has the stem "
            f"{options['stem']!r}; only runs with --encoder.stem wave can be exported"
        )
    config = {theirs: options[ours] for ours, theirs in _FIELD_NAMES.items()}
    config |= {
        **{"architectures": ["HubertModel"], "model_type": "hubert", "dtype": "float32"},
        **{"conv_dim": [options["stem_dim"]] * 7, "conv_kernel": KERNELS, "conv_stride": STRIDES},
        **{"num_feat_extract_layers": 7, "feat_extract_activation": "gelu"},
        **{"feat_proj_layer_norm": True, "conv_pos_batch_norm": False},
        **{"do_stable_layer_norm": options["norm"] == "pre", "activation_dropout": 0.0},
        **{"hidden_act": _ACTIVATION_NAMES[options["activation"]]},
        # their class has the mask embedding only where it masks in training
        **{"apply_spec_augment": mask is not None, "mask_feature_prob": 0.0},
        **{"mask_time_prob": 0.0 if mask is None else 0.05, "mask_time_length": 10},
    }
    exported: Weights = {} if mask is None else {MASK: _to_float32(mask)}
    for ours, theirs, _ in list_encoder_names(options):
        weight = encoder[ours]
        parts = weight.chunk(len(theirs)) if len(theirs) > 1 else (weight,)
        exported |= {name: _to_float32(part) for name, part in zip(theirs, parts)}
    return config, exported


def write_preprocessor(options: EncoderOptions) -> JsonObject:
    """preprocessor_config.json: what AutoFeatureExtractor does to a wave before the model.

    `return_attention_mask` is what transformers recommends: not for group norm, where it would
    have an effect in the layers alone, and the padding one in the norm all the same.
    """
    return {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "sampling_rate": RATE,
        "padding_value": 0.0,
        "padding_side": "right",
        "do_normalize": options["normalize"],
        "return_attention_mask": options["stem_norm"] == "layer",
    }


def list_encoder_names(
    options: EncoderOptions,
) -> Iterator[tuple[str, tuple[str, ...], tuple[int, ...]]]:
    """Our name of each encoder weight, theirs (several are one of ours), and its shape."""
    c, d, ff = options["stem_dim"], options["dim"], options["ff"]
    for i, kernel in enumerate(KERNELS):
        prefix = f"feature_extractor.conv_layers.{i}."
        yield f"stem.convs.{i}.weight", (f"{prefix}conv.weight",), (c, c if i else 1, kernel)
        if options["stem_bias"]:
            yield f"stem.convs.{i}.bias", (f"{prefix}conv.bias",), (c,)
        if i == 0 or options["stem_norm"] == "layer":
            yield from _weight_and_bias(f"stem.norms.{i}", (f"{prefix}layer_norm",), (c,))
    yield from _weight_and_bias("stem_norm", (_TOP_NAMES["stem_norm"],), (c,))
    yield from _weight_and_bias("project", (_TOP_NAMES["project"],), (d, c))
    kernel, group_width = options["position_kernel"], d // options["position_groups"]
    yield "position.g", (_POSITION + _WEIGHT_NORM["g"],), (1, 1, kernel)
    yield "position.v", (_POSITION + _WEIGHT_NORM["v"],), (d, group_width, kernel)
    yield "position.bias", (f"{_POSITION}bias",), (d,)
    # the last norm of "pre", and of "post" the first
    norm_name = "blocks.norm" if options["norm"] == "pre" else "norm"
    yield from _weight_and_bias(norm_name, ("encoder.layer_norm",), (d,))
    shapes = {"attention.qkv": (3 * d, d), "attention.out": (d, d), "norm1": (d,), "norm2": (d,)}
    shapes |= {"mlp.up": (ff, d), "mlp.down": (d, ff)}
    for i in range(options["depth"]):
        for ours, parts in _LAYER_NAMES.items():
            theirs = tuple(f"encoder.layers.{i}.{part}" for part in parts)
            yield from _weight_and_bias(f"blocks.blocks.{i}.{ours}", theirs, shapes[ours])


def _weight_and_bias(
    ours: str, theirs: tuple[str, ...], shape: tuple[int, ...]
) -> Iterator[tuple[str, tuple[str, ...], tuple[int, ...]]]:
    yield f"{ours}.weight", tuple(f"{name}.weight" for name in theirs), shape
    yield f"{ours}.bias", tuple(f"{name}.bias" for name in theirs), shape[:1]


def _read_config(config: JsonObject) -> tuple[EncoderOptions, list[str]]:
    """(options of the encoder, notes). Raises ValueError for what ours do not compute."""
    model_type = str(config.get("model_type", ""))
    if model_type != "hubert":
        raise ValueError(
            f"config.json: model_type {model_type!r} cannot be imported as speech"
            f"{did_you_mean(model_type, ['hubert'])}"
        )
    for name, allowed in _ALLOWED_VALUES.items():
        value = config.get(name, allowed[0])
        value = list(value) if isinstance(value, tuple) else value
        if value not in allowed:
            raise ValueError(
                f"config.json: {name} is {value!r}, but selfwise's speech encoders have only "
                f"{allowed[0]!r}"
            )
    fields = merge_fields(config, _DEFAULTS)
    if len(set(fields["conv_dim"])) != 1 or len(fields["conv_dim"]) != len(KERNELS):
        raise ValueError(
            f"config.json: conv_dim is {list(fields['conv_dim'])}, but in selfwise's speech "
            f"encoders {len(KERNELS)} convolutions have one number of channels"
        )
    if fields["hidden_act"] not in ACTIVATIONS:
        raise ValueError(
            f"config.json: hidden_act {fields['hidden_act']!r} is not supported"
            f"{did_you_mean(str(fields['hidden_act']), ACTIVATIONS)}"
        )
    options = {ours: fields[theirs] for ours, theirs in _FIELD_NAMES.items()}
    is_pre_norm = bool(fields["do_stable_layer_norm"])
    options |= {
        "stem": "wave",
        "stem_dim": fields["conv_dim"][0],
        "norm": "pre" if is_pre_norm else "post",
    }
    options["activation"] = ACTIVATIONS[fields["hidden_act"]]
    # neither is in config.json; Large, whose stem has layer norms, was trained with these
    has_layer_norm = fields["feat_extract_norm"] == "layer"
    options |= {"normalize": has_layer_norm, "stem_grad": 1.0 if has_layer_norm else 0.1}
    notes = []
    if fields["activation_dropout"]:
        notes.append(
            "activation_dropout is left out: these encoders have no dropout inside of the MLPs"
        )
    return options, notes


def _standardize_names(weights: Mapping[str, Tensor]) -> Weights:
    """Return the weights by today's names, without the prefix that they have in a class with a
    head."""
    standard = {}
    for name, weight in weights.items():
        name = name.removeprefix(PREFIX)
        for old, new in _OLD_NAMES.items():
            name = f"{_POSITION}{new}" if name == f"{_POSITION}{old}" else name
        standard[name] = weight
    return standard


def _to_float32(weight: Tensor) -> Tensor:
    return weight.detach().float().contiguous().clone()
