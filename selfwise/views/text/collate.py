"""Read the rows of a plan out of the stream of tokens, with the special tokens between pieces.

numpy on whole batches; the stream is a memory map of which only what is asked for is read.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8, UInt16, UInt32

from selfwise.core.types import EpochPlan, TextBatch, Vocabulary

Tokens = UInt8[np.ndarray, "t"] | UInt16[np.ndarray, "t"] | UInt32[np.ndarray, "t"]
Stream = Tokens | Int64[np.ndarray, "t"]


class RowLayout(NamedTuple):
    """Rows, and the position of each of their pieces."""

    ids: Int64[np.ndarray, "b w"]
    real: Int64[np.ndarray, "b"]  # length of each row
    row: Int64[np.ndarray, "m"]  # of each piece: its row in this batch
    column: Int64[np.ndarray, "m"]  # where it begins, a special token of its own included


def collate_packed(
    tokens: Stream, plan: EpochPlan, rows: np.ndarray, *, length: int, vocabulary: Vocabulary
) -> TextBatch:
    """`[CLS] piece [SEP] piece [SEP]`, each piece a separate document for attention (RoBERTa)."""
    layout = _layout_with_separators(tokens, plan, rows, length, vocabulary)
    # what begins the row belongs to the first document
    first = np.where(layout.column == 1, 0, layout.column)
    return _to_batch(layout, rows, starts=_document_starts(layout, first))


def collate_pieces(
    tokens: Stream, plan: EpochPlan, rows: np.ndarray, *, length: int, vocabulary: Vocabulary
) -> TextBatch:
    """Return pieces one after the other without special tokens, each a separate document."""
    piece, row = _pieces_of_rows(plan, rows)
    spans = np.asarray(plan.pieces)[piece]
    none = np.zeros(len(piece), bool)
    layout = _layout_pieces(tokens, spans, row, none, none, width=length, vocabulary=vocabulary)
    return _to_batch(layout, rows, starts=_document_starts(layout, layout.column))


def collate_pairs(
    tokens: Stream, plan: EpochPlan, rows: np.ndarray, *, length: int, vocabulary: Vocabulary
) -> TextBatch:
    """`[CLS] A [SEP] B [SEP]` with segments 0 and 1, and the pair's label (BERT, section 3.1)."""
    layout = _layout_with_separators(tokens, plan, rows, length, vocabulary)
    position, second = np.arange(length), layout.column[1::2, None]
    segment = (position >= second) & (position < layout.real[:, None])
    assert plan.pair is not None, "a plan of pairs has labels"
    return _to_batch(
        layout,
        rows,
        segment=torch.from_numpy(segment.astype(np.int64)),
        pair=torch.from_numpy(np.asarray(plan.pair)[rows].astype(np.int64)),
    )


def collate_windows(
    tokens: Stream, plan: EpochPlan, rows: np.ndarray, *, length: int, vocabulary: Vocabulary
) -> TextBatch:
    """Return rows of `length` + 1 tokens: inputs and, one further, targets (GPT).

    The vocabulary's first token is put where a document begins, its last one where it ends,
    for vocabularies that have them. Each piece is a separate document for attention.
    """
    assert plan.ends is not None, "a plan of windows says where documents begin and end"
    piece, row = _pieces_of_rows(plan, rows)
    ends = np.asarray(plan.ends)[piece]
    before = ends[:, 0] & (vocabulary.first is not None)
    after = ends[:, 1] & (vocabulary.last is not None)
    spans = np.asarray(plan.pieces)[piece]
    layout = _layout_pieces(
        tokens, spans, row, before, after, width=length + 1, vocabulary=vocabulary
    )
    return _to_batch(layout, rows, starts=_document_starts(layout, layout.column))


def _layout_with_separators(
    tokens: Stream, plan: EpochPlan, rows: np.ndarray, length: int, vocabulary: Vocabulary
) -> RowLayout:
    piece, row = _pieces_of_rows(plan, rows)
    spans = np.asarray(plan.pieces)[piece]
    none, always = np.zeros(len(piece), bool), np.ones(len(piece), bool)
    layout = _layout_pieces(
        tokens, spans, row, none, always, width=length, vocabulary=vocabulary, offset=1
    )
    layout.ids[:, 0] = vocabulary.first
    return layout


def _pieces_of_rows(
    plan: EpochPlan, rows: np.ndarray
) -> tuple[Int64[np.ndarray, "m"], Int64[np.ndarray, "m"]]:
    """Return the numbers of all pieces of these rows, and which of the rows each belongs to."""
    first, stop = plan.rows[rows], plan.rows[np.asarray(rows) + 1]
    row, offset = _enumerate_runs(stop - first)
    return first[row] + offset, row


def _enumerate_runs(sizes: np.ndarray) -> tuple[Int64[np.ndarray, "t"], Int64[np.ndarray, "t"]]:
    """For sizes (2, 3): numbers 0 0 1 1 1 and, inside each, places 0 1 0 1 2."""
    number = np.repeat(np.arange(len(sizes)), sizes)
    return number, np.arange(len(number)) - (sizes.cumsum() - sizes)[number]


def _layout_pieces(
    tokens: Stream,
    spans: Int64[np.ndarray, "m 2"],
    row: Int64[np.ndarray, "m"],
    before: Bool[np.ndarray, "m"],
    after: Bool[np.ndarray, "m"],
    *,
    width: int,
    vocabulary: Vocabulary,
    offset: int = 0,
) -> RowLayout:
    """Return the pieces one after the other, each with its special tokens `before` and `after`
    it."""
    size = spans[:, 1] - spans[:, 0]
    whole = before + size + after
    ahead = whole.cumsum() - whole
    first = np.searchsorted(row, np.arange(row[-1] + 1))
    column = offset + ahead - ahead[first][row]
    real = offset + np.bincount(row, weights=whole).astype(np.int64)
    assert real.max() <= width, "a row of the plan does not fit its length"
    ids = np.full((len(first), width), vocabulary.pad or 0, np.int64)
    piece, offset_in_piece = _enumerate_runs(size)
    ids[row[piece], (column + before)[piece] + offset_in_piece] = tokens[
        spans[piece, 0] + offset_in_piece
    ]
    ids[row[before], column[before]] = vocabulary.first or 0
    ids[row[after], (column + whole - 1)[after]] = vocabulary.last or 0
    return RowLayout(ids, real, row, column)


def _document_starts(layout: RowLayout, first: Int64[np.ndarray, "m"]) -> torch.Tensor | None:
    """Where the documents of each row begin, filled up with the row's length.

    Their number is raised to a power of two, so that few shapes occur. None: one in each row.
    """
    _, number_in_row = _enumerate_runs(np.bincount(layout.row))
    if not number_in_row.any():
        return None
    n = layout.ids.shape[1]
    starts = np.full((len(layout.ids), 1 << int(number_in_row.max()).bit_length()), n, np.int64)
    starts[layout.row, number_in_row] = first
    return torch.from_numpy(starts)


def _to_batch(
    layout: RowLayout,
    rows: np.ndarray,
    *,
    starts: torch.Tensor | None = None,
    segment: torch.Tensor | None = None,
    pair: torch.Tensor | None = None,
) -> TextBatch:
    index = torch.from_numpy(np.asarray(rows, np.int64).copy())
    n, valid = layout.ids.shape[1], None
    if layout.real.min() < n:
        valid = torch.from_numpy(np.arange(n) < layout.real[:, None])
    ids = torch.from_numpy(layout.ids)
    return TextBatch(ids, index, valid, segment=segment, starts=starts, pair=pair)
