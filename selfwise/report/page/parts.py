"""The parts of a page. Sections return parts, and the page draws them.

All words are plain text: the page escapes them, so names and labels of files may hold anything.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeVar

from selfwise.core.visible_text import escape_invisible

Mark = Literal["", "right", "wrong"]  # of an answer


class Picture(NamedTuple):
    """An image, or a figure whose colors follow the page's."""

    data: bytes  # of a file in this form; of svg, markup that `figures.picture` made
    form: Literal["png", "jpeg", "svg"]
    alt: str  # description for readers who cannot see it
    caption: str = ""
    mark: Mark = ""
    density: int = 1  # pixels of the file, along a line, for one of the page


class Strip(NamedTuple):
    """Pictures of one size side by side, each above its caption: a line of a sheet."""

    pictures: Sequence[Picture]
    caption: str = ""
    lead: int = 0  # number of pictures at the start that are set apart: the rest belongs to them


class Sheet(NamedTuple):
    """Strips of the same kind, several of them side by side where there is room."""

    strips: Sequence[Strip]
    caption: str = ""


class Paragraphs(NamedTuple):
    """Paragraphs."""

    sentences: Sequence[str]


class Table(NamedTuple):
    """A table. Numbers come as text, already rounded."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


Level = Literal["level1", "level2", "level3", "level4"]  # from a surprise to what was expected
TokenKind = Literal["", "hidden", "right", "wrong", "quiet"] | Level


class Token(NamedTuple):
    """A piece of a line of text, and what happened to it."""

    text: str
    kind: TokenKind = ""
    hint: str = ""  # shown when pointed at, for example what else was likely


class Lines(NamedTuple):
    """Lines of marked text."""

    lines: Sequence[Sequence[Token]]
    caption: str = ""


class Command(NamedTuple):
    """A command to type."""

    text: str


class Map(NamedTuple):
    """Points in a plane; one that is pointed at shows its picture and its name."""

    points: Sequence[tuple[float, float]]  # 0 to 1 in both directions
    groups: Sequence[str]  # of each point, the name of its class; or empty
    names: Sequence[str]  # of each point
    pictures: Sequence[Picture]  # of each point; or empty, where there is only a name
    caption: str = ""


class Statement(NamedTuple):
    """A conclusion at the top of the page, on a run, or on a run and a task."""

    text: str
    level: Literal["good", "mixed", "bad", "unknown"] = "unknown"  # the color of its edge
    head: str = ""  # its subject, if there are several statements
    basis: str = ""  # the evidence for it
    command: str = ""  # to type, if the text calls for one


class Heading(NamedTuple):
    """A heading inside a section, for the parts below it."""

    text: str


Part = Heading | Picture | Strip | Sheet | Paragraphs | Table | Lines | Command | Map
Tree = TypeVar("Tree")  # a part or section, or anything inside one


class Section(NamedTuple):
    """A heading, a sentence that introduces the parts, and the parts."""

    title: str
    about: str
    parts: Sequence[Part]


def escape_all(tree: Tree) -> Tree:
    """Return a part with `escape_invisible` applied to every text in it, at any depth."""
    if isinstance(tree, str):
        return escape_invisible(tree)  # type: ignore[return-value]
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):  # a NamedTuple takes them one by one
        return type(tree)(*map(escape_all, tree))
    if isinstance(tree, list | tuple):
        return type(tree)(map(escape_all, tree))
    return tree
