"""Lists of methods and recipes as text."""

from collections.abc import Mapping, Sequence
from textwrap import wrap

from selfwise import methods

# headings of the table of methods, and the widths of its columns; 100 characters with the spaces
HEAD = {"method": 16, "data": 5, "predicts": 20, "from": 18, "loss": 15, "paper": 16}


def list_methods() -> str:
    """Return a table with a row for each method: task, loss, and paper."""
    rows = [dict(zip(HEAD, HEAD)), *summarize_methods()]
    return "\n".join(line for row in rows for line in _wrap_row(row))


def summarize_methods() -> list[dict[str, str]]:
    """Return a row for each method, with the columns of `HEAD`; outside methods may lack some."""
    rows = []
    for name in methods.method_names():
        kind = methods.find_method(name)
        row = {"method": name, "data": kind.modality}
        if kind.summary is None:
            rows.append(row | {"predicts": first_line(kind), "from": "", "loss": "", "paper": ""})
        else:
            rows.append(row | dict(zip(("predicts", "from", "loss", "paper"), kind.summary)))
    return rows


def _wrap_row(row: Mapping[str, str]) -> list[str]:
    """Return the lines of one row, each column as wide as `HEAD` sets."""
    columns = [
        wrap(row[name], width, break_on_hyphens=False) or [""] for name, width in HEAD.items()
    ]
    height = max(map(len, columns))
    lines = [
        "  ".join(
            (column[i] if i < len(column) else "").ljust(width)
            for column, width in zip(columns, HEAD.values())
        )
        for i in range(height)
    ]
    return [line.rstrip() for line in lines]


def first_line(documented: object) -> str:
    """Return the first line of a docstring."""
    return (documented.__doc__ or "").strip().splitlines()[0]


def format_columns(rows: Sequence[tuple[str, str]]) -> str:
    """Return names and their descriptions, one per line."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}} {text}" for name, text in rows)
