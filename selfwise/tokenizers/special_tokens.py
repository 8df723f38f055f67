"""Roles of the tokens of a vocabulary: beginnings of words, and special tokens."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from selfwise.core.types import Vocabulary
from selfwise.tokenizers.cached_encode import SPACE
from selfwise.tokenizers.library import tokenizers

ROLES = {
    "pad": ("[PAD]", "<pad>"),
    "unknown": ("[UNK]", "<unk>"),
    "first": ("[CLS]", "<s>", "<cls>", "<|endoftext|>"),
    "last": ("[SEP]", "</s>", "<sep>", "<|endoftext|>"),
    "mask": ("[MASK]", "<mask>"),
}
NAMES = tuple(dict.fromkeys(name for names in ROLES.values() for name in names))
BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS_SPECIAL = ("[PAD]", "[UNK]")
ROBERTA = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
BYTE_SPACES = tuple("ĠĊĉčĈċČ")  # what byte-level BPE writes for space, newline, tab, and others


def build_vocabulary(library: "tokenizers.Tokenizer") -> Vocabulary:
    """Return the vocabulary of a tokenizer. Roles go by the usual names of BERT, RoBERTa and
    GPT-2."""
    config = json.loads(library.to_str())
    pieces = library.get_vocab(with_added_tokens=True)
    ids = {role: _find_first(names, pieces) for role, names in ROLES.items()}
    flagged = {token["id"] for token in config["added_tokens"] if token["special"]}
    special = sorted(flagged | {i for i in ids.values() if i is not None})
    size = max(pieces.values()) + 1
    starts = np.ones(size, dtype=bool)
    begins = _word_start_rule(config)
    for piece, i in pieces.items():
        starts[i] = begins(piece)
    starts[special] = True
    return Vocabulary(
        size,
        torch.from_numpy(starts),
        tuple(special),
        pad=ids["pad"],
        unknown=ids["unknown"],
        first=ids["first"],
        last=ids["last"],
        mask=ids["mask"],
    )


def _find_first(names: tuple[str, ...], pieces: Mapping[str, int]) -> int | None:
    return next((pieces[name] for name in names if name in pieces), None)


def _word_start_rule(config: Mapping[str, Any]) -> Callable[[str], bool]:
    """Piece -> whether it begins a word.

    WordPiece marks continuations; byte-level BPE and SentencePiece have the white space before a
    word in its first piece. Punctuation begins a word in WordPiece and belongs to the word before
    it in the others, as in BERT and fairseq. For vocabularies that mark the ends of words, as that
    of GPT-1 does, every piece counts as a word.
    """
    model = config["model"]
    if model["type"] == "WordPiece":
        prefix = model["continuing_subword_prefix"]
        return lambda piece: not piece.startswith(prefix) or piece == prefix
    if model["type"] == "WordLevel" or model.get("end_of_word_suffix"):
        return lambda piece: True
    if is_byte_level(config):
        return lambda piece: piece.startswith(BYTE_SPACES)
    return lambda piece: piece.startswith(SPACE)


def is_byte_level(config: Mapping[str, Any]) -> bool:
    """Return whether the pieces of a tokenizer.json are bytes in GPT-2's notation."""
    parts = [config["pre_tokenizer"] or {}]
    parts += parts[0].get("pretokenizers", [])
    return any(part.get("type") == "ByteLevel" for part in parts)
