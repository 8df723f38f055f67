"""Texts: what was hidden and what is filled in, how likely each token was, the loss by position."""

from collections.abc import Sequence
from typing import Any

import torch

from selfwise.data.text.labelled import Texts
from selfwise.evaluation.features.image import evaluation_mode
from selfwise.methods import inspection
from selfwise.report.page.parts import Lines, Section, Token
from selfwise.report.sections.tasks_images import TITLE
from selfwise.report.sections.tasks_lines import filled, followed, legend, loss_by_position, plainly
from selfwise.report.sections.tasks_rows import looked, positions, rows
from selfwise.runs.open import Run
from selfwise.tokenizers.tokenizer import Tokenizer
from selfwise.training.config import resolve_device
from selfwise.workflows.language import generate

FILLED, FOLLOWED = 6, 3  # rows that are shown
PROMPT, MADE, TEMPERATURE = 20, 60, 0.8  # tokens of the prompt, tokens made of it


def sections(run: Run, texts: Texts, *, seed: int) -> list[Section]:
    """A few rows with what the model makes of them, and the loss by position over more rows."""
    try:
        made = rows(run, texts, seed=seed)
        with evaluation_mode(run.method, resolve_device("auto")):
            found = list(looked(run, made, seed=seed))
    except ValueError as error:
        return [Section(TITLE, f"These texts cannot be shown: {error}.", [])]
    views = [one for _, one in found if one is not None]
    if not views:
        ids = [row for batch, _ in found for row in batch.ids.tolist()][:FILLED]
        lines = [plainly(run.tokenizer, row) for row in ids]
        return [Section(TITLE, "What the method reads, without its answers.", [Lines(lines)])]
    if isinstance(views[0], inspection.Followed):
        return [_followed(run, views, seed)]
    assert isinstance(views[0], inspection.Filled), "a method on text fills in, or goes on"
    return [_filled(run, views)]


def _filled(run: Run, views: Sequence[inspection.Filled]) -> Section:
    lines = _lines(run.tokenizer, views, filled, FILLED)
    caption = (
        "Hidden tokens are marked by whether they were guessed; below each text what was filled "
        "in, with its probability. Point at a marked one for what else was likely."
    )
    told = [views[0].about, _share(views, "hidden tokens", "filled in right"), _answers(views)]
    return Section(TITLE, " ".join(filter(None, told)), [Lines(lines, caption), *_curve(views)])


def _followed(run: Run, views: Sequence[inspection.Followed], seed: int) -> Section:
    lines = [legend(), *_lines(run.tokenizer, views, followed, FOLLOWED)]
    caption = (
        "The stronger the colour behind it, the less a token was expected. Point at one for what "
        "was expected in its place."
    )
    about = f"{views[0].about} {_share(views, 'tokens', 'the likeliest one')}"
    return Section(
        TITLE,
        about,
        [Lines(lines, caption), *_curve(views), _continued(run, views[0], seed)],
    )


def _lines(
    tokenizer: Tokenizer, views: Sequence[Any], drawn: Any, count: int
) -> list[Sequence[Token]]:
    """The first rows of the views."""
    places = [(one, row) for one in views for row in range(len(one.batch.ids))]
    return [drawn(tokenizer, one, row) for one, row in places[:count]]


def _share(views: Sequence[Any], what: str, right: str) -> str:
    """How many guesses are right, of all rows that were looked at, and their mean loss."""
    count = sum(int(one.guesses.chosen.sum()) for one in views)
    if not count:
        return ""
    hits = sum(int(one.guesses.right.sum()) for one in views)
    nats = sum(float(one.guesses.nats[one.guesses.chosen].double().sum()) for one in views)
    share = f"{100 * hits / count:.0f} % are {right}"
    return f"Of {count:,} {what}, {share}; the loss is {nats / count:.2f} nats a token."


def _answers(views: Sequence[inspection.Filled]) -> str:
    """How many questions about rows are answered right, of all that were looked at."""
    answers = [one.answers for one in views if one.answers is not None]
    if not answers:
        return ""
    count = sum(len(one.truth) for one in answers)
    hits = sum(int((one.chance.argmax(dim=1) == one.truth).sum()) for one in answers)
    most = int(torch.cat([one.truth for one in answers]).bincount().max())
    always = f"the commoner answer alone would be right for {100 * most / count:.0f} %"
    return f"Of {count:,} pairs of texts, {100 * hits / count:.0f} % are told right; {always}."


def _curve(views: Sequence[Any]) -> list[Any]:
    """The loss by position, where there are enough guesses."""
    chosen = [one.guesses.chosen for one in views]
    position = torch.cat([positions(one)[own] for one, own in zip(views, chosen)])
    nats = torch.cat([one.guesses.nats[own] for one, own in zip(views, chosen)])
    n = sum(len(one.batch.ids) for one in views)
    about = f"Means over {len(nats):,} guesses in {n:,} rows, with standard errors."
    found = loss_by_position(position, nats, about=about)
    return [found] if found is not None else []


def _continued(run: Run, one: inspection.Followed, seed: int) -> Lines:
    """What the model goes on with after the beginning of the first row."""
    ids = one.batch.ids[0, : PROMPT + 1]
    begins = [place for place in range(1, len(ids)) if run.tokenizer.vocabulary.starts[ids[place]]]
    # whole words, without a space before the first
    beginning = run.tokenizer.decode(ids[: max(begins, default=PROMPT)].tolist()).lstrip(" ")
    told: dict[str, Any] = {"tokens": MADE, "temperature": TEMPERATURE, "seed": seed}
    whole = generate(run, beginning, **told)
    rest = whole.removeprefix(beginning)
    begun = [Token(beginning, "quiet")] if rest != whole else []
    caption = f"The model goes on by itself, at a temperature of {TEMPERATURE:g}."
    return Lines([[*begun, Token(rest)]], caption)
