"""word2vec: skip-gram with negative sampling on novels, in words of the vocabulary per second."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.row import Contest, Prepared, Run, Setting
from benchmarks.scratch import scratch
from benchmarks.texts import Opened, opened
from benchmarks.training import Training, agreed, counting

PEER = (
    "gensim's `Word2Vec` with as many workers as threads, from lists of words in memory; another "
    "side of it reads the words from a file, which its documentation recommends for many workers. "
    "gensim draws negatives for each pair and updates word by word without locks; selfwise shares "
    "negatives in a block of 32 centers, updates after 2,048 words, and repeats runs exactly"
)
PACKAGES = ("gensim",)
CASES = {"novels": "skip-gram, 100 numbers, window 5, 5 negatives, English novels (10 when quick)"}
ON_CPU = ("novels",)
OURS, LISTS, FILES = "selfwise", "gensim", "gensim from files"
GOALS = {"novels": [Contest(OURS, LISTS, 1), Contest(OURS, FILES, 1)]}
BATCH, LENGTH = 8, 256  # rows and words of a step
DIM, WINDOW, NEGATIVES, SAMPLE, MIN_COUNT = 100, 5, 5, 1e-3, 5
SENTENCE, PIECE = 1_000, 200_000  # words
QUICK_NOVELS = 10
FREQUENT = 20  # words whose chances are compared: sums in float32 round those of rare words


class Words(NamedTuple):
    """The words of a text that are in the vocabulary, as ids and by name."""

    ids: np.ndarray
    names: np.ndarray
    known: float  # which part of all words they are

    def pieces(self) -> list[list[list[str]]]:
        """The text in pieces of about `PIECE` words, each a list of sentences."""
        count = max(1, len(self.ids) // PIECE)
        return [list(sentences(self.names[part])) for part in np.array_split(self.ids, count)]


def sentences(words: np.ndarray) -> Iterator[list[str]]:
    for start in range(0, len(words), SENTENCE):
        yield words[start : start + SENTENCE].tolist()


def novels(quick: bool) -> list[Path]:
    """Raises ValueError where the data are missing."""
    folder = Path(os.environ.get("SELFWISE_DATA", "")) / "english_novels_100" / "corpus"
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise ValueError(
            "case novels: SELFWISE_DATA must name the folder of english_novels_100/corpus/*.txt"
        )
    return files[:QUICK_NOVELS] if quick else files


def made(data: Any) -> Opened:
    encoder = {"encoder": "word2vec", "encoder_options": {"dim": DIM}}
    method = {"window": WINDOW, "negatives": NEGATIVES, "subsample": SAMPLE}
    shape: dict[str, Any] = {"batch": BATCH, "length": LENGTH, "tokenizer": "words"}
    return opened("word2vec", encoder, data=data, min_count=MIN_COUNT, **shape, **method)


def read_words(ours: Opened) -> Words:
    ids = np.asarray(ours.source.corpus.tokens[:], np.int64)
    size = ours.tokenizer.vocabulary.size
    names = np.array([ours.tokenizer.piece(number) for number in range(size)], dtype=object)
    known = ids[~np.isin(ids, list(ours.tokenizer.vocabulary.special))]
    return Words(known, names, len(known) / len(ids))


def peer(words: Words, threads: int, **told: Any) -> Any:
    """gensim's model with these words counted; `told` may have its seed and epochs."""
    from gensim.models import Word2Vec

    shape: dict[str, Any] = {"vector_size": DIM, "window": WINDOW, "negative": NEGATIVES}
    model = Word2Vec(sg=1, sample=SAMPLE, min_count=MIN_COUNT, workers=threads, **shape, **told)
    model.build_vocab([words.names[words.ids].tolist()])
    return model


def same_drawing(ours: Opened, words: Words, model: Any) -> str:
    """Both keep and draw each word with equal probability."""
    keys = model.wv.index_to_key
    ids = [ours.tokenizer.id(word) for word in keys]
    assert len(keys) == int((ours.method.keep > 0).sum()), "the vocabularies differ"
    keep = np.array([model.wv.get_vecattr(word, "sample_int") for word in keys]) / 2**32
    kept = agreed(
        ours.method.keep[ids].tolist(), keep.tolist(), within=1e-5, what="chances to stay"
    )
    noise = np.diff(ours.method.noise.double().numpy(), prepend=0.0)[ids][:FREQUENT]
    theirs = np.diff(model.cum_table.astype(np.float64), prepend=0.0)[:FREQUENT]
    share = theirs / float(model.cum_table[-1])
    drawn = agreed(noise.tolist(), share.tolist(), within=1e-3, what="chances as a negative")
    return f"{len(keys):,} words; {kept}; {drawn}"


def from_lists(model: Any, pieces: list[list[list[str]]]) -> Run:
    def run(number: int) -> float:
        piece = pieces[number % len(pieces)]
        size = sum(map(len, piece))
        model.train(piece, total_words=size, total_examples=len(piece), epochs=1)
        return size

    return run


def from_files(model: Any, pieces: list[list[list[str]]], home: Path) -> Run:
    files = [home / f"{number}.txt" for number in range(len(pieces))]
    for file, piece in zip(files, pieces):
        file.write_text("\n".join(map(" ".join, piece)) + "\n", encoding="utf-8")
    sizes = [sum(map(len, piece)) for piece in pieces]

    def run(number: int) -> float:
        at = number % len(files)
        told = {"total_words": sizes[at], "total_examples": len(pieces[at]), "epochs": 1}
        model.train(corpus_file=str(files[at]), **told)
        return sizes[at]

    return run


def prepare(case: str, setting: Setting) -> Prepared:
    home = scratch()
    ours = made(novels(setting.quick))
    words = read_words(ours)
    lists, files = peer(words, setting.threads), peer(words, setting.threads)
    equal = same_drawing(ours, words, lists)
    step = Training(ours.method, ours.source, setting, batch_size=BATCH)
    pieces = words.pieces()
    sides = {
        OURS: counting(BATCH * LENGTH * words.known, step),
        LISTS: from_lists(lists, pieces),
        FILES: from_files(files, pieces, home),
    }
    told: dict[str, object] = {"words": len(words.ids)}
    return Prepared("words", sides, equal, told=told, in_a_run=True)
