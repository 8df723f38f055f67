"""Train on clusters of the run before, again and again: METHOD --data PATH --out FOLDER."""

from collections.abc import Callable, Mapping
from typing import Any

WORDS = "METHOD"
SHARED = True  # several processes may do it together


def function() -> Callable[..., Any]:
    """What is called with the options."""
    from selfwise.workflows.iterate import iterate

    return iterate


def say(result: Any, options: Mapping[str, Any]) -> str:
    """What is printed at the end."""
    return f"{result.folder} is done; selfwise show, embed and probe go on from there"
