"""Text to ids by its words: a language has few of them, so each is tokenized once.

The rust library aligns every character of a text with its tokens, which takes most of its time. A
split at white space changes nothing for the tokenizers that are known here, so a word that was seen
before is a look-up, and whole batches of text become ids in numpy.
"""

import json
import re
from base64 import b64decode
from collections.abc import Callable, Container, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from selfwise.tokenizers.library import tokenizers
from selfwise.tokenizers.sentencepiece_charsmap import Charsmap

SPACE = "\u2581"  # what SentencePiece writes for a space
MAX_WORDS, MAX_CHARACTERS = 2**19, 2**25  # of the words in memory, about 100 MB
SplitText = Callable[[str], list[str]]
FlatIds = tuple[np.ndarray, np.ndarray]  # ids of all texts int64 (t,), and how many each has (n,)
EncodeTexts = Callable[[Sequence[str]], FlatIds]

# A word with the white space before it. It begins where ASCII white space follows something that
# is none; other white space (form feed, no-break space) never begins a word, because the
# tokenizers do not agree on what it is.
_SPACED = re.compile(r"\s*\S+(?:[^\S \n\t\r]\s*\S*)*|\s+")
_PROBES = ("a\nb", "a\n\n b", "a\t b", "a\r\nb", "a  b", " a b")


class WordEncoder:
    """An encoder of texts that remembers words and their ids, up to a limit."""

    _ids: np.ndarray  # of all words known
    _starts: np.ndarray  # where those of each word begin
    _counts: np.ndarray  # how many each has

    def __init__(self, encode: EncodeTexts, split: SplitText):
        self._encode, self._split = encode, split
        self._reset()

    def __call__(self, texts: Sequence[str]) -> FlatIds:
        """Return all ids in a row, and how many belong to each text."""
        if len(self._numbers) > MAX_WORDS or self._numbers.characters > MAX_CHARACTERS:
            self._reset()
        words = [self._split(text) for text in texts]
        per_text = np.fromiter(map(len, words), np.int64, len(words))
        look_up = map(self._numbers.__getitem__, chain.from_iterable(words))
        numbers = np.fromiter(look_up, np.int64, int(per_text.sum()))
        self._encode_new_words()
        counts = self._counts[numbers]
        ends = np.cumsum(counts)
        shift = np.repeat(self._starts[numbers] - ends + counts, counts)
        ids = self._ids[shift + np.arange(len(shift))]
        total = np.concatenate([[0], ends])[np.concatenate([[0], np.cumsum(per_text)])]
        return ids, np.diff(total)

    def _encode_new_words(self) -> None:
        """Tokenize the words that were met for the first time."""
        new = self._numbers.new
        if not new:
            return
        ids, counts = self._encode(new)
        self._starts = np.concatenate([self._starts, np.cumsum(counts) - counts + len(self._ids)])
        self._counts = np.concatenate([self._counts, counts])
        self._ids = np.concatenate([self._ids, ids])
        self._numbers.characters += sum(map(len, new))
        new.clear()

    def _reset(self) -> None:
        self._numbers = _WordNumbers()
        self._starts, self._counts, self._ids = (np.zeros(0, np.int64) for _ in range(3))


class CharacterEncoder:
    """Encodes texts character by character: a table look-up of their code points."""

    def __init__(self, pieces: dict[str, int], unknown: int, *, lower: bool):
        points = {ord(piece): i for piece, i in pieces.items() if len(piece) == 1}
        self._table = np.full(0x110000, unknown, dtype=np.int32)
        self._table[list(points)] = list(points.values())
        self._lower = lower

    def __call__(self, texts: Sequence[str]) -> FlatIds:
        """Return all ids in a row, and how many belong to each text."""
        if self._lower:
            texts = [lower_text(text) for text in texts]
        counts = np.fromiter(map(len, texts), np.int64, len(texts))
        points = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
        return self._table[points].astype(np.int64), counts


def lower_text(text: str) -> str:
    """Lowercase like the library: each character separately, the final sigma too."""
    return text.lower() if text.isascii() else "".join(map(str.lower, text))


def encode_with_library(library: "tokenizers.Tokenizer", texts: Sequence[str]) -> FlatIds:
    """Encode texts as they are, without special tokens."""
    encodings = [
        encoding.ids
        for encoding in library.encode_batch_fast(list(texts), add_special_tokens=False)
    ]
    counts = np.fromiter(map(len, encodings), np.int64, len(encodings))
    return np.fromiter(chain.from_iterable(encodings), np.int64, int(counts.sum())), counts


def build_encoder(library: "tokenizers.Tokenizer") -> EncodeTexts:
    """Return the fastest way to encode with a tokenizer that gives exactly its ids.

    One exception: where SentencePiece's normalizer comes first, the ids are those of SentencePiece.
    """
    config = json.loads(library.to_str())
    plain_encode = _build_whole_encoder(library, config)
    model, normal, pre = config["model"], config["normalizer"] or {}, config["pre_tokenizer"] or {}
    if any(not token["special"] for token in config["added_tokens"]):
        return plain_encode  # these may be anywhere, spaces included
    if is_characters(config):
        special = {token["content"] for token in config["added_tokens"]}
        pieces = {piece: i for piece, i in model["vocab"].items() if piece not in special}
        unknown = model["vocab"][model["unk_token"]]
        return CharacterEncoder(pieces, unknown, lower=normal.get("type") == "Lowercase")
    if is_words(config):
        return WordEncoder(plain_encode, _split_at_spaces)
    if normal.get("type") == "BertNormalizer" and pre.get("type") == "BertPreTokenizer":
        return WordEncoder(plain_encode, _split_at_spaces)
    plain = normal.get("type") in (None, "Lowercase")
    if plain and pre.get("type") == "ByteLevel" and pre["use_regex"]:
        if not pre["add_prefix_space"]:
            return WordEncoder(plain_encode, _SPACED.findall)
    elif pre.get("type") == "Metaspace" and pre["prepend_scheme"] == "always" and pre["split"]:
        ids = [plain_encode([text])[0].tolist() for text in ("a b", *_PROBES)]
        if all(one == ids[0] for one in ids):
            return WordEncoder(plain_encode, _split_before_spaces)
    return plain_encode


def _build_whole_encoder(library: "tokenizers.Tokenizer", config: Mapping[str, Any]) -> EncodeTexts:
    """Encode each text at once, after SentencePiece's normalizer if there is one."""
    parts = (config["normalizer"] or {}).get("normalizers", [])
    at = next((i for i, part in enumerate(parts) if part["type"] == "Precompiled"), None)
    if at is None:
        return partial(encode_with_library, library)
    first, rest = (
        tokenizers.Tokenizer.from_str(
            json.dumps({**config, "normalizer": {"type": "Sequence", "normalizers": normalizers}})
        )
        for normalizers in (parts[:at], parts[at + 1 :])
    )
    rest.encode_special_tokens = library.encode_special_tokens
    before = first.normalizer.normalize_str if at else str
    charsmap = Charsmap(b64decode(parts[at]["precompiled_charsmap"]))

    def normalize(text: str) -> str:
        return charsmap(before(text))

    added = [token for token in config["added_tokens"] if not token["special"]]
    for token in added:
        if token["normalized"] and normalize(token["content"]) != token["content"]:
            raise ValueError(
                f"the added token {token['content']!r} is changed by the tokenizer's own "
                "normalization, so it would match other texts; add it with normalized=False"
            )
    verbatim = {token["content"]: token["id"] for token in added if not token["normalized"]}
    if not verbatim:
        return lambda texts: encode_with_library(rest, [normalize(text) for text in texts])
    return partial(
        _encode_around_verbatim, rest, _remove_added_tokens(rest, verbatim), normalize, verbatim
    )


def _remove_added_tokens(
    library: "tokenizers.Tokenizer", names: Container[str]
) -> "tokenizers.Tokenizer":
    """Return a tokenizer that does not know these added tokens."""
    config = json.loads(library.to_str())
    config["added_tokens"] = [
        token for token in config["added_tokens"] if token["content"] not in names
    ]
    reduced = tokenizers.Tokenizer.from_str(json.dumps(config))
    reduced.encode_special_tokens = library.encode_special_tokens
    return reduced


def _encode_around_verbatim(
    library: "tokenizers.Tokenizer",
    plain: "tokenizers.Tokenizer",
    normalize: Callable[[str], str],
    verbatim: Mapping[str, int],
    texts: Sequence[str],
) -> FlatIds:
    """Encode texts in which some tokens are found as they are written, before normalization.

    `plain` does not know them: where normalization has made the name of one, that is text.
    """
    names = sorted(verbatim, key=len, reverse=True)
    pattern = re.compile("(" + "|".join(map(re.escape, names)) + ")")
    split = [pattern.split(text) for text in texts]
    split = [
        [part if i % 2 else normalize(part) for i, part in enumerate(text_parts)]
        for text_parts in split
    ]
    if not any(pattern.search(part) for text_parts in split for part in text_parts[::2]):
        return encode_with_library(library, ["".join(text_parts) for text_parts in split])
    rows = []
    for text_parts in split:
        parts = [
            np.array([verbatim[part]]) if i % 2 else encode_with_library(plain, [part])[0]
            for i, part in enumerate(text_parts)
        ]
        rows.append(np.concatenate(parts).astype(np.int64))
    return np.concatenate(rows), np.array([len(row) for row in rows], np.int64)


def is_characters(config: Mapping[str, Any]) -> bool:
    """Return whether a tokenizer.json splits into single characters and nothing else."""
    pre = config["pre_tokenizer"] or {}
    every = pre.get("type") == "Split" and pre["pattern"] == {"Regex": EVERY_CHARACTER}
    normal = (config["normalizer"] or {}).get("type")
    return every and config["model"]["type"] == "WordLevel" and normal in (None, "Lowercase")


def is_words(config: Mapping[str, Any]) -> bool:
    """Return whether a tokenizer.json has whole words in lower case and nothing else."""
    pre = config["pre_tokenizer"] or {}
    split = pre.get("type") == "Split" and pre["pattern"] == {"Regex": WORD_PATTERN}
    normal = (config["normalizer"] or {}).get("type")
    return split and config["model"]["type"] == "WordLevel" and normal == "Lowercase"


EVERY_CHARACTER = r"[\s\S]"
WORD_PATTERN = r"\w+(?:'\w+)*"


class _WordNumbers(dict[str, int]):
    """Numbers words in the order in which they are met; `new` are those not tokenized yet."""

    def __init__(self) -> None:
        self.new: list[str] = []
        self.characters = 0

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self)
        self.new.append(word)
        return number


def _split_before_spaces(text: str) -> list[str]:
    """Return words with the white space before them, for tokenizers that write SPACE for a space.

    A text that has this very character is one word, as it cannot be told from a space after that.
    """
    return [text] if SPACE in text else _SPACED.findall(text)


def _split_at_spaces(text: str) -> list[str]:
    """Runs of what is neither space, tab nor newline, and some empty strings."""
    return text.replace("\n", " ").replace("\t", " ").replace("\r", " ").split(" ")
