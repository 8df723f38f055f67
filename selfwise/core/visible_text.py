r"""Texts from data, such as names of files and classes, as a terminal or a page may show them.

A name may hold an escape sequence that moves the cursor, sets the title of the window or hides a
line, or a control for the direction of writing that makes a name look like another one. Both are
shown as escapes: \x1b, \u202e.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

# What no HTML or XML may hold: control characters but tab and line end, halves of characters, and
# the bytes of names of files that are not UTF-8, which Python keeps as such halves (PEP 383). Then
# the controls of bidirectional text (Unicode Standard Annex 9, section 2).
INVISIBLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff"
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


def escape_invisible(text: str) -> str:
    r"""Return the text with an escape such as \x1b for each character that must not be shown."""
    return INVISIBLE.sub(_escape, text)


def escape_line(text: str) -> str:
    """Return the text as one line, with an escape for a line end too."""
    return escape_invisible(text.replace("\n", "\\n"))


def escape_markup(text: str) -> str:
    """Return the text for rich, which reads brackets in it as they are and not as styles."""
    from rich.markup import escape

    return escape(escape_invisible(text))


def print_visible(part: Any, *, width: int | None = None) -> None:
    """Print a text or a table of rich, with escapes for what would steer the terminal.

    Args:
        part: a text, or a table.
        width: characters of a line of a table, by default those of the terminal.
    """
    if isinstance(part, str):
        print(escape_invisible(part))
        return
    from rich.console import Console

    Console(width=width).print(_Visible(part))


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"  # the byte itself
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


class _Visible:
    """A table whose texts are escaped after rich has read its own styles."""

    def __init__(self, part: "RenderableType"):
        self.part = part

    def __rich_console__(
        self, console: "Console", options: "ConsoleOptions"
    ) -> "Iterator[Segment]":
        from rich.segment import Segment

        for text, style, control in console.render(self.part, options):
            yield Segment(text if control else escape_invisible(text), style, control)
