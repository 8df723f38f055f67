"""Texts as the rows of tokens that a method reads, and what it makes of them, a few at a time."""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64

from selfwise.core.rng import Rng, generator, hash_keys, shuffled
from selfwise.core.types import EpochPlan, RowSampler, TextBatch, map_tensors, to_device
from selfwise.data.text import sentences
from selfwise.data.text.encode import EncodePieces
from selfwise.data.text.labelled import Texts
from selfwise.methods import inspection
from selfwise.runs.open import Run
from selfwise.views.text.collate import collate_packed

CHARACTERS = 2**17  # that are read at most, of all texts
TOKENS = 2**14  # that are looked at, at most
GUESSES = 2**13  # that are enough
SCORES = 2**25  # in memory at once: one for each place and each token of the vocabulary
Spans = Int64[np.ndarray, "_ 2"]


class Rows(NamedTuple):
    """How many rows there are, and a function of their numbers that reads them."""

    size: int
    read: Any  # int64 (b,) -> TextBatch


def rows(run: Run, texts: Texts, *, seed: int) -> Rows:
    """Rows made of texts as the run makes them of its documents, each text a document.

    Texts that make no pairs, as single sentences, are rows of one text each.

    Raises ValueError if the texts make no row.
    """
    draw, vocabulary = run.method.draw, run.tokenizer.vocabulary
    assert isinstance(draw, RowSampler), "a method on text says how rows are drawn"
    tokens, documents, inner = _tokens(run, texts, draw, seed)
    if not len(documents):
        raise ValueError("no token came of the texts")
    length = int(run.record.info.length)
    told: dict[str, Any] = {"length": length, "vocabulary": vocabulary}
    random = np.random.Generator(np.random.Philox(hash_keys(seed, "report plan")))
    collate = draw.collate
    try:
        plan = draw.plan(documents, inner, random=random, **told)
    except ValueError:
        if not draw.needs_sentences:
            raise
        plan, collate = _alone(documents, length), partial(_single, run)
    read = partial(collate, tokens, plan, **told)
    return Rows(plan.size, read)


def looked(run: Run, made: Rows, *, seed: int) -> Iterator[tuple[TextBatch, Any]]:
    """Rows in an order drawn by the seed, in batches, with what the method shows of each.

    They end when there are enough guesses for a mean by position.

    The method is in the mode in which it is to be looked at, on its device; what comes is on the
    CPU.
    """
    method, length = run.method, int(run.record.info.length)
    device = next(method.parameters()).device
    order = shuffled(made.size, seed, "report rows")[: max(1, TOKENS // length)]
    at_once = max(1, SCORES // (length * run.tokenizer.vocabulary.size))
    guessed = 0
    for number, first in enumerate(range(0, len(order), at_once)):
        batch: TextBatch = made.read(order[first : first + at_once])
        batch = batch._replace(epoch=torch.zeros_like(batch.index))
        rng = Rng(generator(seed, "report view", number), seed=seed)
        found = method.shown(method.view(to_device(batch, device), rng))
        yield batch, map_tensors(lambda part: part.cpu(), found)
        if isinstance(found, inspection.Filled | inspection.Followed):
            guessed += int(found.guesses.chosen.sum())
        if guessed >= GUESSES:
            return


def positions(found: inspection.Filled | inspection.Followed) -> Int64[torch.Tensor, "b k"]:
    """Of each guess, how many tokens its text has before it in its row."""
    where, starts = found.guesses.where, found.batch.starts
    if starts is not None:
        before = starts[:, None] <= where[..., None]
        where = where - torch.where(before, starts[:, None], 0).amax(dim=2)
    return where


def _tokens(
    run: Run, texts: Texts, draw: RowSampler, seed: int
) -> tuple[np.ndarray, Spans, Spans | None]:
    """One stream of some texts, the spans of each and, if asked for, those of its sentences."""
    chosen: list[str] = []
    left = CHARACTERS
    for row in shuffled(len(texts), seed, "report texts"):
        chosen.append(_whole(texts, int(row))[:left])
        left -= len(chosen[-1])
        if left <= 0:
            break
    language = sentences.LANGUAGE if draw.needs_sentences else None
    made = EncodePieces(run.tokenizer, "<u4", language)(chosen)
    documents = _spans(made.tokens)
    inner = None if made.sentences is None else _spans(made.sentences)
    return made.ids, documents[documents[:, 0] < documents[:, 1]], inner


def _whole(texts: Texts, row: int) -> str:
    """A text, and the second one of its pair behind it."""
    return " ".join([texts.texts[row], *([texts.pairs[row]] if texts.pairs is not None else [])])


def _spans(sizes: np.ndarray) -> Spans:
    stops = sizes.cumsum().astype(np.int64)
    return np.stack([stops - sizes, stops], axis=1)


def _alone(documents: Spans, length: int) -> EpochPlan:
    """A row for each text, cut where it is too long."""
    pieces = documents.copy()
    pieces[:, 1] = np.minimum(pieces[:, 1], pieces[:, 0] + length - 2)
    return EpochPlan(pieces, np.arange(len(pieces) + 1))


def _single(
    run: Run, tokens: np.ndarray, plan: EpochPlan, rows: np.ndarray, **told: Any
) -> TextBatch:
    batch = collate_packed(tokens, plan, rows, **told)
    if run.encoder.segments:
        batch = batch._replace(segment=torch.zeros_like(batch.ids))
    return batch
