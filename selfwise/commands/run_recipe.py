"""Reproduce a published number: RECIPE."""

from collections.abc import Callable
from typing import Any

COMMAND = "run"
WORDS = "RECIPE"
EXAMPLES = (
    "selfwise run quickstart",
    "selfwise run simclr_cifar10_cpu --data CIFAR-10-images",
)


def load_function() -> Callable[..., Any]:
    """Import the function that is called with the options."""
    from selfwise.recipes import run_recipe

    return run_recipe
