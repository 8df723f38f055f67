"""Fill the gaps of a text with a masked language model."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from selfwise.core.device import resolve_device
from selfwise.core.html_table import write_html_table
from selfwise.core.memory_limit import takes_memory_limit
from selfwise.core.ranges import PositiveInt
from selfwise.core.types import TextBatch
from selfwise.evaluation.features.image import evaluation_mode
from selfwise.runs.open import Run, load
from selfwise.tokenizers.tokenizer import Tokenizer

BEAM = 16  # minimum number of fillings to follow, so that the best one is hardly ever lost
MASKS = ("[MASK]", "<mask>")  # how a user may write the gap, whatever the tokenizer's mask token


class Candidates(NamedTuple):
    """The candidates for one gap, or for all gaps together, most likely first."""

    pieces: list[str]  # for all gaps together: separated by spaces
    probabilities: list[float]
    texts: list[str]  # the user's text with a candidate in its gap; other gaps stay [MASK]


class Filling(NamedTuple):
    """Candidates for the gaps of a text."""

    gaps: list[Candidates]  # for each gap alone, while the model sees [MASK] in all gaps
    joint: Candidates  # all gaps filled together; equal to the only gap's list if there is one gap

    def __repr__(self) -> str:
        best = zip(self.joint.probabilities[:1], self.joint.texts)
        likeliest = ", ".join(f"{text!r} with {chance:.1%}" for chance, text in best)
        plural = "" if len(self.gaps) == 1 else "s"
        return f"Filling({len(self.gaps)} gap{plural}; most likely {likeliest})"

    def _repr_html_(self) -> str:
        rows = [
            [title, piece, f"{chance:.1%}"]
            for title, one in self.list_candidates()
            for piece, chance in zip(one.pieces, one.probabilities)
        ]
        return write_html_table(rows, head=["", "tokens", "probability"])

    def list_candidates(self) -> list[tuple[str, Candidates]]:
        """List the candidates with titles: for all gaps, and for each alone if there are
        several."""
        if len(self.gaps) == 1:
            return [("", self.joint)]
        alone = [(f"gap {number} alone", gap) for number, gap in enumerate(self.gaps, 1)]
        return [("all gaps", self.joint), *alone]


class Gaps(NamedTuple):
    """A text with gaps, as the user wrote it and as ids."""

    parts: list[str]  # the text before, between and behind the gaps
    ids: list[int]
    places: list[int]  # positions of the gaps among the ids


@takes_memory_limit
def fill(
    run: Run | str | Path,
    text: str,
    *,
    top_k: PositiveInt = 5,
    device: str = "auto",
    max_memory: str = "",
) -> Filling:
    """Return the most likely tokens for each gap, and the most likely ways to fill all gaps.

    Gaps are filled together from left to right: the model reads each of the `top_k` best texts so
    far again for its next gap (a beam search). The probability of a filling is the product of the
    probabilities that its tokens had when the search chose them.

    Args:
        run: a run of bert, roberta or albert, or its folder.
        text: a text with at least one [MASK].
        top_k: number of candidates to return.
        device: cpu, cuda, mps (Apple, not tested) or auto.
        max_memory: most memory for reading one file, as in 4G; by default half of what is free.

    Raises ValueError for a model without a masked head, and for a text without a gap or longer than
    the rows that the run trained on.
    """
    run = run if isinstance(run, Run) else load(run)
    if not hasattr(run.method, "head"):
        causal = getattr(run.encoder, "causal", False)
        advice = "use selfwise generate" if causal else "it needs a run of bert, roberta or albert"
        raise ValueError(f"{run.folder} is not a masked language model; {advice}")
    gaps = _find_gaps(text, run.tokenizer, run.record.info.length)
    with evaluation_mode(run.method, resolve_device(device)), torch.no_grad():
        chances = _predict_tokens(run, [gaps.ids], gaps.places)[0]
        beam = _fill_together(run, gaps, chances[0], top_k)
    best, tokens = chances.topk(min(top_k, chances.shape[1]))
    alone = [
        _fill_with(run.tokenizer, gaps, [gap], [[token] for token in row], values.tolist())
        for gap, (row, values) in enumerate(zip(tokens.tolist(), best))
    ]
    rows, values = [row for row, _ in beam], [value for _, value in beam]
    together = _fill_with(run.tokenizer, gaps, list(range(len(gaps.places))), rows, values)
    return Filling(alone, together)


def _predict_tokens(run: Run, ids: list[list[int]], places: list[int]) -> Float[Tensor, "b gaps v"]:
    """Return the probabilities of all tokens at the gaps of texts of equal length."""
    method: Any = run.method
    device = next(method.parameters()).device
    batch = TextBatch(torch.tensor(ids).to(device), torch.zeros(len(ids), dtype=torch.long))
    if run.encoder.segments:
        batch = batch._replace(segment=torch.zeros_like(batch.ids))
    wanted = torch.tensor([places] * len(ids)).to(device)
    hidden = run.encoder.forward_at(batch, wanted)
    logits = method.head(hidden.flatten(0, 1), run.encoder.token.weight).float().cpu()
    vocabulary = run.tokenizer.vocabulary
    logits = logits[..., : vocabulary.size]  # published tables may have more rows
    logits[..., list(vocabulary.special)] = -math.inf  # a gap hides text
    return logits.softmax(dim=-1).unflatten(0, hidden.shape[:2])


def _fill_together(
    run: Run, gaps: Gaps, first: Float[Tensor, "v"], top: int
) -> list[tuple[list[int], float]]:
    """Return the `top` best fillings of all gaps and their probabilities, by a beam from the
    left."""
    beam: list[tuple[list[int], float]] = [([], 1.0)]
    width = max(top, BEAM)
    for gap, position in enumerate(gaps.places):
        if gap:
            texts = [_with_tokens(gaps, tokens) for tokens, _ in beam]
            chances = _predict_tokens(run, texts, [position])[:, 0]
        else:
            chances = first[None]
        best, choices = chances.topk(min(width, chances.shape[1]))
        wider = [
            ([*tokens, choice], before * chance)
            for (tokens, before), row, values in zip(beam, choices.tolist(), best.tolist())
            for choice, chance in zip(row, values)
        ]
        beam = sorted(wider, key=lambda one: -one[1])[:width]
    return beam[:top]


def _with_tokens(gaps: Gaps, tokens: list[int]) -> list[int]:
    """Return the ids of the text with tokens in its first gaps."""
    ids = list(gaps.ids)
    for position, token in zip(gaps.places, tokens):
        ids[position] = token
    return ids


def _fill_with(
    tokenizer: Tokenizer, gaps: Gaps, where: list[int], rows: list[list[int]], values: list[float]
) -> Candidates:
    """Turn rows of tokens for the gaps `where` into pieces and texts."""
    pieces = [" ".join(tokenizer.piece(token) for token in row) for row in rows]
    texts = []
    for row in rows:
        words = [MASKS[0]] * len(gaps.places)
        for gap, token in zip(where, row):
            words[gap] = _decode_word(tokenizer, token)
        texts.append("".join(a + b for a, b in zip(gaps.parts, [*words, ""])))
    return Candidates(pieces, values, texts)


def _find_gaps(text: str, tokenizer: Tokenizer, max_tokens: int) -> Gaps:
    vocabulary = tokenizer.vocabulary
    assert vocabulary.mask is not None, "a masked model has a mask token"
    for name in MASKS:
        text = text.replace(name, MASKS[0])
    parts = text.split(MASKS[0])
    if len(parts) == 1:
        raise ValueError(f"the text has no {MASKS[0]} to fill: {text!r}")
    characters = bool(vocabulary.starts.all())
    ids = [] if vocabulary.first is None else [vocabulary.first]
    places: list[int] = []
    for number, part in enumerate(parts):
        if number:
            places.append(len(ids))
            ids.append(vocabulary.mask)
        # a mask replaces its word and the space before it, unless characters are tokens
        open_end = number < len(parts) - 1 and not characters
        ids += _encode_part(part.rstrip(" ") if open_end else part, tokenizer, inside=number > 0)
    ids += [] if vocabulary.last is None else [vocabulary.last]
    if len(ids) > max_tokens:
        raise ValueError(
            f"the text has {len(ids)} tokens, but the run was trained on rows of {max_tokens}"
        )
    return Gaps(parts, ids, places)


def _encode_part(part: str, tokenizer: Tokenizer, *, inside: bool) -> list[int]:
    """Return the ids of a part. Punctuation right behind a gap belongs to its word, as in a
    text."""
    if inside and part and not part[0].isalnum() and not part[0].isspace():
        alone, behind = tokenizer.encode(["a", f"a{part}"])
        if np.array_equal(behind[: len(alone)], alone):
            return behind[len(alone) :].tolist()
    return tokenizer.encode([part])[0].tolist()


def _decode_word(tokenizer: Tokenizer, choice: int) -> str:
    """Return a token as text, without the space or the marks of its place in a word."""
    return tokenizer.decode([choice]).removeprefix("##").strip(" ") or tokenizer.decode([choice])
