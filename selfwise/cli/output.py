"""What commands print: visible texts, also into a pipe that its reader has closed."""

import os
import select
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from selfwise.core.visible_text import escape_invisible

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

ENDED = 141  # the shell's code for a program that a closed pipe ended


def find_closed_pipes() -> list[int]:
    """Return which of stdout and stderr are pipes whose reader is gone."""
    if not hasattr(select, "poll"):  # Windows
        return []
    poll = select.poll()
    for descriptor in (1, 2):
        poll.register(descriptor, 0)
    return [descriptor for descriptor, event in poll.poll(0) if event & select.POLLERR]


def redirect_to_devnull(descriptors: list[int]) -> None:
    """Discard Python's remaining output at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in descriptors:
        os.dup2(nowhere, descriptor)


def print_visible(part: Any) -> None:
    """Print a text or a table of rich, with escapes for what would steer the terminal."""
    if isinstance(part, str):
        print(escape_invisible(part))
        return
    from rich.console import Console

    Console().print(_Visible(part))


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
