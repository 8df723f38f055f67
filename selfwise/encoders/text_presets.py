"""The settings and sizes of BERT, RoBERTa, ALBERT and GPT.

Families differ in the arguments of one encoder. Where papers and code differ:

- BERT's GELU: Google's code has the tanh form (`modeling.py`), transformers and the published
  weights in its format erf. We take erf, so that weights go both ways.
- GPT-2's residual layers start smaller by sqrt(2 depth): the paper says so (section 2.3), the
  released code does not show it; we follow nanoGPT, which does it.
- RoBERTa's positions count from 2, because fairseq counts from the padding id + 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from selfwise.core.errors import did_you_mean
from selfwise.core.ranges import NonNegativeInt, PositiveFloat, PositiveInt
from selfwise.encoders.option_checks import (
    DropProbability,
    Option,
    build_shape,
    check_divides,
    check_options,
)


@dataclass(frozen=True)
class TextShape:
    """Everything that decides on the weights of a text encoder and how they are used.

    Args:
        depth: number of layers.
        dim: width.
        heads: attention heads of each layer; they divide `dim`.
        ff: width inside the MLP; by default 4 times `dim`.
        length: longest row, which is the size of the position table.
        embedding: width of the token table; wider or narrower than `dim` with a linear layer
            after it (ALBERT).
        widen: whether that layer is there; by default where the widths differ.
        segments: kinds of segments; 0: none.
        offset: rows of the position table before the first that is used (RoBERTa: 2).
        norm: "post" or "pre": where the LayerNorm of each part is.
        eps: of every LayerNorm.
        activation: gelu, gelu_tanh or relu.
        causal: a position sees only those before it.
        shared: all layers have the same weights (ALBERT).
        embedding_norm: LayerNorm after the sum of the embeddings.
        pooler: a layer for [CLS], with tanh, that sentence heads read.
        dropout: of embeddings and of what each part adds.
        attention_dropout: of attention weights.
        pooling: of the tokens, into one vector: mean of the real ones, cls (the first), last.
    """

    depth: PositiveInt
    dim: PositiveInt
    heads: PositiveInt
    ff: PositiveInt
    embedding: PositiveInt
    length: PositiveInt = 512
    widen: bool = False
    segments: NonNegativeInt = 0
    offset: NonNegativeInt = 0
    norm: Literal["post", "pre"] = "post"
    eps: PositiveFloat = 1e-12
    activation: Literal["gelu", "gelu_tanh", "relu"] = "gelu"
    causal: bool = False
    shared: bool = False
    embedding_norm: bool = True
    pooler: bool = False
    dropout: DropProbability = 0.1
    attention_dropout: DropProbability = 0.1
    pooling: Literal["mean", "cls", "last"] = "mean"


# depth, dim, heads: base and large are BERT's, the others those of "Well-read students learn
# better" (arXiv:1908.08962)
SIZES = {
    "tiny": (2, 128, 2),
    "mini": (4, 256, 4),
    "small": (4, 512, 8),
    "medium": (8, 512, 8),
    "base": (12, 768, 12),
    "large": (24, 1024, 16),
}
_GPT: dict[str, Option] = {
    "causal": True,
    "eps": 1e-5,
    "activation": "gelu_tanh",
    "embedding_norm": False,
}
FAMILIES: dict[str, dict[str, Option]] = {
    "bert": {"segments": 2, "pooler": True},
    "roberta": {"offset": 2, "eps": 1e-5},
    # version 2 has no dropout (google-research/albert, README)
    "albert": {
        **{"segments": 2, "pooler": True, "embedding": 128, "shared": True},
        **{"activation": "gelu_tanh", "dropout": 0.0, "attention_dropout": 0.0},
    },
    "gpt": {**_GPT, "norm": "pre", "length": 1024},
    "gpt1": _GPT,
}


def list_text_encoders() -> list[str]:
    """List FAMILY-SIZE for every family and size; the family alone is its base."""
    return [f"{family}-{size}" for family in FAMILIES for size in SIZES]


def resolve_text_shape(name: str, options: Mapping[str, Any]) -> TextShape:
    """Resolve a preset; options replace values of the preset.

    Raises ValueError with one sentence for an unknown name or option, and for values that do
    not go together.
    """
    family, _, size = name.partition("-")
    if family not in FAMILIES or (size or "base") not in SIZES:
        raise ValueError(
            f"unknown text encoder {name!r}{did_you_mean(name, [*list_text_encoders(), *FAMILIES])}"
        )
    check_options(name, TextShape, options)
    depth, dim, heads = SIZES[size or "base"]
    settings = {"depth": depth, "dim": dim, "heads": heads} | FAMILIES[family] | dict(options)
    settings = {"ff": 4 * settings["dim"], "embedding": settings["dim"]} | settings
    settings = {"widen": settings["embedding"] != settings["dim"]} | settings
    shape = build_shape(TextShape, settings)
    _check_shape(name, shape)
    return shape


def _check_shape(name: str, shape: TextShape) -> None:
    check_divides(name, shape, {"heads": "heads"})
    if shape.embedding != shape.dim and not shape.widen:
        raise ValueError(f"encoder {name}: widen must be true if embedding differs from dim")
    if shape.causal and shape.widen:
        raise ValueError(
            f"encoder {name}: embedding must equal dim, {shape.dim}, since the token table is also "
            "the output layer of a causal model"
        )
