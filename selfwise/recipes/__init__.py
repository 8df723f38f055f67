"""Recipes: one typed function per file, named after the file, for each number that we reproduce."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from selfwise.core.check_arguments import check_arguments
from selfwise.core.errors import did_you_mean
from selfwise.runs.presets.files import describe_presets
from selfwise.workflows.list_names import first_line, format_columns

__all__ = ["find_recipe", "list_recipes", "recipe_names", "run_recipe"]


def recipe_names() -> list[str]:
    """Return the names of all recipes, by file name."""
    return sorted(f.stem for f in Path(__file__).parent.glob("*.py") if f.stem != "__init__")


def find_recipe(name: str) -> Callable[..., object]:
    """Return the function `name` of `recipes/<name>.py`.

    Raises ValueError with the nearest name for an unknown recipe.
    """
    if name not in recipe_names():
        raise ValueError(f"unknown recipe {name!r}{did_you_mean(name, recipe_names())}")
    return getattr(import_module(f"selfwise.recipes.{name}"), name)


def run_recipe(recipe: str, **options: object) -> object:
    """Call a recipe by its name, with its own options.

    Raises ValueError with the nearest name for an unknown recipe.
    """
    return check_arguments(find_recipe(recipe))(**options)


def describe_recipes() -> list[dict[str, str]]:
    """Return the name of each recipe with the result that it should reach, and of each preset."""
    recipes = [(name, first_line(find_recipe(name)), "recipe") for name in recipe_names()]
    presets = [
        (name, f"A preset for --config: {about}.", "preset") for name, about in describe_presets()
    ]
    return [{"name": name, "about": about, "kind": kind} for name, about, kind in recipes + presets]


def list_recipes() -> str:
    """Return a line for each recipe, with the result that it should reach, and for each preset."""
    return format_columns([(row["name"], row["about"]) for row in describe_recipes()])
