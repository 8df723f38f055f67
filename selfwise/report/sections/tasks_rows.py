"""Texts as the rows of tokens that a method reads, and what it makes of them, a few at a time."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64

from selfwise.core.rng import Rng, generator, hash_keys, shuffle_indices
from selfwise.core.types import EpochPlan, RowSampler, TextBatch, Vocabulary, map_tensors, to_device
from selfwise.data.text import sentences
from selfwise.data.text.encode import EncodePieces
from selfwise.data.text.labelled import Texts
from selfwise.methods.inspection import Inspection, MaskedTextExamples, NextTokenExamples
from selfwise.runs.open import Run
from selfwise.views.text.collate import collate_packed

MAX_CHARACTERS = 2**17  # that are read of all texts
MAX_TOKENS = 2**14  # that are looked at
ENOUGH_PREDICTIONS = 2**13
MAX_SCORES = 2**25  # in memory at once: one for each place and each token of the vocabulary
Spans = Int64[np.ndarray, "_ 2"]


class TokenRows(NamedTuple):
    """The number of rows, and a function that reads rows by number."""

    size: int
    read: Callable[[np.ndarray], TextBatch]  # of int64 (b,)


def make_rows(run: Run, texts: Texts, *, seed: int) -> TokenRows:
    """Return rows made of texts as the run makes them of its documents, each text a document.

    Texts that make no pairs, as single sentences, are rows of one text each.

    Raises ValueError if the texts make no row.
    """
    draw, vocabulary = run.method.draw, run.tokenizer.vocabulary
    assert isinstance(draw, RowSampler), "a method on text says how rows are drawn"
    tokens, documents, sentence_spans = _encode_texts(run, texts, draw, seed)
    if not len(documents):
        raise ValueError("the texts contain no token")
    length = int(run.record.info.length)
    random = np.random.Generator(np.random.Philox(hash_keys(seed, "report plan")))
    collate = draw.collate
    try:
        plan = draw.plan(
            documents, sentence_spans, random=random, length=length, vocabulary=vocabulary
        )
    except ValueError:
        if not draw.needs_sentences:
            raise
        plan, collate = _plan_single_texts(documents, length), partial(_collate_single, run)
    return TokenRows(
        plan.size, partial(collate, tokens, plan, length=length, vocabulary=vocabulary)
    )


def inspect_rows(
    run: Run, rows: TokenRows, *, seed: int
) -> Iterator[tuple[TextBatch, Inspection | None]]:
    """Rows in an order drawn by the seed, in batches, with what the method shows of each.

    They end when there are enough predictions for a mean by position.

    The method is in the mode in which it is to be looked at, on its device; what comes is on the
    CPU.
    """
    method, length = run.method, int(run.record.info.length)
    device = next(method.parameters()).device
    order = shuffle_indices(rows.size, seed, "report rows")[: max(1, MAX_TOKENS // length)]
    batch_size = max(1, MAX_SCORES // (length * run.tokenizer.vocabulary.size))
    num_predictions = 0
    for number, start in enumerate(range(0, len(order), batch_size)):
        batch = rows.read(order[start : start + batch_size])
        batch = batch._replace(epoch=torch.zeros_like(batch.index))
        rng = Rng(generator(seed, "report view", number), seed=seed)
        inspection = method.inspect(method.view(to_device(batch, device), rng))
        yield batch, map_tensors(lambda part: part.cpu(), inspection)
        if isinstance(inspection, MaskedTextExamples | NextTokenExamples):
            num_predictions += int(inspection.predictions.valid.sum())
        if num_predictions >= ENOUGH_PREDICTIONS:
            return


def compute_text_positions(
    examples: MaskedTextExamples | NextTokenExamples,
) -> Int64[torch.Tensor, "b k"]:
    """Count the tokens of its text before each prediction in its row."""
    positions, starts = examples.predictions.positions, examples.batch.starts
    if starts is not None:
        before = starts[:, None] <= positions[..., None]
        positions = positions - torch.where(before, starts[:, None], 0).amax(dim=2)
    return positions


def _encode_texts(
    run: Run, texts: Texts, draw: RowSampler, seed: int
) -> tuple[np.ndarray, Spans, Spans | None]:
    """One stream of some texts, the spans of each and, if needed, those of its sentences."""
    sample: list[str] = []
    budget = MAX_CHARACTERS
    for row in shuffle_indices(len(texts), seed, "report texts"):
        sample.append(_join_pair(texts, int(row))[:budget])
        budget -= len(sample[-1])
        if budget <= 0:
            break
    language = sentences.LANGUAGE if draw.needs_sentences else None
    encoding = EncodePieces(run.tokenizer, "<u4", language)(sample)
    documents = _make_spans(encoding.tokens)
    sentence_spans = None if encoding.sentences is None else _make_spans(encoding.sentences)
    return encoding.ids, documents[documents[:, 0] < documents[:, 1]], sentence_spans


def _join_pair(texts: Texts, row: int) -> str:
    """Return a text, and the second one of its pair behind it."""
    return " ".join([texts.texts[row], *([texts.pairs[row]] if texts.pairs is not None else [])])


def _make_spans(sizes: np.ndarray) -> Spans:
    stops = sizes.cumsum().astype(np.int64)
    return np.stack([stops - sizes, stops], axis=1)


def _plan_single_texts(documents: Spans, length: int) -> EpochPlan:
    """Return a row for each text, cut where it is too long."""
    pieces = documents.copy()
    pieces[:, 1] = np.minimum(pieces[:, 1], pieces[:, 0] + length - 2)
    return EpochPlan(pieces, np.arange(len(pieces) + 1))


def _collate_single(
    run: Run,
    tokens: np.ndarray,
    plan: EpochPlan,
    rows: np.ndarray,
    *,
    length: int,
    vocabulary: Vocabulary,
) -> TextBatch:
    batch = collate_packed(tokens, plan, rows, length=length, vocabulary=vocabulary)
    if run.encoder.segments:
        batch = batch._replace(segment=torch.zeros_like(batch.ids))
    return batch
