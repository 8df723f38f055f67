"""A tokenizer for ordinary text, in which the name of a special token is text as any other."""

import json
from collections.abc import Collection
from typing import Any

from tokenizers import Tokenizer as Library

HIDDEN = "\uffff{}\uffff"  # what no text holds: U+FFFF is not a character


def remove_special_names(library: Library, special: Collection[int]) -> Library:
    """The tokenizer without the special tokens' names, so that no text gives their ids.

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
    changed = Library.from_str(json.dumps(config))
    changed.encode_special_tokens = True
    return changed


def _choose_names(vocab: Any, special: Collection[int]) -> dict[str, str]:
    """The special tokens among the pieces of a model, and what they are renamed to."""
    pairs = enumerate(p for p, _ in vocab) if isinstance(vocab, list) else _invert_vocab(vocab)
    return {piece: HIDDEN.format(i) for i, piece in pairs if i in special}


def _invert_vocab(vocab: dict[str, int]) -> list[tuple[int, str]]:
    return [(i, piece) for piece, i in vocab.items()]


def _rename_pieces(model: dict[str, Any], names: dict[str, str]) -> None:
    """Rename pieces in a model; merges that end in one of them, or begin with one, are dropped."""
    vocab = model["vocab"]
    if isinstance(vocab, list):
        model["vocab"] = [(names.get(piece, piece), score) for piece, score in vocab]
        return
    model["vocab"] = {names.get(piece, piece): i for piece, i in vocab.items()}
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    if "merges" in model:
        model["merges"] = [m for m in model["merges"] if names.keys().isdisjoint((*m, "".join(m)))]
