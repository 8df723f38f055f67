"""Weights of Hugging Face's BERT, RoBERTa, ALBERT and GPT-2 to ours, and back.

Everything is names, tensors and a config.json as a dict: no model is built and nothing runs.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from selfwise.core.types import Vocabulary
from selfwise.interop.huggingface.text_configs import read_config, write_config
from selfwise.interop.huggingface.text_names import TABLES, encoder_names, head_names, shape

Weights = dict[str, Tensor]


class Imported(NamedTuple):
    """A checkpoint by our names, in float32."""

    family: str  # bert, roberta, albert or gpt: an encoder's, and a method's too
    options: dict[str, Any]  # of build_text_encoder
    encoder: Weights
    head: Weights  # of the method: head.*, and next.* (BERT) or order.* (ALBERT)
    vocab: int
    missing: list[str]  # pooler and heads that the checkpoint lacks: to be drawn anew
    notes: list[str]  # what was left out, a sentence each


def from_hf(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Imported:
    """A checkpoint with or without heads, from its config.json and its tensors.

    Raises ValueError with one sentence for a model that our encoders do not compute, and for
    weights that are missing or do not fit the config.
    """
    family, options, vocab = read_config(config)
    found = _tidy(family, weights)
    _check_ties(family, found)
    _fold(family, options, found)
    used: set[str] = set()
    encoder = _gather(family, encoder_names(family, options), found, used)
    head = _gather(family, head_names(family), found, used)
    required = [n for n, _ in encoder_names(family, options) if not n.startswith("pooler.")]
    for name in required:
        if name not in encoder:
            theirs = dict(encoder_names(family, options))[name]
            raise ValueError(f"the checkpoint has no weight {' or '.join(theirs)}")
    for name, weight in (encoder | head).items():
        wanted = shape(name, options, vocab)
        if weight.shape != wanted:
            theirs = dict([*encoder_names(family, options), *head_names(family)])[name]
            raise ValueError(
                f"the checkpoint's {theirs[0]} does not fit its config.json: together with its "
                f"parts it is {tuple(weight.shape)}, and the config asks for {wanted}"
            )
    everything = [*encoder_names(family, options), *head_names(family)]
    missing = [n for n, _ in everything if n not in encoder and n not in head]
    notes = [f"{name} has no place in selfwise and was left out" for name in sorted(found)
             if name not in used]  # fmt: skip
    if family == "gpt" and config.get("embd_pdrop", 0.1) != options["dropout"]:
        notes.append("embd_pdrop is replaced by resid_pdrop: there is one dropout for both")
    return Imported(family, options, encoder, head, vocab, missing, notes)


def to_hf(
    family: str,
    options: Mapping[str, Any],
    encoder: Mapping[str, Tensor],
    head: Mapping[str, Tensor],
    vocabulary: Vocabulary,
) -> tuple[dict[str, Any], Weights]:
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
    architecture, kept = _architecture(family, options, head)
    config["architectures"] = [architecture]
    ours, told = dict(encoder), dict(options)
    _unfold(family, told, ours, vocabulary)
    names = [(n, t) for n, t in encoder_names(family, told) if kept or not n.startswith("pooler.")]
    heads = [(n, t) for n, t in head_names(family) if n in _kept_heads(architecture, head)]
    written: Weights = {}
    for name, theirs in [*names, *heads]:
        weight = ours[name] if name in ours else head[name]
        weight = weight.T if _transposed(family, name) else weight
        parts = weight.chunk(len(theirs)) if len(theirs) > 1 else (weight,)
        written |= {n: p.detach().float().contiguous().clone() for n, p in zip(theirs, parts)}
    base = architecture == TABLES[family].model
    prefix = TABLES[family].prefix if base else ""
    return config, {name.removeprefix(prefix): weight for name, weight in written.items()}


def _architecture(
    family: str, options: Mapping[str, Any], head: Mapping[str, Tensor]
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
            "have at least one of them"
        )
    return f"{stem}Model", True


def _kept_heads(architecture: str, head: Mapping[str, Tensor]) -> set[str]:
    if architecture.endswith("ForMaskedLM"):
        return {name for name in head if name.startswith("head.")}
    return set(head)


def _tidy(family: str, weights: Mapping[str, Tensor]) -> Weights:
    """The weights by today's names: with the prefix, no gamma and beta, no constant buffers."""
    names = TABLES[family]
    bare = not any(name.startswith(names.prefix) for name in weights)
    own = {part.split(".")[0] for part in [*names.outside.values(), names.layer]}
    found = {}
    for name, weight in weights.items():
        for old, new in ((".gamma", ".weight"), (".beta", ".bias")):  # before 2019
            name = name.removesuffix(old) + new if name.endswith(old) else name
        if bare and name.split(".")[0] in own:
            name = names.prefix + name
        if not name.endswith((".position_ids", ".token_type_ids", ".attn.bias", ".masked_bias")):
            found[name] = weight
    for first, *others in names.bare.values():
        for other in others:
            copy = found.pop(other, None)
            if copy is not None:
                found.setdefault(first, copy)
    return found


def _check_ties(family: str, found: Weights) -> None:
    """Takes the copies of the token table away, if they are copies."""
    names = TABLES[family]
    table = found.get(f"{names.prefix}{names.outside['token']}.weight")
    for name in names.tied:
        copy = found.pop(name, None)
        if copy is not None and table is not None and not torch.equal(copy, table):
            raise ValueError(
                f"{name} differs from the token table; selfwise's heads always share it"
            )


def _fold(family: str, options: dict[str, Any], found: Weights) -> None:
    """What our encoder has not is added to what it has, or left out where it does nothing."""
    prefix = TABLES[family].prefix
    if family == "roberta" and options["segments"] == 1:
        # one kind of segment is the same vector at every position
        options["segments"] = 0
        segment = found.pop(f"{prefix}embeddings.token_type_embeddings.weight", None)
        position = f"{prefix}embeddings.position_embeddings.weight"
        if segment is not None and segment.any() and position in found:
            found[position] = found[position].float() + segment.float()
    if family == "albert" and options["embedding"] == options["dim"]:
        name = f"{prefix}encoder.embedding_hidden_mapping_in"
        weight, bias = found.get(f"{name}.weight"), found.get(f"{name}.bias")
        if weight is not None and bias is not None and _is_identity(weight, bias):
            del found[f"{name}.weight"], found[f"{name}.bias"]
            options["widen"] = False


def _unfold(family: str, options: dict[str, Any], ours: Weights, vocabulary: Vocabulary) -> None:
    """The other way: what their class has besides is 0, or the identity."""
    d, e = options["dim"], options["embedding"]
    if family == "albert" and not options["widen"]:
        options["widen"] = True
        ours |= {"widen.weight": torch.eye(d), "widen.bias": torch.zeros(d)}
    if family in ("bert", "roberta", "albert") and not options["segments"]:
        options["segments"] = 1
        ours["segment.weight"] = torch.zeros(1, e)
    if family == "roberta":
        assert vocabulary.pad is not None
        used = ours["position.weight"][options["offset"] :]
        if options["offset"] != vocabulary.pad + 1:
            before = used.new_zeros(vocabulary.pad + 1, e)
            ours["position.weight"] = torch.cat([before, used])


def _is_identity(weight: Tensor, bias: Tensor) -> bool:
    eye = torch.eye(len(weight), dtype=weight.dtype)
    return not bias.any() and torch.equal(weight, eye)


def _gather(
    family: str, names: Iterable[tuple[str, tuple[str, ...]]], found: Weights, used: set[str]
) -> Weights:
    gathered = {}
    for ours, theirs in names:
        present = [name for name in theirs if name in found]
        if len(present) < len(theirs):
            continue
        used.update(theirs)
        parts = [found[name].float() for name in theirs]
        weight = torch.cat(parts) if len(parts) > 1 else parts[0]
        weight = weight.T if _transposed(family, ours) else weight
        gathered[ours] = weight.contiguous().clone()
    return gathered


def _transposed(family: str, ours: str) -> bool:
    linear = ".attention." in ours or ".mlp." in ours
    return TABLES[family].transposed and linear and ours.endswith(".weight")
