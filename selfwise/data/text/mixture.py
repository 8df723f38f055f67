"""Several sources in one corpus: their held-out parts, and epochs in given proportions.

An epoch with weights has as many tokens as the sources together, and each source has the fraction
of them that its weight gives. A source that gets more tokens than it has is read through as often
as fits. The rest of its tokens are a window of its documents in a random order. The window begins
in each epoch where it ended in the epoch before, and goes around in a circle, so that all tokens of
a source are read equally often in the long run. Everything depends only on the seed and the number
of the epoch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Int64

from selfwise.core.rng import shuffle_indices
from selfwise.data.text.corpus import Corpus, choose_held_out

Spans = Int64[np.ndarray, "_ 2"]


def list_sources(corpus: Corpus) -> list[slice]:
    """Return the rows of `documents` of each source."""
    ends = corpus.source_ends or (len(corpus.tokens),)
    stops = np.searchsorted(corpus.documents[:, 0], ends).tolist()
    return [slice(start, stop) for start, stop in zip([0, *stops[:-1]], stops)]


def count_tokens(documents: Spans) -> int:
    """Return the number of tokens in documents."""
    return int((documents[:, 1] - documents[:, 0]).sum())


def split_corpus(corpus: Corpus, share: float, *, seed: int = 0) -> tuple[Corpus, Corpus]:
    """(rest, held out). Holds out a share of each source, chosen as `Corpus.split` chooses it.

    The choice in one source does not depend on the other sources.

    Raises ValueError as `Corpus.split` does.
    """
    if len(corpus.source_ends) < 2:
        return corpus.split(share, seed=seed)
    before = list_sources(corpus)
    is_cut = [rows.stop - rows.start == 1 for rows in before]
    for rows in (rows for rows, cut in reversed([*zip(before, is_cut)]) if cut):
        corpus = _cut_only_document(corpus, rows.start, share)  # rows of earlier sources stay
    is_held_out = np.zeros(len(corpus.documents), dtype=bool)
    for rows, cut in zip(list_sources(corpus), is_cut):
        lengths = np.diff(corpus.documents[rows])[:, 0]
        is_held_out[rows] = [False, True] if cut else choose_held_out(lengths, share, seed)
    name = f"{share} {seed}"
    rest = corpus.select(~is_held_out, f"rest {name}")
    return rest, corpus.select(is_held_out, f"held out {name}")


def divide_tokens(corpus: Corpus, weights: Sequence[float]) -> list[int]:
    """Return the tokens of each source in an epoch."""
    each = np.array(weights, np.float64) / sum(weights)
    tokens: list[int] = np.rint(each * count_tokens(corpus.documents)).astype(np.int64).tolist()
    return tokens


def draw_layers(
    corpus: Corpus, weights: Sequence[float], *, seed: int, epoch: int
) -> Iterator[Spans]:
    """Yield the documents of an epoch in layers, so that no token is in a layer twice.

    The first layer has the windows of all sources. Each further layer has all documents of the
    sources that are read once more.
    """
    sources = [corpus.documents[rows] for rows in list_sources(corpus)]
    windows: list[Spans] = []
    passes: list[int] = []
    for number, (documents, tokens) in enumerate(zip(sources, divide_tokens(corpus, weights))):
        whole, rest = divmod(tokens, count_tokens(documents))
        order = shuffle_indices(len(documents), seed, "documents of a source", number)
        window = _cut_window(documents[order], corpus.sentences, start=epoch * rest, tokens=rest)
        windows.append(window[np.argsort(window[:, 0])])
        passes.append(whole)
    yield np.concatenate(windows)
    for layer in range(max(passes)):
        yield np.concatenate([part for part, whole in zip(sources, passes) if layer < whole])


def select_sentences(sentences: Spans | None, documents: Spans) -> Spans | None:
    """Return the sentences inside documents of a layer."""
    if sentences is None or not len(documents):
        return sentences
    first, stop = np.searchsorted(sentences[:, 0], [documents[0, 0], documents[-1, 1]])
    near: Spans = sentences[first:stop]
    owner = np.searchsorted(documents[:, 1], near[:, 0], side="right")
    inside: Spans = near[near[:, 0] >= documents[owner, 0]]
    return inside


def _cut_only_document(corpus: Corpus, row: int, share: float) -> Corpus:
    """Return the corpus with a document cut into the two parts that `Corpus.split` gives."""
    sentences, begin = corpus.sentences, slice(row, row + 1)
    reach = slice(0, 0)
    if sentences is not None:
        reach = slice(*np.searchsorted(sentences[:, 0], corpus.documents[row]).tolist())
    alone = replace(
        corpus,
        documents=corpus.documents[begin],
        sizes=corpus.sizes[begin],
        sentences=None if sentences is None else sentences[reach],
        source_ends=(),
    )
    first, second = alone.split(share)
    if sentences is not None:
        assert first.sentences is not None
        assert second.sentences is not None
        sentences = _put(sentences, reach, np.concatenate([first.sentences, second.sentences]))
    documents = np.concatenate([first.documents, second.documents])
    sizes = np.concatenate([first.sizes, second.sizes])
    return replace(
        corpus,
        documents=_put(corpus.documents, begin, documents),
        sizes=_put(corpus.sizes, begin, sizes),
        sentences=sentences,
    )


def _put(rows: Spans, place: slice, more: Spans) -> Spans:
    """Return an array with other rows in a place."""
    return np.concatenate([rows[: place.start], more, rows[place.stop :]])


def _cut_window(documents: Spans, sentences: Spans | None, *, start: int, tokens: int) -> Spans:
    """Return a window of the documents in their order, from a token on, around in a circle."""
    stops = (documents[:, 1] - documents[:, 0]).cumsum()
    size = int(stops[-1])
    start %= size
    ranges = [(start, min(start + tokens, size)), (0, max(start + tokens - size, 0))]
    return np.concatenate([_cut_range(documents, stops, sentences, *part) for part in ranges])


def _cut_range(
    documents: Spans, stops: Int64[np.ndarray, "_"], sentences: Spans | None, start: int, stop: int
) -> Spans:
    """Return the documents from token `start` to `stop`; the first and the last one may be cut."""
    if start == stop:
        return documents[:0]
    first, last = np.searchsorted(stops, start, side="right"), np.searchsorted(stops, stop)
    spans = documents[first : last + 1].copy()
    spans[0, 0] = _snap(documents[first], start - int(stops[first]), sentences)
    spans[-1, 1] = _snap(documents[last], stop - int(stops[last]), sentences)
    kept: Spans = spans[spans[:, 1] > spans[:, 0]]
    return kept


def _snap(document: Int64[np.ndarray, "2"], from_end: int, sentences: Spans | None) -> int:
    """Return a place in a document, given from its end; the sentence there begins at the place."""
    begin, end = map(int, document)
    place = end + from_end
    if from_end == 0 or sentences is None:
        return place
    number = int(np.searchsorted(sentences[:, 0], place, side="right")) - 1
    return max(begin, int(sentences[number, 0]))
