"""List the recipes, with the result that each should reach."""

from collections.abc import Callable, Mapping
from typing import Any

COMMAND = "recipes"
WORDS = ""
EXAMPLES = (
    "selfwise recipes",
    "selfwise recipes | grep cifar10",
)


def load_function() -> Callable[..., Any]:
    """Import the function that is called with the options."""
    from selfwise.recipes import list_recipes

    return list_recipes


def format_result(result: str, options: Mapping[str, object]) -> str:
    """Return the text to print at the end."""
    return result


def to_json(result: str, options: Mapping[str, object]) -> list[dict[str, str]]:
    """Return the result for `--json`: a list of recipes."""
    from selfwise.recipes import describe_recipes

    return describe_recipes()
