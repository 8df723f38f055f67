"""What figures and sections of a report say, read back."""

from typing import Any

import numpy as np

from selfwise.report.page.parts import Paragraphs, Picture, Section, Table
from selfwise.report.sections import confusion, curves, glue_dots, label_curve


def figures(monkeypatch) -> list[Any]:
    """The axes of all figures from here on, in the order in which they are made."""
    found = []
    for module in (curves, label_curve, confusion, glue_dots):
        kept = module.render_svg

        def render_svg(made, kept=kept, **told):
            found.append(made.axes[0])
            return kept(made, **told)

        monkeypatch.setattr(module, "render_svg", render_svg)
    return found


def titled(drawn, title: str):
    (axes,) = [axes for axes in drawn if axes.get_title(loc="left") == title]
    return axes


def lines(axes) -> list[tuple[list[float], list[float]]]:
    """What is drawn as lines: steps and values."""
    told = [line for line in axes.lines if len(line.get_xdata())]
    return [(np.asarray(d.get_xdata()).tolist(), np.asarray(d.get_ydata()).tolist()) for d in told]


def bars(axes) -> list[list[tuple[float, float]]]:
    """For each line with error bars, where each bar begins and ends."""
    return [
        [(float(segment[0][1]), float(segment[1][1])) for segment in one[2][0].get_segments()]
        for one in axes.containers
    ]


def parts(found: list[Section], kind: type) -> list:
    return [part for section in found for part in section.parts if isinstance(part, kind)]


def cells(found: list[Section]) -> list[list[str]]:
    return [list(row) for table in parts(found, Table) for row in table.rows]


def said(found: list[Section]) -> str:
    """All the words of the sections but those of figures and tables."""
    told = [sentence for words in parts(found, Paragraphs) for sentence in words.sentences]
    told += [part.caption for part in parts(found, Picture)]
    return "\n".join([*(f"{s.title}. {s.about}" for s in found), *told])
