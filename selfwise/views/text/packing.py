"""Plans that fill rows with documents: windows, full sentences, best fit. Once an epoch, in numpy.

Attention never crosses a document, so every piece of a row is a document, or part of one, and is
marked as such when the row is laid out.
"""

import numpy as np
from jaxtyping import Bool, Int64

from selfwise.core.types import EmptyPlan, EpochPlan, Vocabulary

Spans = Int64[np.ndarray, "_ 2"]


def plan_windows(
    documents: Spans,
    sentences: Spans | None,
    *,
    length: int,
    vocabulary: Vocabulary,
    random: np.random.Generator,
) -> EpochPlan:
    """Return rows of `length` inputs and as many targets; every token of a document is a target
    once.

    A document, with the special tokens that begin and end it, is cut into windows of length + 1
    tokens that overlap by one. The first window ends at a random place of its own in every epoch,
    so that tokens are seen with every amount of context before them. What is shorter than a window
    shares rows by best fit; every target is in the document of its input. In a vocabulary
    without such tokens the first token of a document is not a target.

    Raises EmptyPlan if no document has a target.
    """
    real = documents[documents[:, 1] > documents[:, 0]]
    before, after = int(vocabulary.first is not None), int(vocabulary.last is not None)
    size = real[:, 1] - real[:, 0] + before + after
    real, size = real[size > 1], size[size > 1]
    if not len(real):
        raise EmptyPlan("no document has two tokens, so there is no next token to predict")
    # targets are the tokens from the second one on
    owner, targets = _split_spans(np.stack([np.ones_like(size), size], axis=1), length, random)
    first, stop = targets[:, 0] - 1, targets[:, 1]
    ends = np.stack([first == 0, stop == size[owner]], axis=1)
    shift = real[owner, 0] - before
    pieces = np.stack([shift + first, shift + stop], axis=1)
    pieces += np.stack([ends[:, 0] * before, -(ends[:, 1] * after)], axis=1)
    return _plan_best_fit(pieces, stop - first, length + 1, random, ends=ends)


def plan_best_fit(
    documents: Spans,
    sentences: Spans | None,
    *,
    length: int,
    vocabulary: Vocabulary,
    random: np.random.Generator,
) -> EpochPlan:
    """Return rows `[CLS] piece [SEP] piece [SEP]`, filled by best fit with pieces of documents.

    A document that is longer than a row is cut at a random place of its own and then every row.
    The longest pieces go first, each into the row where the least is left over (best-fit
    decreasing); ModernBERT (arXiv:2412.13663, section 2.1.2) does the same inside a buffer.

    Raises EmptyPlan if the documents have no token.
    """
    real = documents[documents[:, 1] > documents[:, 0]]
    _check_not_empty(real)
    _, pieces = _split_spans(real, length - 2, random)
    return _plan_best_fit(pieces, pieces[:, 1] - pieces[:, 0] + 1, length - 1, random)


def plan_pieces(
    documents: Spans,
    sentences: Spans | None,
    *,
    length: int,
    vocabulary: Vocabulary,
    random: np.random.Generator,
) -> EpochPlan:
    """Return rows of `length` tokens without special tokens, filled by best fit.

    A document that is longer than a row is cut at a random place of its own and then every row, so
    that other words are next to a cut in every epoch.

    Raises EmptyPlan if the documents have no token.
    """
    real = documents[documents[:, 1] > documents[:, 0]]
    _check_not_empty(real)
    _, pieces = _split_spans(real, length, random)
    return _plan_best_fit(pieces, pieces[:, 1] - pieces[:, 0], length, random)


def plan_full_sentences(
    documents: Spans,
    sentences: Spans | None,
    *,
    length: int,
    vocabulary: Vocabulary,
    random: np.random.Generator,
) -> EpochPlan:
    """FULL-SENTENCES (RoBERTa, arXiv:1907.11692, section 4.2): whole sentences up to the length.

    A row has the sentences that follow one another in one document or more, as many as fit, and
    between two documents one more [SEP]. A sentence longer than a row is cut. The order of the
    documents is another one in each epoch; in fairseq it is that of the file.

    Raises EmptyPlan if there is no sentence.
    """
    assert sentences is not None
    owner, spans = tile_sentences(documents, sentences)
    _check_not_empty(spans)
    order = np.argsort(random.permutation(len(documents))[owner], kind="stable")
    part, spans = _split_spans(spans[order], length - 2, None)
    owner = owner[order][part]
    size = spans[:, 1] - spans[:, 0]
    begins = np.r_[True, owner[1:] != owner[:-1]]  # begins a document
    stop = size.cumsum() + begins.cumsum()  # a document costs one [SEP] more than its tokens
    following = np.searchsorted(stop, stop - size + length - 2, side="right").tolist()
    firsts, at = [], 0
    while at < len(spans):
        firsts.append(at)
        at = following[at]
    rows = np.array(firsts)
    begin = np.union1d(rows, begins.nonzero()[0])
    last = np.r_[begin[1:], len(spans)] - 1
    pieces = np.stack([spans[begin, 0], spans[last, 1]], axis=1)
    return EpochPlan(pieces, np.r_[np.searchsorted(begin, rows), len(begin)])


def tile_sentences(documents: Spans, sentences: Spans) -> tuple[Int64[np.ndarray, "_"], Spans]:
    """Return the document of each sentence that has tokens, and its span up to the next sentence.

    Consecutive sentences of a document become one span, whatever is between them.
    """
    spans = sentences[sentences[:, 1] > sentences[:, 0]].copy()
    owner = np.searchsorted(documents[:, 0], spans[:, 0], side="right") - 1
    same = owner[1:] == owner[:-1]
    spans[:-1, 1][same] = spans[1:, 0][same]
    return owner, spans


def _check_not_empty(spans: Spans) -> None:
    if not len(spans):
        raise EmptyPlan("the documents have no tokens, so there is nothing to train on")


def _split_spans(
    spans: Spans, width: int, random: np.random.Generator | None
) -> tuple[Int64[np.ndarray, "_"], Spans]:
    """Return parts of at most `width`, and of which span each is; the first part of a longer span
    is of random size, or as wide as the others without `random`."""
    size = spans[:, 1] - spans[:, 0]
    first = np.full_like(size, width)
    if random is not None:
        long = size > width
        first[long] = random.integers(1, width, size=int(long.sum()), endpoint=True)
    parts = 1 + -(-np.maximum(size - first, 0) // width)
    owner = np.repeat(np.arange(len(spans)), parts)
    number = np.arange(len(owner)) - (parts.cumsum() - parts)[owner]
    stop = np.minimum(first[owner] + number * width, size[owner])
    start = np.where(number > 0, first[owner] + (number - 1) * width, 0)
    return owner, spans[owner, :1] + np.stack([start, stop], axis=1)


def _plan_best_fit(
    pieces: Spans,
    size: Int64[np.ndarray, "_"],
    capacity: int,
    random: np.random.Generator,
    *,
    ends: Bool[np.ndarray, "_ 2"] | None = None,
) -> EpochPlan:
    """Plan the rows that best fit chooses."""
    row = pack_best_fit(size, capacity, random)
    order = np.argsort(row, kind="stable")
    rows = np.r_[0, np.bincount(row).cumsum()]
    return EpochPlan(pieces[order], rows, ends=None if ends is None else ends[order])


def pack_best_fit(
    size: Int64[np.ndarray, "_"], capacity: int, random: np.random.Generator
) -> Int64[np.ndarray, "_"]:
    """Choose the row of each piece by best-fit decreasing; pieces of one size in random order.

    Rows with the same room left are alike, so all pieces of one size are placed at once: as many
    as fit into each of the fullest rows in which one fits.
    """
    assert size.max() <= capacity
    row = np.empty(len(size), np.int64)
    order = random.permutation(len(size))
    order = order[np.argsort(-size[order], kind="stable")]
    bounds = np.flatnonzero(np.diff(size[order])) + 1
    room: list[list[np.ndarray]] = [[] for _ in range(capacity + 1)]  # rows by what is left
    used = 0
    for pieces in np.split(order, bounds):
        piece_size = int(size[pieces[0]])
        while len(pieces):
            space = next((r for r in range(piece_size, capacity) if room[r]), capacity)
            each = space // piece_size
            num_rows = -(-len(pieces) // each)
            if space == capacity:  # none has room: new rows
                rows, used = np.arange(used, used + num_rows), used + num_rows
            else:
                free = np.concatenate(room[space])
                rows = free[:num_rows]
                room[space] = [free[num_rows:]] if len(free) > num_rows else []
            placed = min(len(pieces), len(rows) * each)
            row[pieces[:placed]] = np.repeat(rows, each)[:placed]
            over = placed - (len(rows) - 1) * each  # pieces in the last of the rows
            room[space - over * piece_size].append(rows[-1:])
            if len(rows) > 1:
                room[space - each * piece_size].append(rows[:-1])
            pieces = pieces[placed:]
    return row
