"""Measure an encoder beside its baselines: RUN --train PATH --test PATH."""

from collections.abc import Callable, Mapping
from typing import Any

WORDS = "RUN"


def function() -> Callable[..., Any]:
    """What is called with the options."""
    from selfwise.workflows.probe import probe

    return probe


def say(result: Any, options: Mapping[str, Any]) -> Any:
    """What is printed at the end."""
    return result.table()
