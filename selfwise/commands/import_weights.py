"""Make a run of published weights: FAMILY FOLDER|FILE --out RUN."""

from collections.abc import Callable, Mapping
from typing import Any

COMMAND = "import"
WORDS = "FAMILY FOLDER"


def function() -> Callable[..., Any]:
    """What is called with the options."""
    from selfwise.workflows.import_weights import import_weights

    return import_weights


def say(result: Any, options: Mapping[str, Any]) -> str:
    """What is printed at the end."""
    return f"{result.folder} is a run; selfwise embed, probe and pretrain --start take it"
