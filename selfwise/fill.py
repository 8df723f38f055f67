"""Filling the gaps of a text with a masked language model."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from selfwise.data.tokenizer import Tokenizer
from selfwise.evaluate.features import reading
from selfwise.run import Run, load
from selfwise.train.options import resolve_device
from selfwise.types import TextBatch

MASKS = ("[MASK]", "<mask>")  # how a user may write the gap, whatever the tokenizer calls it


class Filled(NamedTuple):
    """What may stand in one gap, most likely first."""

    pieces: list[str]
    probabilities: list[float]
    texts: list[str]  # the user's text with this piece in this gap, the best in the others


class Gaps(NamedTuple):
    """A text with gaps, as it was written and as ids."""

    parts: list[str]  # what stands before, between and behind the gaps
    ids: list[int]
    places: list[int]  # of the gaps, among the ids


def fill(run: Run | str | Path, text: str, *, top: int = 5, device: str = "auto") -> list[Filled]:
    """The most likely tokens for each gap of a text.

    Args:
        run: a run or its folder; of bert, roberta or albert.
        text: with one [MASK] or more.
        top: how many tokens are given for each gap.
        device: cpu, cuda or auto.

    Raises ValueError for a model without a masked head, and for a text without a gap or longer
    than the rows that the run was trained on.
    """
    run = run if isinstance(run, Run) else load(run)
    method: Any = run.method
    if not hasattr(method, "head"):
        raise ValueError(f"{run.folder} is no masked language model; use selfwise generate")
    if top < 1:
        raise ValueError(f"--top must be at least 1, got {top}")
    gaps = _with_gaps(text, run.tokenizer, run.config["found"]["length"])
    with reading(method, resolve_device(device)), torch.no_grad():
        place = next(method.parameters()).device
        batch = TextBatch(torch.tensor([gaps.ids]).to(place), torch.zeros(1, dtype=torch.long))
        if run.encoder.segments:
            batch = batch._replace(segment=torch.zeros_like(batch.ids))
        hidden = run.encoder.read(batch, torch.tensor([gaps.places]).to(place))[0]
        logits = method.head(hidden, run.encoder.token.weight).float().cpu()
    vocabulary = run.tokenizer.vocabulary
    logits = logits[:, : vocabulary.size]  # published tables may have more rows
    logits[:, list(vocabulary.special)] = -math.inf  # a gap hides text
    chances, best = logits.softmax(dim=-1).topk(min(top, logits.shape[-1]))
    words = [[_word(run.tokenizer, choice) for choice in row] for row in best.tolist()]
    return [
        Filled(
            [run.tokenizer.piece(choice) for choice in best[gap].tolist()],
            chances[gap].tolist(),
            [_whole(gaps.parts, words, gap, word) for word in words[gap]],
        )
        for gap in range(len(gaps.places))
    ]


def _with_gaps(text: str, tokenizer: Tokenizer, most: int) -> Gaps:
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
        # a mask stands for its word and for the space before it, unless characters are tokens
        open_end = number < len(parts) - 1 and not characters
        ids += _encoded(part.rstrip(" ") if open_end else part, tokenizer, inside=number > 0)
    ids += [] if vocabulary.last is None else [vocabulary.last]
    if len(ids) > most:
        raise ValueError(
            f"the text has {len(ids)} tokens, and the run was trained on rows of {most}"
        )
    return Gaps(parts, ids, places)


def _encoded(part: str, tokenizer: Tokenizer, *, inside: bool) -> list[int]:
    """Ids of a part. Punctuation right behind a gap belongs to its word, as it does in a text."""
    if inside and part and not part[0].isalnum() and not part[0].isspace():
        alone, behind = tokenizer.encode(["a", f"a{part}"])
        if np.array_equal(behind[: len(alone)], alone):
            return behind[len(alone) :].tolist()
    return tokenizer.encode([part])[0].tolist()


def _word(tokenizer: Tokenizer, choice: int) -> str:
    """A token as text, without the space or the marks of its place in a word."""
    return tokenizer.decode([choice]).removeprefix("##").strip(" ") or tokenizer.decode([choice])


def _whole(parts: list[str], words: list[list[str]], gap: int, word: str) -> str:
    """The user's text, untouched outside its gaps."""
    filled = [word if other == gap else best[0] for other, best in enumerate(words)]
    return "".join(a + b for a, b in zip(parts, [*filled, ""]))
