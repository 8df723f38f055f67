"""How fast a method trains here, how near the limit, and what to change: METHOD --data PATH."""

from collections.abc import Callable, Mapping
from typing import Any

WORDS = "METHOD"


def function() -> Callable[..., Any]:
    """What is called with the options."""
    from selfwise.workflows.bench import bench

    return bench


def say(result: Any, options: Mapping[str, Any]) -> str:
    """What is printed at the end."""
    return str(result.text())
