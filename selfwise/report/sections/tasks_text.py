"""Texts: masked tokens and guesses, the probability of each token, the loss by position."""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TypeVar

import torch

from selfwise.core.device import resolve_device
from selfwise.data.text.labelled import Texts
from selfwise.evaluation.features.image import evaluation_mode
from selfwise.methods.inspection import MaskedTextExamples, NextTokenExamples
from selfwise.report.page.parts import Lines, Part, Picture, Section, Token
from selfwise.report.sections.tasks_images import TITLE
from selfwise.report.sections.tasks_lines import (
    format_plain_line,
    make_legend,
    mark_masked,
    mark_probabilities,
    plot_loss_by_position,
)
from selfwise.report.sections.tasks_rows import compute_text_positions, inspect_rows, make_rows
from selfwise.runs.open import Run
from selfwise.tokenizers.tokenizer import Tokenizer
from selfwise.workflows.generate import generate

MASKED_ROWS, NEXT_TOKEN_ROWS = 6, 3  # rows that are shown
PROMPT_TOKENS, NEW_TOKENS, TEMPERATURE = 20, 60, 0.8
Examples = TypeVar("Examples", MaskedTextExamples, NextTokenExamples)


def build_sections(run: Run, texts: Texts, *, seed: int) -> list[Section]:
    """Return a few rows with what the model makes of them, and the loss by position over more
    rows."""
    try:
        rows = make_rows(run, texts, seed=seed)
        with evaluation_mode(run.method, resolve_device("auto")):
            pairs = list(inspect_rows(run, rows, seed=seed))
    except ValueError as error:
        return [Section(TITLE, f"These texts cannot be shown: {error}.", [])]
    inspections = [inspection for _, inspection in pairs if inspection is not None]
    if not inspections:
        ids = [row for batch, _ in pairs for row in batch.ids.tolist()][:MASKED_ROWS]
        lines = [format_plain_line(run.tokenizer, row) for row in ids]
        return [Section(TITLE, "The inputs of the method, without its answers.", [Lines(lines)])]
    next_token = [one for one in inspections if isinstance(one, NextTokenExamples)]
    if next_token:
        return [_build_next_token_section(run, next_token, seed)]
    masked = [one for one in inspections if isinstance(one, MaskedTextExamples)]
    assert masked, "a method on text fills in, or continues"
    return [_build_masked_section(run, masked)]


def _build_masked_section(run: Run, batches: Sequence[MaskedTextExamples]) -> Section:
    lines = _draw_rows(run.tokenizer, batches, mark_masked, MASKED_ROWS)
    caption = (
        "The marks show which hidden tokens the model guessed; below each text are its "
        "guesses, with their probabilities. Point at a marked token for other likely ones."
    )
    sentences = [
        batches[0].about,
        _describe_accuracy(batches, "masked tokens", "predicted correctly"),
        _describe_pairs(batches),
    ]
    about = " ".join(filter(None, sentences))
    return Section(TITLE, about, [Lines(lines, caption), *_plot_losses(batches)])


def _build_next_token_section(run: Run, batches: Sequence[NextTokenExamples], seed: int) -> Section:
    rows = _draw_rows(run.tokenizer, batches, mark_probabilities, NEXT_TOKEN_ROWS)
    caption = (
        "The stronger the color behind a token, the less the model expected it. Point at a token "
        "for the likely tokens in its place."
    )
    about = f"{batches[0].about} {_describe_accuracy(batches, 'tokens', 'the most likely one')}"
    parts: list[Part] = [Lines([make_legend(), *rows], caption), *_plot_losses(batches)]
    parts.append(_continue_first_row(run, batches[0], seed))
    return Section(TITLE, about, parts)


def _draw_rows(
    tokenizer: Tokenizer,
    batches: Sequence[Examples],
    draw_row: Callable[[Tokenizer, Examples, int], list[Token]],
    count: int,
) -> list[list[Token]]:
    """Return the first rows of the batches."""
    rows = ((batch, row) for batch in batches for row in range(len(batch.batch.ids)))
    return [draw_row(tokenizer, batch, row) for batch, row in islice(rows, count)]


def _describe_accuracy(batches: Sequence[Examples], what: str, right: str) -> str:
    """Return how many predictions are right, of all rows that were looked at, and their mean
    loss."""
    predictions = [batch.predictions for batch in batches]
    count = sum(int(p.valid.sum()) for p in predictions)
    if not count:
        return ""
    num_correct = sum(int(p.correct.sum()) for p in predictions)
    nats = sum(float(p.nats[p.valid].double().sum()) for p in predictions)
    share = f"{100 * num_correct / count:.0f} % are {right}"
    return f"Of {count:,} {what}, {share}; the loss is {nats / count:.2f} nats a token."


def _describe_pairs(batches: Iterable[MaskedTextExamples]) -> str:
    """Return how many questions about rows are answered right, of all that were looked at."""
    pairs = [batch.pairs for batch in batches if batch.pairs is not None]
    if not pairs:
        return ""
    count = sum(len(p.target) for p in pairs)
    num_correct = sum(int((p.probs.argmax(dim=1) == p.target).sum()) for p in pairs)
    majority = int(torch.cat([p.target for p in pairs]).bincount().max())
    always = (
        f"always giving the more frequent answer would be correct for {100 * majority / count:.0f} "
        "%"
    )
    share = f"{100 * num_correct / count:.0f} % are answered correctly"
    return f"Of {count:,} pairs of texts, {share}; {always}."


def _plot_losses(batches: Sequence[Examples]) -> list[Picture]:
    """Return the loss by position, where there are enough predictions."""
    valid = [batch.predictions.valid for batch in batches]
    positions = torch.cat(
        [compute_text_positions(batch)[own] for batch, own in zip(batches, valid)]
    )
    nats = torch.cat([batch.predictions.nats[own] for batch, own in zip(batches, valid)])
    num_rows = sum(len(batch.batch.ids) for batch in batches)
    about = f"Means over {len(nats):,} guesses in {num_rows:,} rows, with standard errors."
    picture = plot_loss_by_position(positions, nats, about=about)
    return [picture] if picture is not None else []


def _continue_first_row(run: Run, examples: NextTokenExamples, seed: int) -> Lines:
    """Let the model continue the beginning of the first row."""
    ids = examples.batch.ids[0, : PROMPT_TOKENS + 1]
    starts = run.tokenizer.vocabulary.starts
    word_starts = [place for place in range(1, len(ids)) if starts[ids[place]]]
    # whole words, without a space before the first
    length = max(word_starts, default=PROMPT_TOKENS)
    prompt = run.tokenizer.decode(ids[:length].tolist()).lstrip(" ")
    text = generate(run, prompt, max_new_tokens=NEW_TOKENS, temperature=TEMPERATURE, seed=seed)
    continuation = text.removeprefix(prompt)
    line = [Token(prompt, "quiet")] if continuation != text else []
    caption = f"The model's own continuation, at a temperature of {TEMPERATURE:g}."
    return Lines([[*line, Token(continuation)]], caption)
