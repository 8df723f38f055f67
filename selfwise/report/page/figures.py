"""Figures for the page: drawn by matplotlib, without its global state, in the page's colors."""

import io
import re
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text

from selfwise.core.visible_text import escape_invisible
from selfwise.report.page.parts import Picture

INK = "#010203"  # placeholder for the color of the page's text, light or dark
# seven that can be told apart by people who see few colors, on white and on black
COLORS = ("#3b82c4", "#d9772b", "#3a9d6b", "#b0569b", "#8c6d46", "#7a7f87", "#c94f55")
INCH = 0.85  # drawn so much smaller than shown, so that words can still be read on a phone
STYLE: Any = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.prop_cycle": cycler(color=COLORS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "legend.frameon": False,
    "svg.fonttype": "none",  # words stay words
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def create_figure(width: float = 4.6, height: float = 2.6) -> tuple[Figure, Axes]:
    """Return a figure with one set of axes, in inches of the page, to draw on and for
    `render_svg`."""
    with matplotlib.rc_context(STYLE):
        drawing = Figure(figsize=(INCH * width, INCH * height), layout="constrained")
        return drawing, drawing.subplots()


def escape_dollars(text: str) -> str:
    """Return a name as it is: matplotlib would read what is between two dollar signs as
    mathematics."""
    return escape_invisible(text).replace("$", r"\$")


def render_svg(figure: Figure, *, alt: str, caption: str = "") -> Picture:
    """Return the figure as markup for the page. The same figure gives the same
    bytes."""
    file, alt = io.StringIO(), escape_invisible(alt)
    for legend in figure.findobj(Legend):
        legend.set_frame_on(False)  # its ground would be white in the dark, too
    for text in figure.findobj(Text):
        if text.get_color() == "black":  # made by the caller, outside of the style
            text.set_color(INK)
    metadata = {"Date": None, "Creator": None}
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": alt}):
        figure.savefig(file, format="svg", transparent=True, metadata=metadata)
    markup = file.getvalue()
    markup = markup[markup.index("<svg") :].replace(INK, "currentColor")
    # of a fixed size it would not fit a phone: viewBox and the page's style decide
    markup = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", markup, count=1)
    markup = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", markup, count=1)
    return Picture(markup.encode(), "svg", alt, caption)
