"""Word vectors in the text and binary formats of word2vec.c, which gensim and fastText read."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

TEXT, BINARY = "vectors.vec", "vectors.bin"


def write_word2vec(folder: Path, words: Sequence[str], vectors: Float32[np.ndarray, "v d"]) -> None:
    """Write `vectors.vec` and `vectors.bin` into an existing folder; both hold equal numbers.

    Both begin with a line of the number of words and the width. In the text format each line is a
    word and its numbers, separated by spaces; nine digits give the float32 back. In the binary
    format a word is followed by a space, its numbers as float32 in little-endian order, and a line
    feed.

    Raises ValueError for a word that these formats cannot hold.
    """
    check_words(words)
    head = f"{len(words)} {vectors.shape[1]}\n".encode()
    for name, rows in ((TEXT, _format_text), (BINARY, _format_binary)):
        with (folder / name).open("wb") as file:
            file.write(head)
            file.writelines(rows(words, vectors))


def check_words(words: Sequence[str]) -> None:
    """Raise ValueError for an empty list, an empty word, or one with a space or a line break."""
    if not words:
        raise ValueError("word2vec's formats need at least one word, and the vocabulary has none")
    for word in words:
        if word.split() != [word]:
            problem = "contains white space" if word else "is empty"
            raise ValueError(
                f"word2vec's formats end a word at white space, and the token {word!r} {problem}: "
                "train with --tokenizer words, or export with --to safetensors"
            )


def _format_text(words: Sequence[str], vectors: Float32[np.ndarray, "v d"]) -> Iterator[bytes]:
    line = "%s" + " %.9g" * vectors.shape[1] + "\n"
    for word, vector in zip(words, vectors):
        yield (line % (word, *vector.tolist())).encode()


def _format_binary(words: Sequence[str], vectors: Float32[np.ndarray, "v d"]) -> Iterator[bytes]:
    for word, vector in zip(words, vectors.astype("<f4")):
        yield word.encode() + b" " + vector.tobytes() + b"\n"
