"""The files next to tokenizer.json that tell AutoTokenizer the special tokens."""

import json

from selfwise.core.types import Vocabulary
from selfwise.interop.types import JsonObject

# their names of our roles, for each model type
_Roles = dict[str, tuple[str, ...]]
_BERT_ROLES: _Roles = {"first": ("cls_token",), "last": ("sep_token",)}
_ROBERTA_ROLES: _Roles = {"first": ("cls_token", "bos_token"), "last": ("sep_token", "eos_token")}
_GPT_ROLES: _Roles = {"first": ("bos_token",), "last": ("eos_token",)}
_ROLES_OF_TYPE: dict[str, _Roles] = {
    "bert": _BERT_ROLES,
    "albert": _BERT_ROLES,
    "roberta": _ROBERTA_ROLES,
    "gpt2": _GPT_ROLES,
}
_COMMON_ROLES: _Roles = {"unknown": ("unk_token",), "pad": ("pad_token",), "mask": ("mask_token",)}
_INPUTS = ("input_ids", "token_type_ids", "attention_mask")
_PAIR_PROCESSORS = ("TemplateProcessing", "BertProcessing", "RobertaProcessing")


def make_tokenizer_files(
    tokenizer: str, vocabulary: Vocabulary, *, model_type: str, length: int
) -> dict[str, JsonObject]:
    """Return the contents of tokenizer.json, tokenizer_config.json and special_tokens_map.json.

    `model_type` is that of config.json. tokenizer.json gets the step that adds [CLS] and [SEP],
    where it has none and the family has them, and loses it for GPT-2.
    """
    tokenizer_json = json.loads(tokenizer)
    pieces = _index_pieces(tokenizer_json)
    special: dict[str, str] = {}
    for role, theirs in (_COMMON_ROLES | _ROLES_OF_TYPE[model_type]).items():
        token_id = getattr(vocabulary, role)
        if token_id is not None:
            special |= dict.fromkeys(theirs, pieces[token_id])
    tokenizer_json |= {"truncation": None, "padding": None}
    if model_type == "gpt2":
        tokenizer_json["post_processor"] = _remove_special_ends(
            tokenizer_json.get("post_processor")
        )
    elif vocabulary.first is not None and vocabulary.last is not None:
        tokenizer_json["post_processor"] = _add_special_ends(
            tokenizer_json.get("post_processor"), pieces, vocabulary, model_type
        )
    tokenizer_json["added_tokens"] = _list_added_tokens(
        tokenizer_json.get("added_tokens") or [], pieces, vocabulary
    )
    # without segments GPT-2 would add the embeddings of tokens 0 and 1
    inputs = [
        name for name in _INPUTS if model_type not in ("gpt2", "roberta") or "type" not in name
    ]
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": length}
    config |= {"model_input_names": inputs, "clean_up_tokenization_spaces": False} | special
    return {
        "tokenizer.json": tokenizer_json,
        "tokenizer_config.json": config,
        "special_tokens_map.json": special,
    }


def _index_pieces(tokenizer_json: JsonObject) -> dict[int, str]:
    """Return the token of each id."""
    vocab = tokenizer_json["model"]["vocab"]
    if isinstance(vocab, list):  # unigram: pairs of piece and score
        pieces = {number: pair[0] for number, pair in enumerate(vocab)}
    else:
        pieces = {number: piece for piece, number in vocab.items()}
    return pieces | {
        token["id"]: token["content"] for token in tokenizer_json.get("added_tokens") or []
    }


def _remove_special_ends(processor: JsonObject | None) -> JsonObject | None:
    """Add nothing at the end of a text: GPT-2 continues it."""
    if processor is None or processor.get("type") in _PAIR_PROCESSORS:
        return None
    parts = processor.get("processors")
    if not isinstance(parts, list):
        return processor
    return processor | {
        "processors": [part for part in parts if part.get("type") not in _PAIR_PROCESSORS]
    }


def _add_special_ends(
    processor: JsonObject | None,
    pieces: dict[int, str],
    vocabulary: Vocabulary,
    model_type: str,
) -> JsonObject:
    if processor is not None and processor.get("type") in _PAIR_PROCESSORS:
        return processor
    assert vocabulary.first is not None
    assert vocabulary.last is not None
    ends: JsonObject = {
        "sep": [pieces[vocabulary.last], vocabulary.last],
        "cls": [pieces[vocabulary.first], vocabulary.first],
    }
    if model_type == "roberta":
        return {
            "type": "RobertaProcessing",
            **ends,
            "trim_offsets": True,
            "add_prefix_space": False,
        }
    return {"type": "BertProcessing", **ends}


def _list_added_tokens(
    tokens: list[JsonObject], pieces: dict[int, str], vocabulary: Vocabulary
) -> list[JsonObject]:
    """Match every special token as a whole in a text, as [MASK] must
    be."""
    ids = {token["id"] for token in tokens}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    new = [
        {"id": number, "content": pieces[number], **flags, "special": True}
        for number in vocabulary.special
        if number not in ids
    ]
    return sorted([*tokens, *new], key=lambda token: token["id"])
