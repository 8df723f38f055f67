"""Go on with a run that was stopped, exactly: RUN."""

from collections.abc import Callable, Mapping
from typing import Any

WORDS = "RUN"
PYTHON_ONLY = ("data", "method", "encoder")  # of a run that was given them in Python
SHARED = True  # several processes may do it together


def function() -> Callable[..., Any]:
    """What is called with the options."""
    from selfwise.runs.resume import resume

    return resume


def say(result: Any, options: Mapping[str, Any]) -> str:
    """What is printed at the end."""
    return f"{result.folder} is done"
