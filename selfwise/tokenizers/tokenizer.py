"""Text to ids and back: tokenizers that are trained here or published elsewhere."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from selfwise.core.errors import did_you_mean
from selfwise.core.files import digest, write_file
from selfwise.core.types import Vocabulary
from selfwise.tokenizers import train as train_
from selfwise.tokenizers.cached_encode import FlatIds, build_encoder
from selfwise.tokenizers.library import tokenizers
from selfwise.tokenizers.load import read_tokenizer
from selfwise.tokenizers.plain_text import remove_special_names
from selfwise.tokenizers.special_tokens import BERT, WORDS_SPECIAL, build_vocabulary
from selfwise.tokenizers.train import MIN_WORD_COUNT

TOKENIZER_KINDS = ("wordpiece", "bpe", "unigram", "chars", "words")
DEFAULT_VOCAB = 8192
MIN_VOCAB = {"wordpiece": 64, "bpe": 261, "unigram": 64, "chars": 6, "words": 3}
# parts of a tokenizer.json that do not decide the ids
_IGNORED_PARTS = ("version", "truncation", "padding", "post_processor", "decoder")


class Tokenizer:
    """Text to ids without special tokens, and back.

    `vocabulary` says which tokens begin words, which are special and what for; `fingerprint` is of
    all that decides the ids.
    """

    def __init__(self, library: "tokenizers.Tokenizer"):
        self.library = library
        # what looks like a special token in a text is text, unless `special` is asked for
        library.encode_special_tokens = True
        self.fingerprint = _fingerprint_library(library)
        self.vocabulary: Vocabulary = build_vocabulary(library)
        text = remove_special_names(library, self.vocabulary.special)
        self._flat: Callable[[Sequence[str]], FlatIds] = build_encoder(text)

    def __repr__(self) -> str:
        return f"Tokenizer({self.vocabulary.size:,} tokens)"

    def encode(self, texts: Sequence[str], *, special: bool = False) -> list[np.ndarray]:
        """Return the ids of each text as int64, without special tokens at its ends.

        `special`: the name of a special token in a text stands for it ("The [MASK] barked.");
        otherwise it is text as any other.
        """
        if not special:
            ids, counts = self.encode_flat(texts)
            return np.split(ids, np.cumsum(counts)[:-1]) if len(counts) else []
        self.library.encode_special_tokens = False
        try:
            encodings = self.library.encode_batch(list(texts), add_special_tokens=False)
        finally:
            self.library.encode_special_tokens = True
        return [np.array(encoding.ids, dtype=np.int64) for encoding in encodings]

    def encode_flat(self, texts: Sequence[str]) -> FlatIds:
        """As `encode`, in a row: all ids int64 (t,), and how many each text has int64 (n,)."""
        return self._flat(texts)

    def decode(self, ids: Sequence[int] | np.ndarray, *, keep_special: bool = False) -> str:
        """Return the text of ids. Raises ValueError for an id that is not in the vocabulary."""
        numbers = [int(i) for i in ids]
        outside = [i for i in numbers if not 0 <= i < self.vocabulary.size]
        if outside:
            size = self.vocabulary.size
            raise ValueError(f"{outside[0]} is not an id of this vocabulary of {size:,} tokens")
        return self.library.decode(numbers, skip_special_tokens=not keep_special)

    def piece(self, id: int) -> str:
        """Return the token with an id. Raises ValueError if there is none."""
        piece = self.library.id_to_token(int(id)) if id >= 0 else None
        if piece is None:
            raise ValueError(f"{id} is not an id of this vocabulary of {self.vocabulary.size:,}")
        return piece

    def id(self, piece: str) -> int | None:
        """The id of a token, or None."""
        return self.library.token_to_id(piece)

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json`, all that `load` needs, into a folder that exists."""
        write_file(folder / "tokenizer.json", self.library.to_str(pretty=True))

    @staticmethod
    def load(path: Path | str) -> "Tokenizer":
        """From any form that `read_tokenizer` reads. Raises ValueError for what is none of them."""
        path = Path(path).expanduser()
        library = read_tokenizer(path)
        try:
            return Tokenizer(library)
        except ValueError as error:
            raise ValueError(f"{path}: cannot be used as a tokenizer: {error}") from error

    def __getstate__(self) -> str:
        return self.library.to_str()

    def __setstate__(self, state: str) -> None:
        self.__init__(tokenizers.Tokenizer.from_str(state))  # type: ignore[misc]


def _fingerprint_library(library: "tokenizers.Tokenizer") -> str:
    config = json.loads(library.to_str())
    parts = {name: part for name, part in config.items() if name not in _IGNORED_PARTS}
    if (
        config["model"]["type"] == "Unigram"
    ):  # the library reads numbers back with another last digit
        parts["model"]["vocab"] = [(piece, round(s, 5)) for piece, s in parts["model"]["vocab"]]
        parts["special names"] = "text"  # they gave special ids once: tokens of then are not reused
    return digest(json.dumps(parts, sort_keys=True))


@runtime_checkable
class HasText(Protocol):
    """A piece of a document."""

    @property
    def text(self) -> str: ...


@runtime_checkable
class PieceStream(Protocol):
    """Texts that can be read as a stream of pieces, each with its `text`."""

    def pieces(self) -> Iterable[HasText]: ...


def train_tokenizer(
    kind: str,
    texts: Iterable[str],
    *,
    vocab_size: int | None = None,
    lower: bool = False,
    seed: int = 0,
    max_bytes: int | None = None,
    min_count: int = MIN_WORD_COUNT,
    progress: Callable[[str], None] | None = None,
) -> Tokenizer:
    """Return a tokenizer of one of the kinds, learned from texts.

    The same texts give the same tokenizer.

    Args:
        kind: wordpiece, bpe, unigram, chars, or words.
        texts: to learn from, or a corpus, which is read piece by piece.
        vocab_size: tokens, special ones included; by default 8,192, for chars all characters, for
            words all that are frequent enough.
        lower: lower-case the text, and take accents off where the kind does so; words are always
            in lower case.
        seed: changes nothing, because nothing is drawn.
        max_bytes: bytes of text to learn from; longer texts are sampled evenly.
        min_count: rarer words are unknown; for words alone.
        progress: called with one sentence if it is a sample.

    Raises ValueError for an unknown kind, a vocabulary that is too small, and texts without text.
    """
    if kind not in TOKENIZER_KINDS:
        raise ValueError(f"unknown kind of tokenizer {kind!r}{did_you_mean(kind, TOKENIZER_KINDS)}")
    if vocab_size is not None and vocab_size < MIN_VOCAB[kind]:
        raise ValueError(f"a {kind} vocabulary needs {MIN_VOCAB[kind]} tokens, got {vocab_size}")
    if isinstance(texts, PieceStream):  # a document may be longer than memory
        texts = (piece.text for piece in texts.pieces())
    if kind == "words":
        return Tokenizer(_train_words(texts, vocab_size, min_count))
    if kind == "chars":  # counting needs little memory, and a rare character is unknown forever
        library = train_.build_character_tokenizer(texts, vocab_size, lower=lower)
        if library.get_vocab_size() == len(BERT):
            raise ValueError(NO_TEXT)
        return Tokenizer(library)
    sample = train_.TextSample(
        train_.MAX_TRAINING_BYTES[kind] if max_bytes is None else max_bytes
    ).fill(texts)
    if not any(map(str.strip, sample.blocks)):
        raise ValueError(NO_TEXT)
    if sample.every > 1 and progress is not None:
        progress(
            f"training the tokenizer on {sample.size / 2**20:,.0f} MiB, an even sample of the "
            f"corpus's {sample.total_bytes / 2**20:,.0f}, to keep memory bounded"
        )
    learn = {
        "wordpiece": train_.train_wordpiece,
        "bpe": train_.train_bpe,
        "unigram": train_.train_unigram,
    }[kind]
    return Tokenizer(learn(sample.blocks, vocab_size or DEFAULT_VOCAB, lower=lower))


def _train_words(
    texts: Iterable[str], vocab_size: int | None, min_count: int
) -> "tokenizers.Tokenizer":
    """Raise ValueError if no word is frequent enough."""
    library = train_.train_words(texts, vocab_size, min_count=min_count)
    if library.get_vocab_size() == len(WORDS_SPECIAL):
        raise ValueError(
            f"{NO_TEXT}: no word occurs {min_count} times; a smaller --min-count keeps rarer words"
        )
    return library


NO_TEXT = "there is no text to train a tokenizer on"


def open_tokenizer(
    name: str | Path,
    texts: Callable[[], Iterable[str]],
    *,
    lower: bool = False,
    max_bytes: int | None = None,
    min_count: int = MIN_WORD_COUNT,
    progress: Callable[[str], None] | None = None,
) -> Tokenizer:
    """`wordpiece:8192` or `chars`: trained on `texts()`; anything else is a path.

    Raises ValueError for a size that is not a number, an unknown kind and a path that does not
    exist.
    """
    kind, colon, size = str(name).partition(":")
    if kind in TOKENIZER_KINDS:
        if colon and not size.isdigit():
            raise ValueError(
                f"{name}: the vocabulary size must be a whole number, as in {kind}:8192"
            )
        vocab = int(size) if colon else None
        return train_tokenizer(
            kind,
            texts(),
            vocab_size=vocab,
            lower=lower,
            max_bytes=max_bytes,
            min_count=min_count,
            progress=progress,
        )
    if not Path(name).expanduser().exists():
        raise ValueError(
            f"{name}: neither a path nor a kind of tokenizer{did_you_mean(kind, TOKENIZER_KINDS)}"
            if "mean" in did_you_mean(kind, TOKENIZER_KINDS)
            else f"{name}: neither a path nor a kind of tokenizer ({', '.join(TOKENIZER_KINDS)}, "
            "and a size as in wordpiece:8192)"
        )
    return Tokenizer.load(name)


def _before_fork() -> None:
    """Threads of the library do not survive a fork: a child that used them would wait forever.

    Its own guard prints a warning in every loader process; with this variable it stays silent,
    and a child encodes on one thread.
    """
    _parallelism_before.append(os.environ.get("TOKENIZERS_PARALLELISM"))
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


def _after_fork_in_parent() -> None:
    before = _parallelism_before.pop()
    if before is None:
        del os.environ["TOKENIZERS_PARALLELISM"]
    else:
        os.environ["TOKENIZERS_PARALLELISM"] = before


_parallelism_before: list[str | None] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent)
