"""Pairs of text for the next-sentence task and the sentence-order task, as the authors build them.

BERT (arXiv:1810.04805, appendix A.2) and `create_pretraining_data.py` of google-research/bert and
of google-research/albert, which agree but for what a negative pair is. One pass over an epoch is
one pass of that code, which makes new choices in each.
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from jaxtyping import Int64

from selfwise.core.types import EmptyPlan, EpochPlan, Vocabulary
from selfwise.views.text.packing import tile_sentences

Spans = Int64[np.ndarray, "_ 2"]
Span = tuple[int, int]

SHORT = 0.1  # share of passes over a document that aim at a shorter pair
TRIES = 10  # to find another document than the own one
SPECIAL = 3  # [CLS] A [SEP] B [SEP]


def plan_next_sentence(
    documents: Spans,
    sentences: Spans | None,
    *,
    length: int,
    vocabulary: Vocabulary,
    random: np.random.Generator,
) -> EpochPlan:
    """Return pairs whose second text follows the first (label 0) or is of another document (label
    1).

    Label 1 has half of the pairs, and all whose chunk has one sentence alone. Raises EmptyPlan if
    no document has two sentences.
    """
    return _plan_pairs(documents, sentences, length, random, swap=False)


def plan_sentence_order(
    documents: Spans,
    sentences: Spans | None,
    *,
    length: int,
    vocabulary: Vocabulary,
    random: np.random.Generator,
) -> EpochPlan:
    """Return pairs of following texts in their order (label 0) or swapped (label 1).

    A chunk of one sentence cannot be swapped. As in the authors' code it gets a second text of
    another document and label 1, so that a little of the next-sentence task is left. Raises
    EmptyPlan if no document has two sentences.
    """
    return _plan_pairs(documents, sentences, length, random, swap=True)


def _plan_pairs(
    documents: Spans,
    sentences: Spans | None,
    length: int,
    random: np.random.Generator,
    *,
    swap: bool,
) -> EpochPlan:
    assert sentences is not None
    owner, spans = tile_sentences(documents, sentences)
    bounds = np.r_[0, np.flatnonzero(np.diff(owner)) + 1, len(owner)]
    if not len(spans) or np.diff(bounds).max() < 2:
        raise EmptyPlan(
            "pairs of sentences need documents of at least two sentences, but no document has two; "
            "use roberta, which needs no pairs"
        )
    max_tokens = length - SPECIAL
    sampler = PairSampler(spans, bounds, max_tokens, random)
    a, b, label = (np.array(part, np.int64) for part in zip(*sampler.draw_pairs(swap=swap)))
    a, b = _truncate_pairs(a, b, max_tokens, random)
    pieces = np.stack([a, b], axis=1).reshape(-1, 2)
    return EpochPlan(pieces, np.arange(0, len(pieces) + 1, 2), label)


class PairSampler:
    """Walks through documents and makes pairs; no token is looked at, only where sentences end."""

    def __init__(
        self,
        spans: Spans,
        bounds: Int64[np.ndarray, "d1"],
        max_tokens: int,
        random: np.random.Generator,
    ):
        # plain lists: reading single numbers of an array takes ten times as long
        self.starts, self.stops = spans[:, 0].tolist(), spans[:, 1].tolist()
        self.documents: list[Span] = list(pairwise(bounds.tolist()))
        self.max_tokens, self.uniforms = max_tokens, _draw_uniforms(random)

    def draw_pairs(self, *, swap: bool) -> Iterator[tuple[Span, Span, int]]:
        """Yield two spans before truncation, and the label: of next sentence, or of order if
        `swap`."""
        starts, stops = self.starts, self.stops
        for number, (at, end) in enumerate(self.documents):
            target = self._draw_target()
            while at < end:
                last = self._find_last_sentence(at, end, target)
                split = at + 1 + self._draw_integer(last - at)
                a = (starts[at], stops[split - 1])
                if last == at or (not swap and self._draw_integer(2)):
                    yield a, self._draw_other_document(number, target - (a[1] - a[0])), 1
                    at = split  # the rest of the chunk is used again
                    continue
                b = (starts[split], stops[last])
                is_swapped = swap and self._draw_integer(2)
                yield (b, a, 1) if is_swapped else (a, b, 0)
                at = last + 1

    def _draw_target(self) -> int:
        """Return tokens of a pair, drawn once for a pass over a document."""
        short = next(self.uniforms) < SHORT
        return 2 + self._draw_integer(self.max_tokens - 1) if short else self.max_tokens

    def _find_last_sentence(self, at: int, end: int, target: int) -> int:
        """Return the sentence with which those from `at` on have the target, or the document's
        last."""
        return min(bisect_left(self.stops, self.starts[at] + target, at, end), end - 1)

    def _draw_other_document(self, own: int, target: int) -> Span:
        """Return sentences from a random place of another document on, at least one."""
        for _ in range(TRIES):
            number = self._draw_integer(len(self.documents))
            if number != own:
                break
        first, end = self.documents[number]
        first += self._draw_integer(end - first)
        return self.starts[first], self.stops[self._find_last_sentence(first, end, target)]

    def _draw_integer(self, n: int) -> int:
        """Return a whole number from 0 to n - 1; 0 if there is nothing to draw."""
        return int(next(self.uniforms) * n) if n > 1 else 0


def _draw_uniforms(random: np.random.Generator) -> Iterator[float]:
    """Yield one by one, but drawn in blocks, which is ten times as fast."""
    while True:
        yield from random.random(4096).tolist()


def _truncate_pairs(
    a: Spans, b: Spans, max_tokens: int, random: np.random.Generator
) -> tuple[Spans, Spans]:
    """Take single tokens from the longer text, from its front or its back, until both fit.

    The code draws the side for every token. All that counts is how many come from the front, which
    is binomial. Of two equally long texts the second one loses a token.
    """
    size_a, size_b = a[:, 1] - a[:, 0], b[:, 1] - b[:, 0]
    excess = np.maximum(size_a + size_b - max_tokens, 0)
    level = np.minimum(excess, np.abs(size_a - size_b))  # until they are equally long
    rest = excess - level  # then by turns
    dropped_a = np.where(size_a > size_b, level, 0) + rest // 2
    dropped_b = np.where(size_a > size_b, 0, level) + (rest + 1) // 2
    return _drop_tokens(a, dropped_a, random), _drop_tokens(b, dropped_b, random)


def _drop_tokens(spans: Spans, count: Int64[np.ndarray, "_"], random: np.random.Generator) -> Spans:
    """Shorten each span by `count` tokens, each from a random end."""
    front = random.binomial(count, 0.5)
    shortened: Spans = spans + np.stack([front, front - count], axis=1)
    return shortened
