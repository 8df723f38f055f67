"""List the recipes, with what each should reach."""

from collections.abc import Callable, Mapping
from typing import Any

COMMAND = "recipes"
WORDS = ""


def function() -> Callable[..., Any]:
    """What is called with the options."""
    from selfwise.recipes import list_recipes

    return list_recipes


def say(result: Any, options: Mapping[str, Any]) -> str:
    """What is printed at the end."""
    return str(result)
