"""BEiT's config.json, of Hugging Face and of timm, to the options of our encoders, and back."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from selfwise.core.errors import did_you_mean
from selfwise.interop.huggingface.config_fields import merge_fields
from selfwise.interop.image_preprocessing import shorter_side
from selfwise.interop.types import EncoderOptions, JsonObject

HALF = 0.5  # mean and standard deviation of every channel that our encoders expect

# our option: their field
_FIELD_NAMES = {
    "depth": "num_hidden_layers",
    "dim": "hidden_size",
    "heads": "num_attention_heads",
    "ff": "intermediate_size",
    "patch": "patch_size",
    "layer_scale": "layer_scale_init_value",
    "drop_path": "drop_path_rate",
    "absolute": "use_absolute_position_embeddings",
    "eps": "layer_norm_eps",
}
_SHARED_BIAS, _OWN_BIAS = "use_shared_relative_position_bias", "use_relative_position_bias"
# their values where config.json is silent, as in BeitConfig
_DEFAULTS: JsonObject = {
    **{"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
    **{"intermediate_size": 3072, "hidden_act": "gelu", "layer_norm_eps": 1e-12},
    **{"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "drop_path_rate": 0.1},
    **{"image_size": 224, "patch_size": 16, "num_channels": 3, "layer_scale_init_value": 0.1},
    **{"use_absolute_position_embeddings": False, _SHARED_BIAS: False, _OWN_BIAS: False},
    "use_mean_pooling": True,
}


class BeitConfig(NamedTuple):
    """A model by our options."""

    options: EncoderOptions
    size: int  # side of the images in px
    channels: int
    notes: list[str]  # what was left out, a sentence each


def read_config(config: JsonObject, weights: Mapping[str, Tensor]) -> BeitConfig:
    """Read a config.json. Raises ValueError for models that our encoders do not compute."""
    model_type = str(config.get("model_type", ""))
    if model_type != "beit":
        raise ValueError(
            f"config.json: model_type {model_type!r} cannot be imported as images"
            f"{did_you_mean(model_type, ['beit'])}"
        )
    fields = merge_fields(config, _DEFAULTS)
    if fields["hidden_act"] != "gelu":
        raise ValueError(
            f"config.json: hidden_act is {fields['hidden_act']!r}, but selfwise's vision "
            "transformers have only 'gelu'"
        )
    if fields[_SHARED_BIAS] and fields[_OWN_BIAS]:
        raise ValueError(
            f"config.json: {_SHARED_BIAS} and {_OWN_BIAS} are both true, and selfwise's vision "
            "transformers have one table for all blocks or one for each, not both"
        )
    for name in ("image_size", "patch_size"):
        sides = fields[name] if isinstance(fields[name], Sequence) else [fields[name]]
        if len(set(sides)) != 1:
            raise ValueError(f"config.json: {name} is {sides}, but selfwise's images are squares")
        fields[name] = sides[0]
    options = {ours: fields[theirs] for ours, theirs in _FIELD_NAMES.items()}
    options |= {
        "relative": fields[_SHARED_BIAS] or fields[_OWN_BIAS],
        "shared_bias": not fields[_OWN_BIAS],
    }
    has_head = "layernorm.weight" in weights
    if has_head and not fields["use_mean_pooling"]:
        raise ValueError(
            "config.json: use_mean_pooling is false in a model with a head for masked patches, "
            "which then has two norms in a row; selfwise's has one"
        )
    options["norm"] = "pooled" if fields["use_mean_pooling"] and not has_head else "tokens"
    dropouts = [
        name for name in ("hidden_dropout_prob", "attention_probs_dropout_prob") if fields[name]
    ]
    notes = [f"{name} is left out: these encoders have no dropout" for name in dropouts]
    return BeitConfig(options, fields["image_size"], fields["num_channels"], notes)


def read_timm(weights: Mapping[str, Tensor]) -> BeitConfig:
    """Derive the model from the tensors alone."""
    patch = weights.get("beit.embeddings.patch_embeddings.projection.weight")
    layer = "beit.encoder.layer.{}."
    table = weights.get("beit.encoder.relative_position_bias.relative_position_bias_table")
    own_table = weights.get(
        layer.format(0) + "attention.attention.relative_position_bias.relative_position_bias_table"
    )
    mlp_up = weights.get(layer.format(0) + "intermediate.dense.weight")
    if patch is None or mlp_up is None or patch.ndim != 4 or (table is None and own_table is None):
        raise ValueError(
            "the checkpoint is not one of timm's BEiT: it needs patch_embed.proj, blocks and a "
            "relative_position_bias_table"
        )
    any_table = table if table is not None else own_table
    assert any_table is not None
    side = round(((len(any_table) - 3) ** 0.5 + 1) / 2)
    depth = sum(name.endswith("layernorm_before.weight") for name in weights)
    scale = weights.get(layer.format(0) + "lambda_1")
    options = {
        **{
            "depth": depth,
            "dim": patch.shape[0],
            "heads": any_table.shape[1],
            "ff": mlp_up.shape[0],
        },
        **{"patch": patch.shape[2], "layer_scale": 0.0 if scale is None else 0.1},
        **{"drop_path": 0.0, "absolute": "beit.embeddings.position_embeddings" in weights},
        **{"eps": 1e-6, "relative": True, "shared_bias": table is not None},
        "norm": "pooled" if "beit.pooler.layernorm.weight" in weights else "tokens",
    }
    return BeitConfig(options, side * patch.shape[2], patch.shape[1], [])


def write_config(options: EncoderOptions, *, size: int, channels: int, masked: bool) -> JsonObject:
    """Return the config.json of an encoder, of the class with a head for masked patches or
    without."""
    config = {theirs: options[ours] for ours, theirs in _FIELD_NAMES.items()}
    config |= {
        "architectures": ["BeitForMaskedImageModeling" if masked else "BeitModel"],
        **{"model_type": "beit", "dtype": "float32", "hidden_act": "gelu"},
        **{"initializer_range": 0.02, "image_size": size, "num_channels": channels},
        **{"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
        _SHARED_BIAS: options["relative"] and options["shared_bias"],
        _OWN_BIAS: options["relative"] and not options["shared_bias"],
        # with it the model itself has no norm: the head has it, or the pooler
        "use_mean_pooling": masked or options["norm"] == "pooled",
    }
    return config


def write_preprocessor(size: int, channels: int) -> JsonObject:
    """preprocessor_config.json: what AutoImageProcessor does to an image before the model.

    As in our own evaluation: the middle 87.5 % above 64 px, all of smaller images; a square.
    """
    return {
        "image_processor_type": "BeitImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": shorter_side(size)},
        "resample": 3,  # bicubic
        "do_center_crop": True,
        "crop_size": {"height": size, "width": size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [HALF] * channels,
        "image_std": [HALF] * channels,
        "do_reduce_labels": False,
    }
