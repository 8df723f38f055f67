"""The files beside tokenizer.json from which AutoTokenizer learns what the special tokens are."""

import json
from collections.abc import Mapping
from typing import Any

from selfwise.core.types import Vocabulary

# their names of our roles, for each model type
_Roles = dict[str, tuple[str, ...]]
_BERT: _Roles = {"first": ("cls_token",), "last": ("sep_token",)}
_ROBERTA: _Roles = {"first": ("cls_token", "bos_token"), "last": ("sep_token", "eos_token")}
_GPT: _Roles = {"first": ("bos_token",), "last": ("eos_token",)}
_ROLES: dict[str, _Roles] = {"bert": _BERT, "albert": _BERT, "roberta": _ROBERTA, "gpt2": _GPT}
_COMMON: _Roles = {"unknown": ("unk_token",), "pad": ("pad_token",), "mask": ("mask_token",)}
_INPUTS = ("input_ids", "token_type_ids", "attention_mask")
_PAIRS = ("TemplateProcessing", "BertProcessing", "RobertaProcessing")


def tokenizer_files(
    tokenizer: str, vocabulary: Vocabulary, *, kind: str, length: int
) -> dict[str, dict[str, Any]]:
    """The contents of tokenizer.json, tokenizer_config.json and special_tokens_map.json.

    `kind` is the model type. tokenizer.json gets the step that adds [CLS] and [SEP], where it has
    none and the family has them, and loses it for GPT-2.
    """
    told = json.loads(tokenizer)
    pieces = _pieces(told)
    special: dict[str, str] = {}
    for role, theirs in (_COMMON | _ROLES[kind]).items():
        number = getattr(vocabulary, role)
        if number is not None:
            special |= dict.fromkeys(theirs, pieces[number])
    told |= {"truncation": None, "padding": None}
    if kind == "gpt2":
        told["post_processor"] = _without_ends(told.get("post_processor"))
    elif vocabulary.first is not None and vocabulary.last is not None:
        told["post_processor"] = _pairs(told.get("post_processor"), pieces, vocabulary, kind)
    told["added_tokens"] = _added(told.get("added_tokens") or [], pieces, vocabulary)
    # without segments GPT-2 would add the embeddings of tokens 0 and 1
    inputs = [name for name in _INPUTS if kind not in ("gpt2", "roberta") or "type" not in name]
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": length}
    config |= {"model_input_names": inputs, "clean_up_tokenization_spaces": False} | special
    return {
        "tokenizer.json": told,
        "tokenizer_config.json": config,
        "special_tokens_map.json": special,
    }


def _pieces(told: Mapping[str, Any]) -> dict[int, str]:
    """What each id stands for."""
    vocab = told["model"]["vocab"]
    if isinstance(vocab, list):  # unigram: pairs of piece and score
        found = {number: pair[0] for number, pair in enumerate(vocab)}
    else:
        found = {number: piece for piece, number in vocab.items()}
    return found | {token["id"]: token["content"] for token in told.get("added_tokens") or []}


def _without_ends(there: dict[str, Any] | None) -> dict[str, Any] | None:
    """GPT-2 goes on with a text, so that nothing may be added at its end."""
    if there is None or there.get("type") in _PAIRS:
        return None
    parts = there.get("processors")
    if not isinstance(parts, list):
        return there
    return there | {"processors": [part for part in parts if part.get("type") not in _PAIRS]}


def _pairs(
    there: Mapping[str, Any] | None, pieces: dict[int, str], vocabulary: Vocabulary, kind: str
) -> Mapping[str, Any]:
    if there is not None and there.get("type") in _PAIRS:
        return there
    assert vocabulary.first is not None
    assert vocabulary.last is not None
    ends: dict[str, Any] = {
        "sep": [pieces[vocabulary.last], vocabulary.last],
        "cls": [pieces[vocabulary.first], vocabulary.first],
    }
    if kind == "roberta":
        return {
            "type": "RobertaProcessing",
            **ends,
            "trim_offsets": True,
            "add_prefix_space": False,
        }
    return {"type": "BertProcessing", **ends}


def _added(
    there: list[dict[str, Any]], pieces: dict[int, str], vocabulary: Vocabulary
) -> list[dict[str, Any]]:
    """Every special token is matched as a whole where it stands in a text, as [MASK] must be."""
    known = {token["id"] for token in there}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    new = [
        {"id": number, "content": pieces[number], **flags, "special": True}
        for number in vocabulary.special
        if number not in known
    ]
    return sorted([*there, *new], key=lambda token: token["id"])
