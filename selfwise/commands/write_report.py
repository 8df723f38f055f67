"""Write a page that shows what runs have learned: RUN [RUN ...]."""

from collections.abc import Callable, Mapping
from typing import Any

COMMAND = "report"
WORDS = "RUN..."


def function() -> Callable[..., Any]:
    """What is called with the options."""
    from selfwise.report.write import write_page

    return write_page


def say(result: Any, options: Mapping[str, Any]) -> str:
    """What is printed at the end."""
    return f"the report is in {result}"
