"""List the methods."""

from collections.abc import Callable, Mapping
from typing import Any

COMMAND = "methods"
WORDS = ""


def function() -> Callable[..., Any]:
    """What is called with the options."""
    from selfwise.workflows.lists import list_methods

    return list_methods


def say(result: Any, options: Mapping[str, Any]) -> str:
    """What is printed at the end."""
    return str(result)
