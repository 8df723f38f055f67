"""Long texts in windows of the length that an encoder was trained on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64

from selfwise.core.errors import did_you_mean
from selfwise.data.text.labelled import Texts
from selfwise.evaluation.features.text_rows import (
    TokenRow,
    build_pair_rows,
    build_text_row,
    find_special_tokens,
)
from selfwise.evaluation.scores.names import DEVIATION
from selfwise.tokenizers.tokenizer import Tokenizer

WINDOWS = ("mean", "first")


class TextWindows(NamedTuple):
    """w windows of n texts, in the order of the texts."""

    rows: list[TokenRow]
    owner: Int64[np.ndarray, "w"]  # which text a window is of
    tokens: Int64[np.ndarray, "w"]  # of the text in it, special tokens aside
    longer: int  # texts, or pairs, that are longer than a window
    cut: int  # tokens that are in no window


def check_window(name: str) -> None:
    """Raise ValueError unless the name is empty or one of WINDOWS."""
    if name and name not in WINDOWS:
        raise ValueError(f"unknown window {name!r}{did_you_mean(name, WINDOWS)}")


def split_into_windows(
    texts: Texts, tokenizer: Tokenizer, *, length: int, window: str
) -> TextWindows:
    """Return every text in windows of `length` tokens with special tokens around each.

    With `window` "first" a text has one window, and the rest of it is cut. Of pairs the longer part
    is cut, whatever `window` is: a window of one part has no counterpart in the other.
    """
    if texts.pairs is not None:
        pairs, cut = build_pair_rows(texts, tokenizer, length=length)
        sizes = np.array([len(row.ids) for row in pairs], np.int64)
        return TextWindows(
            pairs, np.arange(len(pairs)), sizes, int((cut > 0).sum()), int(cut.sum())
        )
    first, last, _ = find_special_tokens(tokenizer)
    room = max(1, length - len(first) - len(last))
    rows: list[TokenRow] = []
    owner: list[int] = []
    tokens: list[int] = []
    longer, left_out = 0, 0
    for number, ids in enumerate(tokenizer.encode(texts.texts)):
        longer += len(ids) > room
        stop = room if window == "first" else max(1, len(ids))
        for start in range(0, stop, room):
            part = ids[start : start + room]
            rows.append(build_text_row(part, tokenizer))
            owner.append(number)
            tokens.append(len(part))
        left_out += max(0, len(ids) - room) if window == "first" else 0
    return TextWindows(
        rows, np.array(owner, np.int64), np.array(tokens, np.int64), longer, left_out
    )


def describe_truncation(windows: TextWindows, length: int) -> list[str]:
    """Warn of texts that do not fit; nothing if all do."""
    if not windows.cut:
        return []
    subject = "1 text is" if windows.longer == 1 else f"{windows.longer:,} texts are"
    return [
        f"{subject} longer than the {length} tokens that the encoder was trained on: "
        f"{windows.cut:,} tokens were cut and not read."
    ]


class WindowAverage:
    """Vectors of texts from those of their windows: means weighted by tokens.

    Of `mean+deviation` the second half is the deviation over all tokens of all windows.
    """

    def __init__(self, windows: TextWindows, poolings: Sequence[str]):
        self.windows, self.poolings = windows, poolings
        counts = np.bincount(windows.owner)
        self.several = counts[windows.owner] > 1
        self.total = np.bincount(windows.owner, np.maximum(windows.tokens, 1))
        self.sums: dict[tuple[int, int], Float64[np.ndarray, "d"]] = {}

    def add_windows(
        self, out: list[np.ndarray], some: np.ndarray, vectors: Sequence[np.ndarray]
    ) -> None:
        """Put vectors of the windows `some` into the arrays `out` of the texts."""
        alone = ~self.several[some]
        for number, (array, each) in enumerate(zip(out, vectors)):
            array[self.windows.owner[some[alone]]] = each[alone]
            for window, vector in zip(some[~alone], each[~alone]):
                self._add_to_sum(number, int(window), vector.astype(np.float64))

    def write_sums(self, out: list[np.ndarray]) -> None:
        """Put the texts of several windows into the arrays."""
        for (number, text), total in self.sums.items():
            out[number][text] = self._average_sum(number, total)

    def _add_to_sum(self, number: int, window: int, vector: Float64[np.ndarray, "d"]) -> None:
        text = int(self.windows.owner[window])
        share = max(1, int(self.windows.tokens[window])) / self.total[text]
        if self.poolings[number] == DEVIATION:  # sums of x and of x squared can be added
            mean, deviation = np.split(vector, 2)
            vector = np.concatenate([mean, deviation**2 + mean**2])
        before = self.sums.get((number, text), 0.0)
        self.sums[number, text] = before + share * vector

    def _average_sum(
        self, number: int, total: Float64[np.ndarray, "d"]
    ) -> Float32[np.ndarray, "d"]:
        if self.poolings[number] == DEVIATION:
            mean, square = np.split(total, 2)
            total = np.concatenate([mean, np.sqrt(np.maximum(square - mean**2, 0.0))])
        return total.astype(np.float32)
