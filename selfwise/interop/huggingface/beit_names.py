"""What Hugging Face and timm call each weight of BEiT, and how large it is."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

PREFIX = "beit."  # of the encoder, inside a class with a head


class Part(NamedTuple):
    """A weight of ours."""

    ours: str
    theirs: tuple[str, ...]  # one after the other they are ours
    shape: tuple[int, ...]
    needed: bool = True


class Renamed(NamedTuple):
    """Names of other code, as Hugging Face's."""

    outside: dict[str, str]
    layer: str
    inside: dict[str, str]

    def translated(self, name: str) -> str:
        """The name by Hugging Face's; as it is, if it is not known."""
        block = re.match(self.layer, name)
        table, rest = (self.inside, name[block.end() :]) if block else (self.outside, name)
        for theirs, new in table.items():
            if rest == theirs or rest.startswith(f"{theirs}."):
                place = f"{PREFIX}encoder.layer.{block[1]}." if block else ""
                return place + new + rest.removeprefix(theirs)
        return name


_ATTENTION = "attention.attention."
_TABLE = "relative_position_bias.relative_position_bias_table"
TIMM = Renamed(
    outside={
        "cls_token": f"{PREFIX}embeddings.cls_token",
        "mask_token": f"{PREFIX}embeddings.mask_token",
        "pos_embed": f"{PREFIX}embeddings.position_embeddings",
        "patch_embed.proj": f"{PREFIX}embeddings.patch_embeddings.projection",
        "rel_pos_bias": f"{PREFIX}encoder.relative_position_bias",
        "norm": "layernorm",
        "fc_norm": f"{PREFIX}pooler.layernorm",
    },
    layer=r"^blocks\.(\d+)\.",
    inside={
        "attn.qkv": _ATTENTION + "qkv",
        "attn.q_bias": _ATTENTION + "query.bias",
        "attn.v_bias": _ATTENTION + "value.bias",
        "attn.relative_position_bias_table": _ATTENTION + _TABLE,
        "attn.proj": "attention.output.dense",
        "gamma_1": "lambda_1",
        "gamma_2": "lambda_2",
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    },
)


def names(
    options: Mapping[str, Any], size: int, channels: int, *, masked: bool, units: int = 0
) -> Iterator[Part]:
    """Every weight of an encoder with these options, and of a head over `units`.

    `masked`: the norm is that of a class with a head for masked patches.
    """
    d, heads, side = options["dim"], options["heads"], size // options["patch"]
    table = ((2 * side - 1) ** 2 + 3, heads)
    inside = f"{PREFIX}embeddings."
    square = (options["patch"],) * 2
    yield from _both("patches", f"{inside}patch_embeddings.projection", (d, channels, *square))
    yield Part("first", (f"{inside}cls_token",), (1, 1, d))
    if options["absolute"]:
        position = f"{inside}position_embeddings"
        yield Part("position", (position,), (1, 1 + side * side, d))
    if options["relative"] and options["shared_bias"]:
        yield Part("bias.table", (f"{PREFIX}encoder.{_TABLE}",), table)
    for i in range(options["depth"]):
        yield from _layer(options, i, table)
    norm = f"{PREFIX}pooler.layernorm" if options["norm"] == "pooled" else f"{PREFIX}layernorm"
    norm = "layernorm" if masked else norm
    yield from (part._replace(needed=False) for part in _both("norm", norm, (d,)))
    yield Part("mask", (f"{inside}mask_token",), (d,), needed=False)
    yield from (part._replace(needed=False) for part in _both("head", "lm_head", (units, d)))


def _layer(options: Mapping[str, Any], i: int, table: tuple[int, int]) -> Iterator[Part]:
    d, ff = options["dim"], options["ff"]
    ours, theirs = f"blocks.{i}.", f"{PREFIX}encoder.layer.{i}."
    attention = theirs + _ATTENTION
    qkv = tuple(f"{attention}{part}.weight" for part in ("query", "key", "value"))
    yield Part(f"{ours}attention.qkv.weight", qkv, (3 * d, d))
    yield Part(f"{ours}attention.q_bias", (f"{attention}query.bias",), (d,))
    yield Part(f"{ours}attention.v_bias", (f"{attention}value.bias",), (d,))
    yield from _both(f"{ours}attention.out", f"{theirs}attention.output.dense", (d, d))
    yield from _both(f"{ours}norm1", f"{theirs}layernorm_before", (d,))
    yield from _both(f"{ours}norm2", f"{theirs}layernorm_after", (d,))
    yield from _both(f"{ours}mlp.up", f"{theirs}intermediate.dense", (ff, d))
    yield from _both(f"{ours}mlp.down", f"{theirs}output.dense", (d, ff))
    if options["layer_scale"]:
        yield Part(f"{ours}scale1", (f"{theirs}lambda_1",), (d,))
        yield Part(f"{ours}scale2", (f"{theirs}lambda_2",), (d,))
    if options["relative"] and not options["shared_bias"]:
        yield Part(f"{ours}bias.table", (f"{attention}{_TABLE}",), table)


def _both(ours: str, theirs: str, shape: tuple[int, ...]) -> Iterator[Part]:
    yield Part(f"{ours}.weight", (f"{theirs}.weight",), shape)
    yield Part(f"{ours}.bias", (f"{theirs}.bias",), shape[:1])
