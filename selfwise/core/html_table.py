"""Tables for notebooks."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def write_html_table(
    rows: Iterable[Sequence[str]],
    *,
    head: Sequence[str] = (),
    caption: str = "",
    notes: Sequence[str] = (),
) -> str:
    """Return HTML of a table whose rows begin with a heading, with `notes` as paragraphs below it.

    All texts are escaped.
    """
    lines = ["<table>"]
    if caption:
        lines.append(f"<caption>{escape(caption)}</caption>")
    if head:
        lines.append("<tr>" + "".join(f"<th>{escape(text)}</th>" for text in head) + "</tr>")
    for first, *others in rows:
        cells = "".join(f"<td>{escape(text)}</td>" for text in others)
        lines.append(f"<tr><th>{escape(first)}</th>{cells}</tr>")
    return "\n".join([*lines, "</table>", *(f"<p>{escape(note)}</p>" for note in notes)])


def convert_rich_table(table: "Table", notes: Sequence[str] = ()) -> str:
    """Return HTML of a terminal table, with `notes` in place of its caption."""
    rows = zip(*([str(cell) for cell in column.cells] for column in table.columns))
    head = [str(column.header) for column in table.columns]
    return write_html_table(rows, head=head, caption=str(table.title or ""), notes=notes)
