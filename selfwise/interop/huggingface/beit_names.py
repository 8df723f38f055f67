"""Hugging Face's and timm's name of each weight of BEiT, and its shape."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from selfwise.interop.types import EncoderOptions

PREFIX = "beit."  # of the encoder, inside a class with a head


class WeightSpec(NamedTuple):
    """A weight of ours."""

    ours: str
    theirs: tuple[str, ...]  # one after the other they are ours
    shape: tuple[int, ...]
    required: bool = True


class NameTranslation(NamedTuple):
    """Names of other code, as Hugging Face's."""

    top_level: dict[str, str]
    layer: str
    in_layer: dict[str, str]

    def translate(self, name: str) -> str:
        """Return the name by Hugging Face's; as it is, if it is not known."""
        block = re.match(self.layer, name)
        table, rest = (self.in_layer, name[block.end() :]) if block else (self.top_level, name)
        for theirs, new in table.items():
            if rest == theirs or rest.startswith(f"{theirs}."):
                place = f"{PREFIX}encoder.layer.{block[1]}." if block else ""
                return place + new + rest.removeprefix(theirs)
        return name


_ATTENTION = "attention.attention."
_BIAS_TABLE = "relative_position_bias.relative_position_bias_table"
TIMM = NameTranslation(
    top_level={
        "cls_token": f"{PREFIX}embeddings.cls_token",
        "mask_token": f"{PREFIX}embeddings.mask_token",
        "pos_embed": f"{PREFIX}embeddings.position_embeddings",
        "patch_embed.proj": f"{PREFIX}embeddings.patch_embeddings.projection",
        "rel_pos_bias": f"{PREFIX}encoder.relative_position_bias",
        "norm": "layernorm",
        "fc_norm": f"{PREFIX}pooler.layernorm",
    },
    layer=r"^blocks\.(\d+)\.",
    in_layer={
        "attn.qkv": _ATTENTION + "qkv",
        "attn.q_bias": _ATTENTION + "query.bias",
        "attn.v_bias": _ATTENTION + "value.bias",
        "attn.relative_position_bias_table": _ATTENTION + _BIAS_TABLE,
        "attn.proj": "attention.output.dense",
        "gamma_1": "lambda_1",
        "gamma_2": "lambda_2",
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    },
)


def list_weights(
    options: EncoderOptions, size: int, channels: int, *, masked: bool, units: int = 0
) -> Iterator[WeightSpec]:
    """Yield every weight of an encoder with these options, and of a head over `units`.

    `masked`: the norm is that of a class with a head for masked patches.
    """
    d, heads, side = options["dim"], options["heads"], size // options["patch"]
    table = ((2 * side - 1) ** 2 + 3, heads)
    embeddings = f"{PREFIX}embeddings."
    square = (options["patch"],) * 2
    yield from _weight_and_bias(
        "patches", f"{embeddings}patch_embeddings.projection", (d, channels, *square)
    )
    yield WeightSpec("first", (f"{embeddings}cls_token",), (1, 1, d))
    if options["absolute"]:
        position = f"{embeddings}position_embeddings"
        yield WeightSpec("position", (position,), (1, 1 + side * side, d))
    if options["relative"] and options["shared_bias"]:
        yield WeightSpec("bias.table", (f"{PREFIX}encoder.{_BIAS_TABLE}",), table)
    for i in range(options["depth"]):
        yield from _layer_weights(options, i, table)
    norm = f"{PREFIX}pooler.layernorm" if options["norm"] == "pooled" else f"{PREFIX}layernorm"
    norm = "layernorm" if masked else norm
    yield from (part._replace(required=False) for part in _weight_and_bias("norm", norm, (d,)))
    yield WeightSpec("mask_embedding", (f"{embeddings}mask_token",), (d,), required=False)
    yield from (
        part._replace(required=False) for part in _weight_and_bias("head", "lm_head", (units, d))
    )


def _layer_weights(options: EncoderOptions, i: int, table: tuple[int, int]) -> Iterator[WeightSpec]:
    d, ff = options["dim"], options["ff"]
    ours, theirs = f"blocks.{i}.", f"{PREFIX}encoder.layer.{i}."
    attention = theirs + _ATTENTION
    qkv = tuple(f"{attention}{part}.weight" for part in ("query", "key", "value"))
    yield WeightSpec(f"{ours}attention.qkv.weight", qkv, (3 * d, d))
    yield WeightSpec(f"{ours}attention.q_bias", (f"{attention}query.bias",), (d,))
    yield WeightSpec(f"{ours}attention.v_bias", (f"{attention}value.bias",), (d,))
    yield from _weight_and_bias(f"{ours}attention.out", f"{theirs}attention.output.dense", (d, d))
    yield from _weight_and_bias(f"{ours}norm1", f"{theirs}layernorm_before", (d,))
    yield from _weight_and_bias(f"{ours}norm2", f"{theirs}layernorm_after", (d,))
    yield from _weight_and_bias(f"{ours}mlp.up", f"{theirs}intermediate.dense", (ff, d))
    yield from _weight_and_bias(f"{ours}mlp.down", f"{theirs}output.dense", (d, ff))
    if options["layer_scale"]:
        yield WeightSpec(f"{ours}scale1", (f"{theirs}lambda_1",), (d,))
        yield WeightSpec(f"{ours}scale2", (f"{theirs}lambda_2",), (d,))
    if options["relative"] and not options["shared_bias"]:
        yield WeightSpec(f"{ours}bias.table", (f"{attention}{_BIAS_TABLE}",), table)


def _weight_and_bias(ours: str, theirs: str, shape: tuple[int, ...]) -> Iterator[WeightSpec]:
    yield WeightSpec(f"{ours}.weight", (f"{theirs}.weight",), shape)
    yield WeightSpec(f"{ours}.bias", (f"{theirs}.bias",), shape[:1])
