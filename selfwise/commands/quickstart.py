"""Pretrain and probe on an embedded data set, in about two minutes."""

from collections.abc import Callable
from typing import Any

WORDS = ""
EXAMPLES = (
    "selfwise quickstart",
    "selfwise quickstart --out runs/digits --seeds 1",
)


def load_function() -> Callable[..., Any]:
    """Import the function that is called with the options."""
    from selfwise.recipes.quickstart import quickstart

    return quickstart
