"""Draws a page of parts: one HTML file that holds everything it shows and loads nothing.

A Content-Security-Policy inside the file forbids all that is not in it: no network, no script and
no style but the two whose hashes it names (Content Security Policy Level 3, section 6.6).
"""

import base64
import re
from collections.abc import Callable, Mapping, Sequence
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

from selfwise.core.own_files import read_own
from selfwise.core.visible_text import escape_invisible
from selfwise.report.page.parts import (
    Command,
    Heading,
    Lines,
    Map,
    Paragraphs,
    Part,
    Picture,
    Section,
    Sheet,
    Statement,
    Strip,
    Table,
    escape_all,
)
from selfwise.report.page.plane import lay_out_map
from selfwise.report.page.svg import Figures

HOME = Path(__file__).parent
GENERATOR = "selfwise report"  # in every page of ours: such a file may be overwritten
# px: pictures with shorter sides up to the first are enlarged to about the second
MAX_ENLARGED_SIDE, ENLARGED_SIDE = 64, 96
NO_BREAK_SPACE = "\u00a0"  # a space at which no line ends
# more pairs than the first, none longer than the second, are set in columns
MIN_COLUMN_PAIRS, MAX_COLUMN_WIDTH = 8, 40
NUMBER = re.compile(  # 61.3 ± 0.4, 12 %
    r"[-+\u2212]?\d[\d.,e]*(\s?[±+\u2212-]\s?\d[\d.,]*)?\s?[%a-z]{0,3}"
)
TemplatePart = dict[str, object]  # what the template needs of a part; `kind` names its macro


def render(
    title: str,
    sections: Sequence[Section],
    *,
    lead: str = "",
    statements: Sequence[Statement] = (),
) -> str:
    """Return the page. The same sections give the same text, and all words in them are escaped.

    Args:
        title: of the page.
        sections: in their order.
        lead: the sentences below the statements.
        statements: the conclusions, below the title.
    """
    figures = Figures()
    escaped = [escape_all(section) for section in sections]
    contents = [
        _render_section(number, section, figures) for number, section in enumerate(escaped, 1)
    ]
    style, script = _read_asset("page.css") + figures.style, _read_asset("page.js")
    return (
        _load_environment()
        .get_template("page.html.j2")
        .render(
            title=escape_invisible(title),
            lead=escape_invisible(lead),
            statements=[_render_statement(escape_all(statement)) for statement in statements],
            sections=contents,
            style=Markup(style),  # ours, as are the script and the figures' markup
            script=Markup(script),
            policy=make_content_policy(style=style, script=script),
            generator=GENERATOR,
            version=version("selfwise"),
        )
    )


def make_content_policy(*, style: str, script: str) -> str:
    """Return the policy: the page loads only pictures inside itself, this style and this script."""
    allowed = {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": _hash_source(style),
        "script-src": _hash_source(script),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in allowed.items())


def is_page(path: Path) -> bool:
    """Return whether a file is a page of ours, by its first lines."""
    return f'<meta name="generator" content="{GENERATOR}">'.encode() in read_own(path, 4096)


def encode_data_uri(picture: Picture) -> str:
    """Return the picture as a data URI, which needs no file."""
    return f"data:image/{picture.form};base64,{base64.b64encode(picture.data).decode()}"


def _hash_source(text: str) -> str:
    return f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"


def _read_asset(name: str) -> str:
    return (HOME / name).read_text(encoding="utf-8")


@cache
def _load_environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HOME), autoescape=True, undefined=StrictUndefined, auto_reload=False
    )
    environment.filters["nonbreaking"] = use_no_break_spaces
    return environment


def use_no_break_spaces(text: str) -> str:
    """Return the text with its percents in one piece: no line ends in 93 %, or in 93 ± 1."""
    return text.replace(" %", f"{NO_BREAK_SPACE}%").replace(
        " \u00b1 ", f"{NO_BREAK_SPACE}\u00b1{NO_BREAK_SPACE}"
    )


def _render_section(number: int, section: Section, figures: Figures) -> TemplatePart:
    """Return a section as the template draws it; single pictures that follow each other share
    rows."""
    parts: list[TemplatePart] = []
    for single, group in groupby(section.parts, lambda part: isinstance(part, Picture)):
        if single:
            pictures = [
                _render_picture(part, figures) for part in group if isinstance(part, Picture)
            ]
            parts.append({"kind": "pictures", "pictures": pictures})
        else:
            parts += [_RENDERERS[type(part)](part, figures) for part in group]
    for place, part in enumerate(parts, 1):
        part["id"] = f"part-{number}-{place}"
    return {
        "id": f"section-{number}",
        "title": section.title,
        "about": section.about,
        "parts": parts,
    }


def _render_picture(picture: Picture, figures: Figures) -> TemplatePart:
    part: TemplatePart = {"form": picture.form, "alt": picture.alt, "caption": picture.caption}
    part["mark"] = picture.mark
    if picture.form == "svg":
        return {**part, "markup": Markup(figures.add_figure(picture.data))}
    size = Image.open(BytesIO(picture.data)).size
    width, height = (length // picture.density for length in size)
    small = min(size) <= MAX_ENLARGED_SIDE
    scale = max(1, ENLARGED_SIDE // min(width, height)) if small else 1
    dimensions = {"width": width * scale, "height": height * scale, "pixelated": small}
    return {**part, **dimensions, "uri": encode_data_uri(picture)}


def _render_strip(part: Strip, figures: Figures) -> TemplatePart:
    pictures = [_render_picture(picture, figures) for picture in part.pictures]
    return {"kind": "strip", "pictures": pictures, "caption": part.caption, "lead": part.lead}


def _render_sheet(part: Sheet, figures: Figures) -> TemplatePart:
    strips = [_render_strip(strip, figures) for strip in part.strips]
    return {"kind": "sheet", "strips": strips, "caption": part.caption}


def _render_paragraphs(part: Paragraphs, figures: Figures) -> TemplatePart:
    return {"kind": "words", "sentences": part.sentences}


def _render_table(part: Table, figures: Figures) -> TemplatePart:
    columns = range(max([len(part.head), *map(len, part.rows)], default=0))
    if (
        len(columns) == 2
        and len(part.rows) > MIN_COLUMN_PAIRS
        and all(len(r[-1]) <= MAX_COLUMN_WIDTH for r in part.rows)
    ):
        return {"kind": "facts", "rows": part.rows, "caption": part.caption}
    cells = [[row[i] for row in part.rows if i < len(row) and row[i]] for i in columns]
    numeric = [bool(c) and all(NUMBER.fullmatch(text.strip()) for text in c) for c in cells]
    longest = max((len(text) for column in cells for text in column), default=0)
    return {
        "kind": "rows",
        "head": part.head,
        "rows": part.rows,
        "caption": part.caption,
        "numeric": numeric,
        "full": len(columns) > 2 and longest > MAX_COLUMN_WIDTH,
    }


def _render_lines(part: Lines, figures: Figures) -> TemplatePart:
    return {"kind": "lines", "lines": part.lines, "caption": part.caption}


def _render_statement(statement: Statement) -> TemplatePart:
    return {**statement._asdict(), "words": re.split(r"(\s+)", statement.command)}


def _render_heading(part: Heading, figures: Figures) -> TemplatePart:
    return {"kind": "heading", "text": part.text}


def _render_command(part: Command, figures: Figures) -> TemplatePart:
    # a word of a command stays whole: at its hyphens a browser would end lines
    return {"kind": "command", "words": re.split(r"(\s+)", part.text)}


def _render_map(part: Map, figures: Figures) -> TemplatePart:
    pictures = [{"uri": encode_data_uri(picture), "alt": picture.alt} for picture in part.pictures]
    return {"kind": "map", **lay_out_map(part, pictures)}


_RENDERERS: Mapping[type[Part], Callable[[Any, Figures], TemplatePart]] = {
    Heading: _render_heading,
    Strip: _render_strip,
    Sheet: _render_sheet,
    Paragraphs: _render_paragraphs,
    Table: _render_table,
    Lines: _render_lines,
    Command: _render_command,
    Map: _render_map,
}
