"""Write a page that shows what encoders have learned: RUN [RUN ...]."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

COMMAND = "report"
WORDS = "RUN..."
EXAMPLES = (
    "selfwise report runs/photos",
    "selfwise report runs/first runs/second --out both.html",
)


def load_function() -> Callable[..., Any]:
    """Import the function that is called with the options."""
    from selfwise.report.write import write_page

    return write_page


def format_result(result: Path, options: Mapping[str, object]) -> str:
    """Return the text to print at the end."""
    return f"Wrote the report to {result}"
