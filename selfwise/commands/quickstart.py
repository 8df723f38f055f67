"""The whole path on an embedded data set, in about two minutes."""

from collections.abc import Callable
from typing import Any

WORDS = ""


def function() -> Callable[..., Any]:
    """What is called with the options."""
    from selfwise.recipes.quickstart import quickstart

    return quickstart
