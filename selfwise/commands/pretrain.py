"""Train an encoder: METHOD --data PATH --out RUN."""

from collections.abc import Callable, Mapping
from typing import Any

WORDS = "METHOD"
SHARED = True  # several processes may do it together


def function() -> Callable[..., Any]:
    """What is called with the options."""
    from selfwise.runs.create import pretrain

    return pretrain


def say(result: Any, options: Mapping[str, Any]) -> str:
    """What is printed at the end."""
    return f"{result.folder} is done; selfwise show, embed and probe go on from there"
