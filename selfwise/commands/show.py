"""Options, state, metrics and scores of runs: RUN [RUN ...]."""

from collections.abc import Callable, Mapping
from typing import Any

WORDS = "RUN..."


def function() -> Callable[..., Any]:
    """What is called with the options."""
    from selfwise.workflows.describe_runs import show

    return show


def say(result: Any, options: Mapping[str, Any]) -> str:
    """What is printed at the end."""
    return str(result)
