"""Rows of tokens as lines of marked text, and the loss by position as a figure."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from selfwise.core.types import TextBatch
from selfwise.methods import inspection
from selfwise.report.page.figures import COLORS, picture
from selfwise.report.page.parts import Picture, Token
from selfwise.report.page.plots import plot
from selfwise.tokenizers.tokenizer import Tokenizer

LEVELS = (0.01, 0.1, 0.5)  # probabilities that part the four grounds of a token
TIGHT = ".,;:!?)]}%'\u2019\u201d"  # written without a space before it
SPACES = " \n\t"  # that a token may begin with by itself
NAMED = {"\n": "⏎", "\t": "⇥", " ": "␣", "": "∅"}  # what could not be seen
MOST = 128  # tokens of a row that are shown
BINS, FEWEST = 16, 8  # of positions; guesses that a bin takes


def filled(tokenizer: Tokenizer, found: inspection.Filled, row: int) -> list[Token]:
    """A row with its hidden tokens marked, and below it what was filled in for each."""
    ids, guesses = _real(found.batch, row), found.guesses
    hidden = {int(w): k for k, w in enumerate(guesses.where[row]) if guesses.chosen[row, k]}
    true = [
        int(guesses.target[row, hidden[place]]) if place in hidden else token
        for place, token in enumerate(ids)
    ]
    line = [] if found.answers is None else _answer(found.answers, row)
    told: list[Token] = []
    for place, text in enumerate(pieces(tokenizer, true)[:MOST]):
        if place not in hidden:
            line.append(Token(text, "quiet" if _special(tokenizer, ids[place]) else ""))
            continue
        k = hidden[place]
        right: Any = "right" if guesses.right[row, k] else "wrong"
        bare = text.lstrip(" ")
        mark = Token(NAMED.get(bare, bare), right, _expected(tokenizer, guesses, row, k))
        line += [Token(text[: len(text) - len(bare)]), mark]
        told += _filling(tokenizer, guesses, row, k, ids[place])
    line += [Token(" …", "quiet")] if len(ids) > MOST else []
    return _joined([*line, *([Token("\n"), *told] if told else [])])


def _filling(
    tokenizer: Tokenizer, guesses: inspection.Guesses, row: int, k: int, seen: int
) -> list[Token]:
    """A hidden token, what was filled in for it, and how sure that was."""
    best, true = int(guesses.best[row, k, 0]), int(guesses.target[row, k])
    instead = "" if tokenizer.vocabulary.mask == seen else f" (seen as {word(tokenizer, seen)})"
    instead = " (seen as it is)" if seen == true else instead
    chance = _percent(float(guesses.chance[row, k, 0]))
    return [
        Token(f"{word(tokenizer, true)}{instead} →\u00a0", "quiet"),
        Token(word(tokenizer, best), "right" if best == true else "wrong"),
        Token(f"\u00a0{chance}   ", "quiet"),
    ]


def followed(tokenizer: Tokenizer, found: inspection.Followed, row: int) -> list[Token]:
    """A row with the probability of each token as the ground that it stands on."""
    guesses = found.guesses
    chosen = guesses.chosen[row]
    last = int(chosen.nonzero().max()) + 1 if chosen.any() else 0
    ids = [int(found.batch.ids[row, 0]), *guesses.target[row, :last].tolist()]
    line = []
    for place, text in enumerate(pieces(tokenizer, ids)[:MOST]):
        if not place or not chosen[place - 1]:  # what begins a text follows nothing
            line.append(Token(text, "quiet"))
            continue
        nats = float(guesses.nats[row, place - 1])
        told = f"{_percent(_chance(nats))}, {nats:.2f} nats. "
        hint = told + _expected(tokenizer, guesses, row, place - 1)
        line.append(Token(text, level(_chance(nats)), hint))
    return [*line, *([Token(" …", "quiet")] if last >= MOST else [])]


def level(chance: float) -> Any:
    """The ground of a token with that probability: level1, a surprise, to level4."""
    return f"level{1 + sum(chance >= edge for edge in LEVELS)}"


def legend() -> list[Token]:
    """What the grounds mean."""
    low, middle, high = (_percent(edge) for edge in LEVELS)
    told = [f"below {low}", f"{low} to {middle}", f"{middle} to {high}", f"above {high}"]
    pairs = [(Token(text, f"level{i}"), Token("  ")) for i, text in enumerate(told, 1)]  # type: ignore[arg-type]
    return [Token("Probability of a token: ", "quiet"), *(t for pair in pairs for t in pair)]


def plainly(tokenizer: Tokenizer, ids: Sequence[int]) -> list[Token]:
    """A row as it is."""
    return _joined([Token(text) for text in pieces(tokenizer, ids[:MOST])])


def pieces(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """The text of each token of a row, with the white space before it but for the first.

    A character whose bytes lie in several tokens is that of the first of them.
    """
    starts = tokenizer.vocabulary.starts
    marked = not bool(starts.all())  # else characters, which have their spaces among them
    texts: list[str] = []
    for whole, run in groupby(ids, lambda i: "\ufffd" not in tokenizer.decode([i])):
        part = list(run)
        texts += [tokenizer.decode([i]) for i in part] if whole else [tokenizer.decode(part)]
        texts += [] if whole else [""] * (len(part) - 1)
    texts[:1] = [text.lstrip(" ") or text for text in texts[:1]]
    return [
        _spaced(tokenizer, i, text, marked and bool(starts[i]) and place > 0)
        for place, (i, text) in enumerate(zip(ids, texts))
    ]


def word(tokenizer: Tokenizer, token: int) -> str:
    """A token by itself, so that it can be seen; published tables may have rows beyond them."""
    if token >= tokenizer.vocabulary.size:
        return f"row {token}, no token"
    if _special(tokenizer, token):
        return tokenizer.piece(token)
    text = tokenizer.decode([token])
    bare = text.removeprefix("##").strip(" ")
    return NAMED.get(bare, bare) if bare else NAMED.get(text, text)


def loss_by_position(
    position: Int64[Tensor, "g"], nats: Float[Tensor, "g"], *, about: str
) -> Picture | None:
    """The mean loss of guesses by where they are, with its standard error; None of too few."""
    width = max(1, -(-(int(position.max()) + 1) // BINS)) if len(position) else 1
    x, mean, error = [], [], []
    for number in range(BINS):
        own = nats[position // width == number].double()
        if len(own) >= FEWEST:
            x.append((number + 0.5) * width - 0.5)
            mean.append(float(own.mean()))
            error.append(float(own.std() / len(own) ** 0.5))
    if len(x) < 2:
        return None
    made, axes = plot("loss by position, nats a token")
    low, high = ([m + sign * e for m, e in zip(mean, error)] for sign in (-1, 1))
    axes.fill_between(x, low, high, color=COLORS[0], alpha=0.2, linewidth=0)
    axes.plot(x, mean, color=COLORS[0], linewidth=1.6, marker="o", markersize=3)
    axes.set_xlabel("tokens before it in its text", fontsize=8.5, labelpad=2)
    ends = f"{mean[0]:.2f} at the beginning and {mean[-1]:.2f} at the end"
    return picture(made, alt=f"Loss by position: {ends}.", caption=about)


def _real(batch: TextBatch, row: int) -> list[int]:
    """The tokens of a row that are no padding."""
    real = batch.ids.shape[1] if batch.valid is None else int(batch.valid[row].sum())
    return batch.ids[row, :real].tolist()


def _answer(answers: inspection.Answers, row: int) -> list[Token]:
    """What was answered about the row, on a line of its own."""
    best, truth = int(answers.chance[row].argmax()), int(answers.truth[row])
    right = best == truth
    told = f" {_percent(float(answers.chance[row, best]))}"
    told += "" if right else f", but {answers.options[truth]}"
    return [
        Token(answers.options[best], "right" if right else "wrong"),
        Token(f"{told}\n", "quiet"),
    ]


def _expected(tokenizer: Tokenizer, guesses: inspection.Guesses, row: int, k: int) -> str:
    pairs = zip(guesses.best[row, k].tolist(), guesses.chance[row, k].tolist())
    told = [f"{word(tokenizer, token)} {_percent(chance)}" for token, chance in pairs]
    return f"Expected: {', '.join(told)}."


def _spaced(tokenizer: Tokenizer, token: int, text: str, begins: bool) -> str:
    if _special(tokenizer, token):
        return f"{' ' * begins}{tokenizer.piece(token)}"
    text = text.removeprefix("##")
    if not begins or text.startswith((*SPACES, *TIGHT)):
        return text
    return f" {text}"


def _joined(line: Sequence[Token]) -> list[Token]:
    """Plain tokens that follow each other as one."""
    made: list[Token] = []
    for (kind, hint), run in groupby(line, lambda token: (token.kind, token.hint)):
        run_ = list(run)
        made += (
            run_
            if kind not in ("", "quiet")
            else [Token("".join(t.text for t in run_), kind, hint)]
        )
    return made


def _special(tokenizer: Tokenizer, token: int) -> bool:
    return token in tokenizer.vocabulary.special


def _chance(nats: float) -> float:
    return float(torch.tensor(-nats, dtype=torch.float64).exp())


def _percent(chance: float) -> str:
    told = f"{100 * chance:.0f}" if chance >= 0.01 else f"{100 * chance:.1g}"
    return f"{told}\u00a0%"
