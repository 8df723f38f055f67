"""Measure the loss of a language model on held-out text: RUN --data PATH."""

from collections.abc import Callable, Mapping
from typing import Any

WORDS = "RUN"
EXAMPLES = (
    "selfwise perplexity runs/text",
    "selfwise perplexity runs/gpt --data other-documents/",
)


def load_function() -> Callable[..., Any]:
    """Import the function that is called with the options."""
    from selfwise.workflows.perplexity import perplexity

    return perplexity


def format_result(result: dict[str, float], options: Mapping[str, object]) -> str:
    """Return the text to print at the end."""
    from selfwise.workflows.perplexity import describe_perplexity

    return describe_perplexity(result)


def to_json(result: dict[str, float], options: Mapping[str, object]) -> dict[str, float]:
    """Return the result for `--json`: the values by name."""
    return result
