"""Draws a page of parts: one HTML file that holds everything it shows and loads nothing.

A Content-Security-Policy inside the file forbids all that is not in it: no network, no script and
no style but the two whose hashes it names (Content Security Policy Level 3, section 6.6).
"""

import base64
import re
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from selfwise.report.page.parts import (
    Command,
    Lines,
    Map,
    Picture,
    Rows,
    Section,
    Sheet,
    Strip,
    Words,
    legible,
    visible,
)
from selfwise.report.page.plane import plane
from selfwise.report.page.svg import Figures

HOME = Path(__file__).parent
GENERATOR = "selfwise report"  # in every page of ours: such a file may be written anew
SMALL, SHOWN = 64, 96  # px: shorter sides up to the first are enlarged to about the second
TIED = "\u00a0"  # a space at which no line ends
LONG, SHORT = 8, 40  # more pairs than the first, none longer than the second, stand in columns
NUMBER = re.compile(  # 61.3 ± 0.4, 12 %
    r"[-+\u2212]?\d[\d.,e]*(\s?[±+\u2212-]\s?\d[\d.,]*)?\s?[%a-z]{0,3}"
)


def render(title: str, sections: Sequence[Section], *, lead: str = "") -> str:
    """The page. The same sections give the same text, and all words in them are escaped.

    Args:
        title: of the page.
        sections: in their order.
        lead: what stands below the title.
    """
    figures = Figures()
    told = [legible(section) for section in sections]
    shown = [_section(number, section, figures) for number, section in enumerate(told, 1)]
    style, script = _own("page.css") + figures.style, _own("page.js")
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=visible(title),
            lead=visible(lead),
            sections=shown,
            style=Markup(style),  # ours, as are the script and the figures' markup
            script=Markup(script),
            policy=policy(style=style, script=script),
            generator=GENERATOR,
            version=version("selfwise"),
        )
    )


def policy(*, style: str, script: str) -> str:
    """What the page may load: pictures inside itself, and this one style and script."""
    allowed = {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": _hash(style),
        "script-src": _hash(script),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in allowed.items())


def is_page(path: Path) -> bool:
    """Whether a file is a page of ours, by what stands in its first lines."""
    with path.open("rb") as file:
        return f'<meta name="generator" content="{GENERATOR}">'.encode() in file.read(4096)


def uri(picture: Picture) -> str:
    """The picture as an address that needs no file."""
    return f"data:image/{picture.form};base64,{base64.b64encode(picture.data).decode()}"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"


def _own(name: str) -> str:
    return (HOME / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(HOME), autoescape=True, undefined=StrictUndefined, auto_reload=False
    )
    made.filters["tied"] = tied
    return made


def tied(text: str) -> str:
    """The text with its percents in one piece: no line ends in 93 %, or in 93 ± 1."""
    return text.replace(" %", f"{TIED}%").replace(" \u00b1 ", f"{TIED}\u00b1{TIED}")


def _section(number: int, section: Section, figures: Figures) -> dict[str, Any]:
    """A section as the template draws it; single pictures that follow each other share rows."""
    parts: list[dict[str, Any]] = []
    for alone, together in groupby(section.parts, lambda part: isinstance(part, Picture)):
        if alone:
            parts.append({"kind": "pictures", "pictures": [_picture(p, figures) for p in together]})
        else:
            parts += [_DRAWN[type(part)](part, figures) for part in together]
    for place, part in enumerate(parts, 1):
        part["id"] = f"part-{number}-{place}"
    told = {"title": section.title, "about": section.about, "parts": parts}
    return {"id": f"section-{number}", **told}


def _picture(picture: Picture, figures: Figures) -> dict[str, Any]:
    told = {"form": picture.form, "alt": picture.alt, "caption": picture.caption}
    told["mark"] = picture.mark
    if picture.form == "svg":
        return {**told, "markup": Markup(figures.taken(picture.data))}
    size = Image.open(BytesIO(picture.data)).size
    width, height = (length // picture.density for length in size)
    small = min(size) <= SMALL
    times = max(1, SHOWN // min(width, height)) if small else 1
    side = {"width": width * times, "height": height * times, "pixelated": small}
    return {**told, **side, "uri": uri(picture)}


def _strip(part: Strip, figures: Figures) -> dict[str, Any]:
    shown = [_picture(picture, figures) for picture in part.pictures]
    return {"kind": "strip", "pictures": shown, "caption": part.caption, "lead": part.lead}


def _sheet(part: Sheet, figures: Figures) -> dict[str, Any]:
    strips = [_strip(strip, figures) for strip in part.strips]
    return {"kind": "sheet", "strips": strips, "caption": part.caption}


def _words(part: Words, figures: Figures) -> dict[str, Any]:
    return {"kind": "words", "sentences": part.sentences}


def _rows(part: Rows, figures: Figures) -> dict[str, Any]:
    columns = range(max([len(part.head), *map(len, part.rows)], default=0))
    if len(columns) == 2 and len(part.rows) > LONG and all(len(r[-1]) <= SHORT for r in part.rows):
        return {"kind": "facts", "rows": part.rows, "caption": part.caption}
    cells = [[row[i] for row in part.rows if i < len(row) and row[i]] for i in columns]
    numeric = [bool(c) and all(NUMBER.fullmatch(text.strip()) for text in c) for c in cells]
    told = {"head": part.head, "rows": part.rows, "caption": part.caption}
    longest = max((len(text) for column in cells for text in column), default=0)
    return {
        "kind": "rows",
        **told,
        "numeric": numeric,
        "full": len(columns) > 2 and longest > SHORT,
    }


def _lines(part: Lines, figures: Figures) -> dict[str, Any]:
    return {"kind": "lines", "lines": part.lines, "caption": part.caption}


def _command(part: Command, figures: Figures) -> dict[str, Any]:
    # a word of a command stays whole: at its hyphens a browser would end lines
    return {"kind": "command", "words": re.split(r"(\s+)", part.text)}


def _map(part: Map, figures: Figures) -> dict[str, Any]:
    pictures = [{"uri": uri(picture), "alt": picture.alt} for picture in part.pictures]
    return {"kind": "map", **plane(part, pictures)}


_DRAWN: dict[type, Callable[[Any, Figures], dict[str, Any]]] = {
    Strip: _strip,
    Sheet: _sheet,
    Words: _words,
    Rows: _rows,
    Lines: _lines,
    Command: _command,
    Map: _map,
}
