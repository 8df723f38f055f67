"""Make a run of published weights: FAMILY FOLDER|FILE --out RUN."""

from collections.abc import Callable, Mapping
from typing import Any

COMMAND = "import"
WORDS = "FAMILY FOLDER"


def function() -> Callable[..., Any]:
    """What is called with the options."""
    from selfwise.workflows.exchange import import_run

    return import_run


def say(result: Any, options: Mapping[str, Any]) -> str:
    """What is printed at the end."""
    return f"{result.folder} is a run; selfwise embed, probe and pretrain --start take it"
