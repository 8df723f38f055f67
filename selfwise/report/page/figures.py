"""Figures for the page: drawn by matplotlib, without its global state, in the page's colours."""

import io
import re
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text

from selfwise.report.page.parts import Picture, visible

INK = "#010203"  # stands for the colour of the page's text, light or dark
# seven that can be told apart by people who see few colours, on white and on black
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


def figure(width: float = 4.6, height: float = 2.6) -> tuple[Figure, Any]:
    """A figure with one set of axes, in inches of the page; draw on it and give it to `picture`."""
    with matplotlib.rc_context(STYLE):
        made = Figure(figsize=(INCH * width, INCH * height), layout="constrained")
        return made, made.subplots()


def plain(text: str) -> str:
    """A name as it is: matplotlib would read what is between two dollar signs as mathematics."""
    return visible(text).replace("$", r"\$")


def picture(made: Figure, *, alt: str, caption: str = "") -> Picture:
    """The figure as markup that can stand in the page. The same figure gives the same bytes."""
    file, alt = io.StringIO(), visible(alt)
    for legend in made.findobj(Legend):
        legend.set_frame_on(False)  # its ground would be white in the dark, too
    for text in made.findobj(Text):
        if text.get_color() == "black":  # made by the caller, outside of the style
            text.set_color(INK)
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": alt}):
        made.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    found = file.getvalue()
    found = found[found.index("<svg") :].replace(INK, "currentColor")
    # of a fixed size it would not fit a phone: viewBox and the page's style decide
    found = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", found, count=1)
    found = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", found, count=1)
    return Picture(found.encode(), "svg", alt, caption)
