"""A tokenizer for ordinary text, in which the name of a special token is text as any other."""

import json
from collections.abc import Collection
from typing import Any, TypedDict

from selfwise.tokenizers.library import tokenizers

HIDDEN_NAME = "\uffff{}\uffff"  # what no text holds: U+FFFF is not a character

Vocab = list[Any] | dict[str, int]  # pairs of piece and score, or pieces and ids


class ModelConfig(TypedDict, total=False):
    """The part of `model` in a tokenizer.json that selfwise uses."""

    vocab: Vocab
    unk_token: str
    merges: list[Any]  # pairs of pieces


def remove_special_names(
    library: "tokenizers.Tokenizer", special: Collection[int]
) -> "tokenizers.Tokenizer":
    """Return the tokenizer without the special tokens' names, so that no text gives their ids.

    The ids of all other text stay as they are.
    """
    config = json.loads(library.to_str())
    names = _choose_names(config["model"]["vocab"], special)
    if names:
        _rename_pieces(config["model"], names)
        config["post_processor"] = None  # adds special tokens by name
    config["added_tokens"] = [
        token | {"special": token["special"] or token["id"] in special}
        for token in config["added_tokens"]
        if token["content"] not in names
    ]
    changed = tokenizers.Tokenizer.from_str(json.dumps(config))
    changed.encode_special_tokens = True
    return changed


def _choose_names(vocab: Vocab, special: Collection[int]) -> dict[str, str]:
    """Return the special tokens among the pieces of a model, and what they are renamed to."""
    pairs = enumerate(p for p, _ in vocab) if isinstance(vocab, list) else _invert_vocab(vocab)
    return {piece: HIDDEN_NAME.format(i) for i, piece in pairs if i in special}


def _invert_vocab(vocab: dict[str, int]) -> list[tuple[int, str]]:
    return [(i, piece) for piece, i in vocab.items()]


def _rename_pieces(model: ModelConfig, names: dict[str, str]) -> None:
    """Rename pieces in a model; merges that end in one of them, or begin with one, are dropped."""
    vocab = model["vocab"]
    if isinstance(vocab, list):
        model["vocab"] = [(names.get(piece, piece), score) for piece, score in vocab]
        return
    model["vocab"] = {names.get(piece, piece): i for piece, i in vocab.items()}
    if (unknown := model.get("unk_token")) in names:
        model["unk_token"] = names[unknown]
    if "merges" in model:
        model["merges"] = [m for m in model["merges"] if names.keys().isdisjoint((*m, "".join(m)))]
