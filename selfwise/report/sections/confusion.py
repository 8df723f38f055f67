"""The confusion matrix of a probe as a figure, or its largest entries."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb

from selfwise.report.page.figures import INK, escape_dollars, render_svg
from selfwise.report.page.parts import Picture, Table
from selfwise.report.page.plots import create_plot, shorten_name

MAX_DRAWN = 30  # classes; more make cells that cannot be seen
MAX_NUMBERED = 12  # classes up to which a cell has its number, in percent
MAX_PAIRS = 12  # of the most confused
MAX_MISTAKES = 3  # predicted classes of one class, where there are many
BLUE, WHITE = "#2b6fb0", "#ffffff"
MIN_OPACITY = (
    0.12  # how opaque a cell of hardly anything is, so that it is seen on white and on black
)
DARK_SHARE = 0.8  # share from which on a cell is too dark for the page's ink, light or dark


def build_parts(
    counts: Sequence[Sequence[int]], classes: Sequence[str], *, repeated: int = 1
) -> list[Picture | Table]:
    """Return the matrix, where there are at most 30 classes, and the same in numbers.

    Args:
        counts: how often each class (rows) was predicted as each class (columns).
        classes: their names.
        repeated: how often every example was counted: once for each seed.
    """
    matrix = np.array(counts, dtype=np.float64)
    present = np.flatnonzero(matrix.sum(axis=0) + matrix.sum(axis=1))
    names, matrix = [classes[int(i)] for i in present], matrix[np.ix_(present, present)]
    totals = matrix.sum(axis=1)
    shares = matrix / np.maximum(totals, 1)[:, None]
    figure = [_draw_matrix(shares, names)] if len(names) <= MAX_DRAWN else []
    confused = _tabulate_confusions(shares, names) if len(names) > MAX_NUMBERED else []
    return [*figure, *confused, _tabulate_classes(shares, names, totals / repeated)]


def _tabulate_classes(
    shares: Float[np.ndarray, "n n"], names: Sequence[str], examples: Float[np.ndarray, "n"]
) -> Table:
    """Tabulate the accuracy and the confusions of each class; of many, the worst classes."""
    present = np.flatnonzero(examples)
    right = np.diag(shares)
    order = (
        present[np.argsort(right[present], kind="stable")] if len(names) > MAX_DRAWN else present
    )
    max_mistakes = MAX_NUMBERED if len(names) <= MAX_NUMBERED else MAX_MISTAKES
    rows = []
    for i in order[:MAX_DRAWN]:
        wrong = [int(j) for j in np.argsort(-shares[i], kind="stable") if j != i and shares[i, j]]
        mistakes = ", ".join(
            f"{names[j]} ({_format_percent(shares[i, j])})" for j in wrong[:max_mistakes]
        )
        mistakes += f" and {len(wrong) - max_mistakes} more" if len(wrong) > max_mistakes else ""
        rows.append([names[i], f"{examples[i]:,.0f}", _format_percent(right[i]), mistakes])
    caption = f"The {MAX_DRAWN} of {len(present)} classes with the lowest accuracy"
    head = ["class", "examples", "right, %", "predicted as (%)"]
    return Table(head, rows, caption if len(present) > len(rows) else "The matrix in numbers")


def _tabulate_confusions(shares: Float[np.ndarray, "n n"], names: Sequence[str]) -> list[Table]:
    """Return the largest shares off the diagonal; nothing where all is right."""
    wrong = shares - np.diag(np.diag(shares))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MAX_PAIRS]
    pairs = [divmod(int(place), len(names)) for place in order]
    rows = [[names[i], names[j], f"{100 * wrong[i, j]:.1f}"] for i, j in pairs if wrong[i, j] > 0]
    head = ["class", "predicted as", "% of the class"]
    return [Table(head, rows, "The most frequent confusions")] if rows else []


def _draw_matrix(shares: Float[np.ndarray, "n n"], names: Sequence[str]) -> Picture:
    n = len(names)
    side = min(5.6, max(3.2, 1.6 + 0.34 * n))
    figure, axes = create_plot("", width=side + 0.3, height=side)
    cells = [(i, j) for i in range(n) for j in range(n) if shares[i, j] > 0]
    squares = [[(j, i), (j + 1, i), (j + 1, i + 1), (j, i + 1)] for i, j in cells]
    colors = [
        (*to_rgb(BLUE), MIN_OPACITY + (1 - MIN_OPACITY) * float(shares[i, j])) for i, j in cells
    ]
    axes.add_collection(PolyCollection(squares, facecolors=colors, edgecolors="none"))
    if n <= MAX_NUMBERED:
        for i, j in cells:
            ink = WHITE if shares[i, j] > DARK_SHARE else INK
            axes.text(
                j + 0.5,
                i + 0.52,
                _format_percent(shares[i, j]),
                ha="center",
                va="center_baseline",
                fontsize=8.5 if n <= 10 else 7.5,
                color=ink,
            )
    axes.set(xlim=(0, n), ylim=(n, 0), aspect="equal")
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    tick_labels, middles = (
        [escape_dollars(shorten_name(name)) for name in names],
        np.arange(n) + 0.5,
    )
    rotation = 90 if max(map(len, tick_labels)) > 2 else 0
    font_size = 8.5 if n <= 15 else 7
    axes.set_xticks(middles, tick_labels, fontsize=font_size, rotation=rotation)
    axes.set_yticks(middles, tick_labels, fontsize=font_size)
    axes.tick_params(length=0)
    axes.set_xlabel("predicted as", fontsize=8.5)
    axes.set_ylabel("class", fontsize=8.5)
    in_percent = "In percent of each class, over all seeds"
    about = (
        in_percent if n <= MAX_NUMBERED else "The larger the part of a class, the darker the color"
    )
    right = ", ".join(f"{name} {_format_percent(shares[i, i])}" for i, name in enumerate(names))
    return render_svg(
        figure,
        alt=f"Confusion matrix; right, in percent of each class: {right}",
        caption=f"{about}; the diagonal holds the correct predictions.",
    )


def _format_percent(share: float) -> str:
    """Whole percent, but nothing that is there becomes 0, and nothing that is wrong becomes 100."""
    if 0 < share < 0.005:
        return "<1"
    return ">99" if 0.995 < share < 1 else f"{100 * share:.0f}"
