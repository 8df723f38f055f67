"""Weights of Hugging Face's BERT, RoBERTa, ALBERT and GPT-2 to ours, and back.

Everything is names, tensors and a config.json as a dict: no model is built and nothing runs.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from selfwise.core.types import Vocabulary
from selfwise.interop.huggingface.text_configs import read_config, write_config
from selfwise.interop.huggingface.text_names import (
    TABLES,
    expected_shape,
    list_encoder_names,
    list_head_names,
)
from selfwise.interop.types import EncoderOptions, JsonObject, Weights


class TextCheckpoint(NamedTuple):
    """A checkpoint by our names, in float32."""

    family: str  # bert, roberta, albert or gpt: an encoder's, and a method's too
    options: EncoderOptions  # of encoders.text.build
    encoder: Weights
    head: Weights  # of the method: head.*, and next.* (BERT) or order.* (ALBERT)
    vocab: int
    missing: list[str]  # pooler and heads that the checkpoint lacks: to be drawn at random
    notes: list[str]  # what was left out, a sentence each


def from_hf(config: JsonObject, weights: Mapping[str, Tensor]) -> TextCheckpoint:
    """Return a checkpoint with or without heads, from its config.json and its tensors.

    Raises ValueError with one sentence for a model that our encoders do not compute, and for
    weights that are missing or do not fit the config.
    """
    family, options, vocab = read_config(config)
    standard = _standardize_names(family, weights)
    _drop_tied_copies(family, standard)
    _fold_extras(family, options, standard)
    used: set[str] = set()
    encoder = _gather_weights(family, list_encoder_names(family, options), standard, used)
    head = _gather_weights(family, list_head_names(family), standard, used)
    required_names = [
        n for n, _ in list_encoder_names(family, options) if not n.startswith("pooler.")
    ]
    for name in required_names:
        if name not in encoder:
            theirs = dict(list_encoder_names(family, options))[name]
            raise ValueError(f"the checkpoint has no weight {' or '.join(theirs)}")
    for name, weight in (encoder | head).items():
        expected = expected_shape(name, options, vocab)
        if weight.shape != expected:
            theirs = dict([*list_encoder_names(family, options), *list_head_names(family)])[name]
            raise ValueError(
                f"the checkpoint's {theirs[0]} does not fit its config.json: together with its "
                f"parts it is {tuple(weight.shape)}, but the config requires {expected}"
            )
    all_names = [*list_encoder_names(family, options), *list_head_names(family)]
    missing = [n for n, _ in all_names if n not in encoder and n not in head]
    unused = [name for name in sorted(standard) if name not in used]
    notes = [f"{name} has no counterpart in selfwise and was left out" for name in unused]
    if family == "gpt" and config.get("embd_pdrop", 0.1) != options["dropout"]:
        notes.append("embd_pdrop is replaced by resid_pdrop: selfwise has one dropout for both")
    return TextCheckpoint(family, options, encoder, head, vocab, missing, notes)


def to_hf(
    family: str,
    options: EncoderOptions,
    encoder: Mapping[str, Tensor],
    head: Mapping[str, Tensor],
    vocabulary: Vocabulary,
) -> tuple[JsonObject, Weights]:
    """(config.json, weights) as transformers itself would save them.

    `options` are all fields of the encoder's shape; `head` may lack what the method does not
    train. The class in `architectures` is the largest whose heads are all there. Raises
    ValueError with one sentence for an encoder that transformers' class cannot be.
    """
    config = write_config(family, options, vocabulary)
    if vocabulary.size > len(encoder["token.weight"]):
        raise ValueError(
            f"the tokenizer has {vocabulary.size} tokens, and the encoder a vocabulary of "
            f"{len(encoder['token.weight'])}"
        )
    config["vocab_size"] = len(encoder["token.weight"])
    architecture, has_pooler = _choose_architecture(family, options, head)
    config["architectures"] = [architecture]
    our_weights, hf_options = dict(encoder), dict(options)
    _unfold_extras(family, hf_options, our_weights, vocabulary)
    encoder_weights = [
        (n, t)
        for n, t in list_encoder_names(family, hf_options)
        if has_pooler or not n.startswith("pooler.")
    ]
    head_weights = [
        (n, t) for n, t in list_head_names(family) if n in _list_exported_heads(architecture, head)
    ]
    exported: Weights = {}
    for name, theirs in [*encoder_weights, *head_weights]:
        weight = our_weights[name] if name in our_weights else head[name]
        weight = weight.T if _is_transposed(family, name) else weight
        parts = weight.chunk(len(theirs)) if len(theirs) > 1 else (weight,)
        exported |= {n: p.detach().float().contiguous().clone() for n, p in zip(theirs, parts)}
    is_base_model = architecture == TABLES[family].model
    prefix = TABLES[family].prefix if is_base_model else ""
    return config, {name.removeprefix(prefix): weight for name, weight in exported.items()}


def _choose_architecture(
    family: str, options: EncoderOptions, head: Mapping[str, Tensor]
) -> tuple[str, bool]:
    """(their class, whether it has the pooler)."""
    if family == "gpt":
        return "GPT2LMHeadModel", False
    stem = {"bert": "Bert", "roberta": "Roberta", "albert": "Albert"}[family]
    masked = "head.dense.weight" in head
    pairs = masked and options["pooler"] and bool({"next.weight", "order.weight"} & head.keys())
    if pairs:
        return f"{stem}ForPreTraining", True
    if masked:
        return f"{stem}ForMaskedLM", False
    if not options["pooler"]:
        raise ValueError(
            f"this run has neither a language head nor a pooler, and transformers' {stem} models "
            "need at least one of them"
        )
    return f"{stem}Model", True


def _list_exported_heads(architecture: str, head: Mapping[str, Tensor]) -> set[str]:
    if architecture.endswith("ForMaskedLM"):
        return {name for name in head if name.startswith("head.")}
    return set(head)


def _standardize_names(family: str, weights: Mapping[str, Tensor]) -> Weights:
    """Return the weights by today's names: with the prefix, no gamma and beta, no constant
    buffers."""
    table = TABLES[family]
    has_no_prefix = not any(name.startswith(table.prefix) for name in weights)
    own_modules = {part.split(".")[0] for part in [*table.top_level.values(), table.layer]}
    standard = {}
    for name, weight in weights.items():
        for old, new in ((".gamma", ".weight"), (".beta", ".bias")):  # before 2019
            name = name.removesuffix(old) + new if name.endswith(old) else name
        if has_no_prefix and name.split(".")[0] in own_modules:
            name = table.prefix + name
        if not name.endswith((".position_ids", ".token_type_ids", ".attn.bias", ".masked_bias")):
            standard[name] = weight
    for first, *others in table.bare.values():
        for other in others:
            copy = standard.pop(other, None)
            if copy is not None:
                standard.setdefault(first, copy)
    return standard


def _drop_tied_copies(family: str, weights: Weights) -> None:
    """Remove the copies of the token table. Raises ValueError for one that differs from it."""
    names = TABLES[family]
    token_table = weights.get(f"{names.prefix}{names.top_level['token']}.weight")
    for name in names.tied:
        copy = weights.pop(name, None)
        if copy is not None and token_table is not None and not torch.equal(copy, token_table):
            raise ValueError(
                f"{name} differs from the token table; selfwise's heads always use the token table"
            )


def _fold_extras(family: str, options: EncoderOptions, weights: Weights) -> None:
    """Add weights that our encoder has no place for to its own, or drop them if they do nothing.

    Changes `options` and `weights`.
    """
    prefix = TABLES[family].prefix
    if family == "roberta" and options["segments"] == 1:
        # one kind of segment is the same vector at every position
        options["segments"] = 0
        segment = weights.pop(f"{prefix}embeddings.token_type_embeddings.weight", None)
        position = f"{prefix}embeddings.position_embeddings.weight"
        if segment is not None and segment.any() and position in weights:
            weights[position] = weights[position].float() + segment.float()
    if family == "albert" and options["embedding"] == options["dim"]:
        name = f"{prefix}encoder.embedding_hidden_mapping_in"
        weight, bias = weights.get(f"{name}.weight"), weights.get(f"{name}.bias")
        if weight is not None and bias is not None and _is_identity(weight, bias):
            del weights[f"{name}.weight"], weights[f"{name}.bias"]
            options["widen"] = False


def _unfold_extras(
    family: str, options: EncoderOptions, weights: Weights, vocabulary: Vocabulary
) -> None:
    """The reverse of `_fold_extras`: weights that only their class has are 0, or the identity."""
    d, e = options["dim"], options["embedding"]
    if family == "albert" and not options["widen"]:
        options["widen"] = True
        weights |= {"widen.weight": torch.eye(d), "widen.bias": torch.zeros(d)}
    if family in ("bert", "roberta", "albert") and not options["segments"]:
        options["segments"] = 1
        weights["segment.weight"] = torch.zeros(1, e)
    if family == "roberta":
        assert vocabulary.pad is not None
        used = weights["position.weight"][options["offset"] :]
        if options["offset"] != vocabulary.pad + 1:
            before = used.new_zeros(vocabulary.pad + 1, e)
            weights["position.weight"] = torch.cat([before, used])


def _is_identity(weight: Tensor, bias: Tensor) -> bool:
    eye = torch.eye(len(weight), dtype=weight.dtype)
    return not bias.any() and torch.equal(weight, eye)


def _gather_weights(
    family: str, names: Iterable[tuple[str, tuple[str, ...]]], weights: Weights, used: set[str]
) -> Weights:
    """Return the weights by our names, of which the checkpoint has all parts; `used` gets
    theirs."""
    gathered = {}
    for ours, theirs in names:
        if any(name not in weights for name in theirs):
            continue
        used.update(theirs)
        parts = [weights[name].float() for name in theirs]
        weight = torch.cat(parts) if len(parts) > 1 else parts[0]
        weight = weight.T if _is_transposed(family, ours) else weight
        gathered[ours] = weight.contiguous().clone()
    return gathered


def _is_transposed(family: str, ours: str) -> bool:
    linear = ".attention." in ours or ".mlp." in ours
    return TABLES[family].transposed and linear and ours.endswith(".weight")
