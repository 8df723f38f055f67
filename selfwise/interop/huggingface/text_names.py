"""Hugging Face's name of each weight of the four families, and its width.

Names from transformers' `models/{bert,roberta,albert,gpt2}`, as its checkpoints have them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from selfwise.interop.types import EncoderOptions


@dataclass(frozen=True)
class NameTable:
    """Modules by our names and by theirs.

    Args:
        model: their class without a head.
        prefix: of its modules inside a class with a head.
        top_level: modules outside of the layers; names after the prefix.
        layer: where a layer is; `{i}` is its number.
        in_layer: modules of each layer; several of theirs are one of ours, one after the other.
        heads: of methods; names without the prefix.
        bare: parameters outside of modules, ours to theirs.
        tied: copies of the token table, which are not stored.
        transposed: the weights of layers are stored (in, out), as GPT-2's are.
    """

    model: str
    prefix: str
    top_level: dict[str, str]
    layer: str
    in_layer: dict[str, tuple[str, ...]]
    heads: dict[str, str] = field(default_factory=dict)
    bare: dict[str, tuple[str, ...]] = field(default_factory=dict)
    tied: tuple[str, ...] = ()
    transposed: bool = False


_EMBEDDINGS = {
    "token": "embeddings.word_embeddings",
    "position": "embeddings.position_embeddings",
    "segment": "embeddings.token_type_embeddings",
    "norm": "embeddings.LayerNorm",
}
_BERT_LAYER: dict[str, tuple[str, ...]] = {
    "attention.qkv": tuple(f"attention.self.{part}" for part in ("query", "key", "value")),
    "attention.out": ("attention.output.dense",),
    "norm1": ("attention.output.LayerNorm",),
    "mlp.up": ("intermediate.dense",),
    "mlp.down": ("output.dense",),
    "norm2": ("output.LayerNorm",),
}
_ALBERT_LAYER: dict[str, tuple[str, ...]] = {
    "attention.qkv": tuple(f"attention.{part}" for part in ("query", "key", "value")),
    "attention.out": ("attention.dense",),
    "norm1": ("attention.LayerNorm",),
    "mlp.up": ("ffn",),
    "mlp.down": ("ffn_output",),
    "norm2": ("full_layer_layer_norm",),
}
_GPT2_LAYER: dict[str, tuple[str, ...]] = {
    "attention.qkv": ("attn.c_attn",),
    "attention.out": ("attn.c_proj",),
    "norm1": ("ln_1",),
    "mlp.up": ("mlp.c_fc",),
    "mlp.down": ("mlp.c_proj",),
    "norm2": ("ln_2",),
}
TABLES = {
    "bert": NameTable(
        model="BertModel",
        prefix="bert.",
        top_level=_EMBEDDINGS | {"pooler": "pooler.dense"},
        layer="encoder.layer.{i}.",
        in_layer=_BERT_LAYER,
        heads={
            "head.dense": "cls.predictions.transform.dense",
            "head.norm": "cls.predictions.transform.LayerNorm",
            "next": "cls.seq_relationship",
        },
        bare={"head.bias": ("cls.predictions.bias", "cls.predictions.decoder.bias")},
        tied=("cls.predictions.decoder.weight",),
    ),
    "roberta": NameTable(
        model="RobertaModel",
        prefix="roberta.",
        top_level=_EMBEDDINGS | {"pooler": "pooler.dense"},
        layer="encoder.layer.{i}.",
        in_layer=_BERT_LAYER,
        heads={"head.dense": "lm_head.dense", "head.norm": "lm_head.layer_norm"},
        bare={"head.bias": ("lm_head.bias", "lm_head.decoder.bias")},
        tied=("lm_head.decoder.weight",),
    ),
    "albert": NameTable(
        model="AlbertModel",
        prefix="albert.",
        top_level=_EMBEDDINGS
        | {"widen": "encoder.embedding_hidden_mapping_in", "pooler": "pooler"},
        layer="encoder.albert_layer_groups.{i}.albert_layers.0.",
        in_layer=_ALBERT_LAYER,
        heads={
            "head.dense": "predictions.dense",
            "head.norm": "predictions.LayerNorm",
            "order": "sop_classifier.classifier",
        },
        bare={"head.bias": ("predictions.bias", "predictions.decoder.bias")},
        tied=("predictions.decoder.weight",),
    ),
    "gpt": NameTable(
        model="GPT2Model",
        prefix="transformer.",
        top_level={"token": "wte", "position": "wpe", "trunk.norm": "ln_f"},
        layer="h.{i}.",
        in_layer=_GPT2_LAYER,
        tied=("lm_head.weight",),
        transposed=True,
    ),
}
EMBEDDINGS = ("token", "position", "segment")  # modules without a bias


def list_encoder_names(
    family: str, options: EncoderOptions
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Our name of each encoder weight, and theirs."""
    names = TABLES[family]
    absent = {
        part for part in ("segment", "widen", "pooler") if not options[_OPTION_OF_MODULE[part]]
    }
    for ours, theirs in names.top_level.items():
        if ours not in absent:
            yield from _list_parameters(ours, (names.prefix + theirs,))
    for i in range(1 if options["shared"] else options["depth"]):
        place = names.prefix + names.layer.format(i=i)
        for ours, parts in names.in_layer.items():
            yield from _list_parameters(f"trunk.blocks.{i}.{ours}", tuple(place + p for p in parts))


def list_head_names(family: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the same for the heads of a method. The first of several names is the one to write."""
    names = TABLES[family]
    for ours, theirs in names.heads.items():
        yield from _list_parameters(ours, (theirs,))
    yield from ((ours, theirs[:1]) for ours, theirs in names.bare.items())


def expected_shape(name: str, options: EncoderOptions, vocab: int) -> tuple[int, ...]:
    """Return how large the weight with our name `name` is."""
    d, e, ff = options["dim"], options["embedding"], options["ff"]
    module, _, kind = name.rpartition(".")
    if name == "head.bias":
        return (vocab,)
    module = module if module in _module_shapes(d, e, ff) else ".".join(module.split(".")[3:])
    table_sizes = {"token": vocab, "position": options["offset"] + options["length"]}
    table_sizes["segment"] = options["segments"]
    if module in table_sizes:
        return (table_sizes[module], e)
    module_shape = _module_shapes(d, e, ff)[module]
    return module_shape if kind == "weight" else module_shape[:1]


_OPTION_OF_MODULE = {"segment": "segments", "widen": "widen", "pooler": "pooler"}


def _module_shapes(d: int, e: int, ff: int) -> dict[str, tuple[int, ...]]:
    layers = {"attention.qkv": (3 * d, d), "attention.out": (d, d), "pooler": (d, d)}
    layers |= {"mlp.up": (ff, d), "mlp.down": (d, ff), "widen": (d, e), "head.dense": (e, d)}
    layers |= {"next": (2, d), "order": (2, d)}
    norms = {"norm": (e,), "head.norm": (e,), "norm1": (d,), "norm2": (d,), "trunk.norm": (d,)}
    return layers | norms | dict.fromkeys(EMBEDDINGS, ())


def _list_parameters(ours: str, theirs: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for kind in ("weight",) if ours in EMBEDDINGS else ("weight", "bias"):
        yield f"{ours}.{kind}", tuple(f"{name}.{kind}" for name in theirs)
