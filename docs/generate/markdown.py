"""Pieces of MyST text."""

import re
from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"([\\*_\[\]<>{}#|$~])")
_URLS = re.compile(r"\b(arXiv:\d{4}\.\d{4,5})\b")


def escape(text: str) -> str:
    """Escape the special characters of plain text; text in backticks stays code."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part.replace("|", r"\|") if part.startswith("`") else _SPECIAL.sub(r"\\\1", part)
        for part in parts
    )


def link_papers(text: str) -> str:
    """Turn the arXiv numbers of a text into links."""
    return _URLS.sub(lambda m: f"[{m[1]}](https://arxiv.org/abs/{m[1][6:]})", text)


def code(text: str) -> str:
    """Format text as code, also inside a table."""
    return f"`{text}`".replace("|", r"\|")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a table whose cells are MyST."""
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    lines += ["| " + " | ".join(cells) + " |" for cells in rows]
    return "\n".join(lines) + "\n"


def fence(text: str, language: str = "text") -> str:
    """Format a block of code."""
    return f"```{language}\n{text.rstrip()}\n```\n"


def toctree(names: Iterable[str], *, depth: int = 1, hidden: bool = False) -> str:
    """Format a list of pages for the navigation."""
    options = [f":maxdepth: {depth}", *([":hidden:"] if hidden else [])]
    return "```{toctree}\n" + "\n".join([*options, "", *names]) + "\n```\n"
