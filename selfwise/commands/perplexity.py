"""The loss of a language model on held-out text: RUN --data PATH."""

from collections.abc import Callable, Mapping
from typing import Any

WORDS = "RUN"


def function() -> Callable[..., Any]:
    """What is called with the options."""
    from selfwise.workflows.perplexity import perplexity

    return perplexity


def say(result: Any, options: Mapping[str, Any]) -> str:
    """What is printed at the end."""
    from selfwise.workflows.perplexity import describe_perplexity

    return describe_perplexity(result)
