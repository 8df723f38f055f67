"""Fill in masked words: RUN "the [MASK] sat"."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import selfwise.workflows.fill

WORDS = "RUN TEXT"
EXAMPLES = (
    'selfwise fill runs/text "this [MASK] is new"',
    'selfwise fill runs/text "the [MASK] old [MASK] sea"',
)


def load_function() -> Callable[..., Any]:
    """Import the function that is called with the options."""
    from selfwise.workflows.fill import fill

    return fill


def format_result(result: "selfwise.workflows.fill.Filling", options: Mapping[str, object]) -> str:
    """Return the text to print at the end."""
    lines = []
    for title, one in result.list_candidates():
        lines += [title] if title else []
        lines += [f"{chance:6.1%}  {text}" for chance, text in zip(one.probabilities, one.texts)]
    return "\n".join(lines)
