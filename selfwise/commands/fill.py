"""Fill in what is masked: RUN "the [MASK] sat"."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import selfwise.workflows.fill

WORDS = "RUN TEXT"


def load_function() -> Callable[..., Any]:
    """Import the function that is called with the options."""
    from selfwise.workflows.fill import fill

    return fill


def format_result(result: "selfwise.workflows.fill.Filling", options: Mapping[str, object]) -> str:
    """Format what is printed at the end."""
    several = len(result.gaps) > 1
    titles = [f"gap {number} alone" for number in range(1, len(result.gaps) + 1)]
    shown = (
        zip(["all gaps", *titles], [result.joint, *result.gaps])
        if several
        else [("", result.joint)]
    )
    lines = []
    for title, one in shown:
        lines += [title] if several else []
        lines += [f"{chance:6.1%}  {text}" for chance, text in zip(one.probabilities, one.texts)]
    return "\n".join(lines)
