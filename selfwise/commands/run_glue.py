"""All tasks of GLUE beside baselines, and the submission: RUN --data PATH --out FOLDER."""

from collections.abc import Callable, Mapping
from typing import Any

COMMAND = "glue"
WORDS = "RUN"


def function() -> Callable[..., Any]:
    """What is called with the options."""
    from selfwise.glue.benchmark import run_glue

    return run_glue


def say(result: Any, options: Mapping[str, Any]) -> Any:
    """What is printed at the end."""
    return [result.table(), f"all of it is in {options['out']}"]
