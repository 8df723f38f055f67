"""Show versions, devices, threads, and missing packages."""

from collections.abc import Callable, Mapping
from typing import Any

WORDS = ""
EXAMPLES = (
    "selfwise doctor",
    "selfwise doctor > machine.txt",
)


def load_function() -> Callable[..., Any]:
    """Import the function that is called with the options."""
    from selfwise.workflows.doctor import describe_machine

    return describe_machine


def format_result(result: str, options: Mapping[str, object]) -> str:
    """Return the text to print at the end."""
    return result


def to_json(result: str, options: Mapping[str, object]) -> dict[str, object]:
    """Return the result for `--json`: the facts about the machine, by name."""
    from selfwise.workflows.doctor import collect_machine

    return collect_machine()
