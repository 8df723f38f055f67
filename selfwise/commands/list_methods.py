"""List the methods."""

from collections.abc import Callable, Mapping
from typing import Any

COMMAND = "methods"
WORDS = ""
EXAMPLES = (
    "selfwise methods",
    "selfwise methods | grep text",
)


def load_function() -> Callable[..., Any]:
    """Import the function that is called with the options."""
    from selfwise.workflows.list_names import list_methods

    return list_methods


def format_result(result: str, options: Mapping[str, object]) -> str:
    """Return the text to print at the end."""
    return result


def to_json(result: str, options: Mapping[str, object]) -> list[dict[str, str]]:
    """Return the result for `--json`: a list of methods."""
    from selfwise.workflows.list_names import summarize_methods

    return summarize_methods()
