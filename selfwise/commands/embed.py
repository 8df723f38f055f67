"""Write the vectors of a folder: RUN --data PATH --out FILE.parquet|.npz."""

from collections.abc import Callable, Mapping
from typing import Any

WORDS = "RUN"
REQUIRED = ("out",)  # in Python the vectors may be all that is wanted
SHARED = True  # several processes may do it together


def function() -> Callable[..., Any]:
    """What is called with the options."""
    from selfwise.workflows.embed import embed

    return embed


def say(result: Any, options: Mapping[str, Any]) -> str:
    """What is printed at the end."""
    n, d = result.vectors.shape
    return f"{n} vectors of width {d} are in {options['out']}"
