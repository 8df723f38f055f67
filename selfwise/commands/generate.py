"""Go on with a text: RUN --prompt TEXT."""

from collections.abc import Callable, Mapping
from typing import Any

WORDS = "RUN"


def function() -> Callable[..., Any]:
    """What is called with the options."""
    from selfwise.workflows.generate import generate

    return generate


def say(result: Any, options: Mapping[str, Any]) -> str:
    """What is printed at the end."""
    return str(result)
