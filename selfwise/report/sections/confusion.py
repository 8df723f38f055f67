"""What a probe takes for what: the confusion matrix as a figure, or its largest entries."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb

from selfwise.report.page.figures import INK, picture, plain
from selfwise.report.page.parts import Picture, Rows
from selfwise.report.page.plots import plot, short

DRAWN = 30  # classes; more make cells that cannot be seen
NUMBERED = 12  # classes up to which a cell has its number, in percent
PAIRS = 12  # of the most confused
TOLD = 3  # classes that one is taken for, where there are many
BLUE, WHITE = "#2b6fb0", "#ffffff"
FAINT = 0.12  # how opaque a cell of hardly anything is, so that it is seen on white and on black
DARK = 0.8  # share from which on a cell is too dark for the page's ink, light or dark


def parts(
    counts: Sequence[Sequence[int]], classes: Sequence[str], *, repeated: int = 1
) -> list[Picture | Rows]:
    """The matrix, where there are at most 30 classes, and the same in numbers.

    Args:
        counts: how often each class (rows) was taken for each (columns).
        classes: their names.
        repeated: how often every example was counted: once for each seed.
    """
    matrix = np.array(counts, dtype=np.float64)
    there = np.flatnonzero(matrix.sum(axis=0) + matrix.sum(axis=1))
    names, matrix = [classes[int(i)] for i in there], matrix[np.ix_(there, there)]
    totals = matrix.sum(axis=1)
    shares = matrix / np.maximum(totals, 1)[:, None]
    figure = [_figure(shares, names)] if len(names) <= DRAWN else []
    confused = _confused(shares, names) if len(names) > NUMBERED else []
    return [*figure, *confused, _by_class(shares, names, totals / repeated)]


def _by_class(
    shares: Float[np.ndarray, "n n"], names: Sequence[str], examples: Float[np.ndarray, "n"]
) -> Rows:
    """What of each class is right, and what the rest is taken for; of many, the worst classes."""
    there = np.flatnonzero(examples)
    right = np.diag(shares)
    order = there[np.argsort(right[there], kind="stable")] if len(names) > DRAWN else there
    most = NUMBERED if len(names) <= NUMBERED else TOLD
    lines = []
    for i in order[:DRAWN]:
        wrong = [int(j) for j in np.argsort(-shares[i], kind="stable") if j != i and shares[i, j]]
        said = ", ".join(f"{names[j]} ({_percent(shares[i, j])})" for j in wrong[:most])
        said += f" and {len(wrong) - most} more" if len(wrong) > most else ""
        lines.append([names[i], f"{examples[i]:,.0f}", _percent(right[i]), said])
    caption = f"The {DRAWN} of {len(there)} classes with the fewest right"
    head = ["class", "examples", "right, %", "taken for (%)"]
    return Rows(head, lines, caption if len(there) > len(lines) else "The same in numbers")


def _confused(shares: Float[np.ndarray, "n n"], names: Sequence[str]) -> list[Rows]:
    """The largest shares off the diagonal; nothing where all is right."""
    wrong = shares - np.diag(np.diag(shares))
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    pairs = [divmod(int(place), len(names)) for place in order]
    rows = [[names[i], names[j], f"{100 * wrong[i, j]:.1f}"] for i, j in pairs if wrong[i, j] > 0]
    head = ["class", "is taken for", "% of the class"]
    return [Rows(head, rows, "What is confused most")] if rows else []


def _figure(shares: Float[np.ndarray, "n n"], names: Sequence[str]) -> Picture:
    n = len(names)
    side = min(5.6, max(3.2, 1.6 + 0.34 * n))
    made, axes = plot("", width=side + 0.3, height=side)
    places = [(i, j) for i in range(n) for j in range(n) if shares[i, j] > 0]
    squares = [[(j, i), (j + 1, i), (j + 1, i + 1), (j, i + 1)] for i, j in places]
    colors = [(*to_rgb(BLUE), FAINT + (1 - FAINT) * float(shares[i, j])) for i, j in places]
    axes.add_collection(PolyCollection(squares, facecolors=colors, edgecolors="none"))
    if n <= NUMBERED:
        for i, j in places:
            ink = WHITE if shares[i, j] > DARK else INK
            axes.text(
                j + 0.5,
                i + 0.52,
                _percent(shares[i, j]),
                ha="center",
                va="center_baseline",
                fontsize=8.5 if n <= 10 else 7.5,
                color=ink,
            )
    axes.set(xlim=(0, n), ylim=(n, 0), aspect="equal")
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    shown, middles = [plain(short(name)) for name in names], np.arange(n) + 0.5
    tilted = {"rotation": 90} if max(map(len, shown)) > 2 else {}
    small = 8.5 if n <= 15 else 7
    axes.set_xticks(middles, shown, fontsize=small, **tilted)
    axes.set_yticks(middles, shown, fontsize=small)
    axes.tick_params(length=0)
    axes.set_xlabel("taken for", fontsize=8.5)
    axes.set_ylabel("class", fontsize=8.5)
    numbered = "In percent of each class, over all seeds"
    how = numbered if n <= NUMBERED else "The more of a class, the fuller the colour"
    right = ", ".join(f"{name} {_percent(shares[i, i])}" for i, name in enumerate(names))
    return picture(
        made,
        alt=f"Confusion matrix; right, in percent of each class: {right}",
        caption=f"{how}; on the diagonal stands what is right.",
    )


def _percent(share: float) -> str:
    """Whole percent, but nothing that is there becomes 0, and nothing that is wrong becomes 100."""
    if 0 < share < 0.005:
        return "<1"
    return ">99" if 0.995 < share < 1 else f"{100 * share:.0f}"
