"""Continue a text: RUN --prompt TEXT."""

from collections.abc import Callable, Mapping
from typing import Any

WORDS = "RUN"
EXAMPLES = (
    'selfwise generate runs/gpt --prompt "The"',
    'selfwise generate runs/gpt --prompt "Once" --temperature 0.8 --top-k 50 --seed 1',
)


def load_function() -> Callable[..., Any]:
    """Import the function that is called with the options."""
    from selfwise.workflows.generate import generate

    return generate


def format_result(result: str, options: Mapping[str, object]) -> str:
    """Return the text to print at the end."""
    return result
