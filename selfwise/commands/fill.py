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
