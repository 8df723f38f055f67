"""Rows of tokens as lines of marked text, and the loss by position as a figure."""

from collections.abc import Sequence
from itertools import groupby

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from selfwise.core.types import TextBatch
from selfwise.methods.inspection import (
    MaskedTextExamples,
    NextTokenExamples,
    PairPredictions,
    Predictions,
)
from selfwise.report.page.figures import COLORS, render_svg
from selfwise.report.page.parts import Level, Picture, Token
from selfwise.report.page.plots import create_plot
from selfwise.tokenizers.tokenizer import Tokenizer

LEVELS: tuple[Level, ...] = ("level1", "level2", "level3", "level4")
LEVEL_EDGES = (0.01, 0.1, 0.5)  # probabilities that part the four grounds of a token
CLOSING_PUNCTUATION = ".,;:!?)]}%'\u2019\u201d"  # written without a space before it
SPACES = " \n\t"  # that may begin a token
SYMBOLS = {"\n": "⏎", "\t": "⇥", " ": "␣", "": "∅"}  # for tokens that could not be seen
MAX_TOKENS = 128  # of a row that are shown
NUM_BINS, MIN_PREDICTIONS = 16, 8  # of positions; and how many a bin takes


def mark_masked(tokenizer: Tokenizer, examples: MaskedTextExamples, row: int) -> list[Token]:
    """Return a row with its masked tokens marked, and below it what was filled in for each."""
    ids, predictions = _strip_padding(examples.batch, row), examples.predictions
    masked = {
        int(position): k
        for k, position in enumerate(predictions.positions[row])
        if predictions.valid[row, k]
    }
    true_ids = [
        int(predictions.target[row, masked[place]]) if place in masked else token
        for place, token in enumerate(ids)
    ]
    line = [] if examples.pairs is None else _describe_pair(examples.pairs, row)
    fillings: list[Token] = []
    for place, text in enumerate(split_text(tokenizer, true_ids)[:MAX_TOKENS]):
        if place not in masked:
            line.append(Token(text, "quiet" if _is_special(tokenizer, ids[place]) else ""))
            continue
        k = masked[place]
        bare = text.lstrip(" ")
        mark = Token(
            SYMBOLS.get(bare, bare),
            "right" if predictions.correct[row, k] else "wrong",
            _list_top(tokenizer, predictions, row, k),
        )
        line += [Token(text[: len(text) - len(bare)]), mark]
        fillings += _describe_filling(tokenizer, predictions, row, k, ids[place])
    line += [Token(" …", "quiet")] if len(ids) > MAX_TOKENS else []
    return _merge_plain([*line, *([Token("\n"), *fillings] if fillings else [])])


def _describe_filling(
    tokenizer: Tokenizer, predictions: Predictions, row: int, k: int, input_id: int
) -> list[Token]:
    """Return a masked token, what was filled in for it, and how sure that was."""
    top, target = int(predictions.top_ids[row, k, 0]), int(predictions.target[row, k])
    is_mask = tokenizer.vocabulary.mask == input_id
    note = "" if is_mask else f" (seen as {show_token(tokenizer, input_id)})"
    note = " (seen as it is)" if input_id == target else note
    probability = _format_percent(float(predictions.top_probs[row, k, 0]))
    return [
        Token(f"{show_token(tokenizer, target)}{note} →\u00a0", "quiet"),
        Token(show_token(tokenizer, top), "right" if top == target else "wrong"),
        Token(f"\u00a0{probability}   ", "quiet"),
    ]


def mark_probabilities(tokenizer: Tokenizer, examples: NextTokenExamples, row: int) -> list[Token]:
    """Return a row with the probability of each token as its background."""
    predictions = examples.predictions
    valid = predictions.valid[row]
    length = int(valid.nonzero().max()) + 1 if valid.any() else 0
    ids = [int(examples.batch.ids[row, 0]), *predictions.target[row, :length].tolist()]
    line = []
    for place, text in enumerate(split_text(tokenizer, ids)[:MAX_TOKENS]):
        if not place or not valid[place - 1]:  # what begins a text follows nothing
            line.append(Token(text, "quiet"))
            continue
        nats = float(predictions.nats[row, place - 1])
        own = f"{_format_percent(_to_probability(nats))}, {nats:.2f} nats. "
        hint = own + _list_top(tokenizer, predictions, row, place - 1)
        line.append(Token(text, choose_level(_to_probability(nats)), hint))
    return [*line, *([Token(" …", "quiet")] if length >= MAX_TOKENS else [])]


def choose_level(probability: float) -> Level:
    """Return the ground of a token with that probability: level1, a surprise, to level4."""
    return LEVELS[sum(probability >= edge for edge in LEVEL_EDGES)]


def make_legend() -> list[Token]:
    """Explain the backgrounds of tokens."""
    low, middle, high = (_format_percent(edge) for edge in LEVEL_EDGES)
    ranges = [f"below {low}", f"{low} to {middle}", f"{middle} to {high}", f"above {high}"]
    pairs = [(Token(text, level), Token("  ")) for text, level in zip(ranges, LEVELS)]
    return [Token("Probability of a token: ", "quiet"), *(t for pair in pairs for t in pair)]


def format_plain_line(tokenizer: Tokenizer, ids: Sequence[int]) -> list[Token]:
    """Return an unmarked row."""
    return _merge_plain([Token(text) for text in split_text(tokenizer, ids[:MAX_TOKENS])])


def split_text(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """Return the text of each token of a row, with the white space before it but for the first.

    A character whose bytes are in several tokens belongs to the first of them.
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
        _add_space(tokenizer, i, text, marked and bool(starts[i]) and place > 0)
        for place, (i, text) in enumerate(zip(ids, texts))
    ]


def show_token(tokenizer: Tokenizer, token: int) -> str:
    """Return a token by itself, so that it can be seen; published tables may have rows beyond
    them."""
    if token >= tokenizer.vocabulary.size:
        return f"row {token}, no token"
    if _is_special(tokenizer, token):
        return tokenizer.piece(token)
    text = tokenizer.decode([token])
    bare = text.removeprefix("##").strip(" ")
    return SYMBOLS.get(bare, bare) if bare else SYMBOLS.get(text, text)


def plot_loss_by_position(
    positions: Int64[Tensor, "g"], nats: Float[Tensor, "g"], *, about: str
) -> Picture | None:
    """The mean loss of predictions by where they are, with its standard error; None of too few."""
    width = max(1, -(-(int(positions.max()) + 1) // NUM_BINS)) if len(positions) else 1
    x, means, errors = [], [], []
    for number in range(NUM_BINS):
        in_bin = nats[positions // width == number].double()
        if len(in_bin) >= MIN_PREDICTIONS:
            x.append((number + 0.5) * width - 0.5)
            means.append(float(in_bin.mean()))
            errors.append(float(in_bin.std() / len(in_bin) ** 0.5))
    if len(x) < 2:
        return None
    figure, axes = create_plot("loss by position, nats a token")
    low, high = ([m + sign * e for m, e in zip(means, errors)] for sign in (-1, 1))
    axes.fill_between(x, low, high, color=COLORS[0], alpha=0.2, linewidth=0)
    axes.plot(x, means, color=COLORS[0], linewidth=1.6, marker="o", markersize=3)
    axes.set_xlabel("tokens before it in its text", fontsize=8.5, labelpad=2)
    ends = f"{means[0]:.2f} at the beginning and {means[-1]:.2f} at the end"
    return render_svg(figure, alt=f"Loss by position: {ends}.", caption=about)


def _strip_padding(batch: TextBatch, row: int) -> list[int]:
    """Return the tokens of a row without its padding."""
    length = batch.ids.shape[1] if batch.valid is None else int(batch.valid[row].sum())
    return batch.ids[row, :length].tolist()


def _describe_pair(pairs: PairPredictions, row: int) -> list[Token]:
    """Return the predicted class of the row's pair of texts, on a separate line."""
    top, target = int(pairs.probs[row].argmax()), int(pairs.target[row])
    note = f" {_format_percent(float(pairs.probs[row, top]))}"
    note += "" if top == target else f", but {pairs.class_names[target]}"
    return [
        Token(pairs.class_names[top], "right" if top == target else "wrong"),
        Token(f"{note}\n", "quiet"),
    ]


def _list_top(tokenizer: Tokenizer, predictions: Predictions, row: int, k: int) -> str:
    """Return the most likely tokens with their probabilities, as a sentence."""
    top = zip(predictions.top_ids[row, k].tolist(), predictions.top_probs[row, k].tolist())
    texts = [f"{show_token(tokenizer, token)} {_format_percent(prob)}" for token, prob in top]
    return f"Expected: {', '.join(texts)}."


def _add_space(tokenizer: Tokenizer, token: int, text: str, begins: bool) -> str:
    if _is_special(tokenizer, token):
        return f"{' ' * begins}{tokenizer.piece(token)}"
    text = text.removeprefix("##")
    if not begins or text.startswith((*SPACES, *CLOSING_PUNCTUATION)):
        return text
    return f" {text}"


def _merge_plain(line: Sequence[Token]) -> list[Token]:
    """Return the line with plain tokens that follow each other as one token."""
    merged: list[Token] = []
    for (kind, hint), group in groupby(line, lambda token: (token.kind, token.hint)):
        if kind in ("", "quiet"):
            merged.append(Token("".join(token.text for token in group), kind, hint))
        else:
            merged += group
    return merged


def _is_special(tokenizer: Tokenizer, token: int) -> bool:
    return token in tokenizer.vocabulary.special


def _to_probability(nats: float) -> float:
    return float(torch.tensor(-nats, dtype=torch.float64).exp())


def _format_percent(probability: float) -> str:
    number = f"{100 * probability:.0f}" if probability >= 0.01 else f"{100 * probability:.1g}"
    return f"{number}\u00a0%"
