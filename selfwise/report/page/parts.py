"""What a page is made of. Whoever has something to show returns these; the page draws them.

All words are plain text: the page escapes them, so names and labels of files may hold anything.
"""

import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

# what no HTML or XML may hold: control characters but tab and line end, halves of characters, and
# the bytes of names of files that are no UTF-8, which Python keeps as such halves (PEP 383)
UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Picture(NamedTuple):
    """An image, or a figure whose colours follow the page's."""

    data: bytes  # of a file in this form; of svg, markup that `figures.picture` made
    form: Literal["png", "jpeg", "svg"]
    alt: str  # what is seen, for those who do not see it
    caption: str = ""
    mark: Literal["", "right", "wrong"] = ""  # of an answer
    density: int = 1  # pixels of the file, along a line, for one of the page


class Strip(NamedTuple):
    """Pictures of one size side by side, each above its caption: a line of a sheet."""

    pictures: Sequence[Picture]
    caption: str = ""
    lead: int = 0  # so many at the beginning stand apart: what the others belong to


class Sheet(NamedTuple):
    """Strips of the same kind, several of them side by side where there is room."""

    strips: Sequence[Strip]
    caption: str = ""


class Words(NamedTuple):
    """Paragraphs."""

    sentences: Sequence[str]


class Rows(NamedTuple):
    """A table. Numbers come as text, already rounded."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


Level = Literal["level1", "level2", "level3", "level4"]  # from a surprise to what was expected


class Token(NamedTuple):
    """A piece of a line of text, and what happened to it."""

    text: str
    kind: Literal["", "hidden", "right", "wrong", "quiet"] | Level = ""
    hint: str = ""  # shown when pointed at, for example what else was likely


class Lines(NamedTuple):
    """Lines of marked text."""

    lines: Sequence[Sequence[Token]]
    caption: str = ""


class Command(NamedTuple):
    """Something to type."""

    text: str


class Map(NamedTuple):
    """Points in a plane; one that is pointed at shows its picture and its name."""

    points: Sequence[tuple[float, float]]  # 0 to 1 in both directions
    groups: Sequence[str]  # of each point, the name of its class; or empty
    names: Sequence[str]  # of each point
    pictures: Sequence[Picture]  # of each point; or empty, where there is only a name
    caption: str = ""


class Section(NamedTuple):
    """A heading, a sentence that says what is to be seen, and what there is to see."""

    title: str
    about: str
    parts: Sequence[Any]  # of the classes above


def visible(text: str) -> str:
    r"""The text with an escape such as \x00 for each character that is none of a page."""
    return UNSEEN.sub(_escape, text)


def legible(part: Any) -> Any:
    """A part with all its words made visible, and those of the parts in it."""
    if isinstance(part, str):
        return visible(part)
    if isinstance(part, tuple) and hasattr(part, "_fields"):  # a NamedTuple takes them one by one
        return type(part)(*map(legible, part))
    if isinstance(part, list | tuple):
        return type(part)(map(legible, part))
    return part


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"  # the byte itself
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
