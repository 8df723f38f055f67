"""Recipes: one typed function a file, named like the file, for each number that we reproduce."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from selfwise.core.errors import did_you_mean
from selfwise.workflows.lists import columns, first_line

__all__ = ["find", "list_recipes", "names", "run"]


def names() -> list[str]:
    """The recipes there are, by file name."""
    return sorted(f.stem for f in Path(__file__).parent.glob("*.py") if f.stem != "__init__")


def find(name: str) -> Callable[..., Any]:
    """The function `name` of `recipes/<name>.py`.

    Raises ValueError with the nearest name if there is no such file.
    """
    if name not in names():
        raise ValueError(f"unknown recipe {name!r}{did_you_mean(name, names())}")
    return getattr(import_module(f"selfwise.recipes.{name}"), name)


def run(recipe: str, **options: Any) -> Any:
    """Call a recipe by its name, with its own options.

    Raises ValueError with the nearest name if there is no such recipe.
    """
    return find(recipe)(**options)


def list_recipes() -> str:
    """A line for each recipe: its name, and what it should reach."""
    return columns([(name, first_line(find(name))) for name in names()])
