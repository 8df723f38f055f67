"""Fill in what is masked: RUN "the [MASK] sat"."""

from collections.abc import Callable, Mapping
from typing import Any

WORDS = "RUN TEXT"


def function() -> Callable[..., Any]:
    """What is called with the options."""
    from selfwise.workflows.fill import fill

    return fill


def say(result: Any, options: Mapping[str, Any]) -> str:
    """What is printed at the end."""
    lines = []
    for title, one in result.list_candidates():
        lines += [title] if title else []
        lines += [f"{chance:6.1%}  {text}" for chance, text in zip(one.probabilities, one.texts)]
    return "\n".join(lines)
