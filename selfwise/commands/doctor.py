"""Versions, devices, threads, and what is missing."""

from collections.abc import Callable, Mapping
from typing import Any

WORDS = ""


def function() -> Callable[..., Any]:
    """What is called with the options."""
    from selfwise.workflows.doctor import describe_machine

    return describe_machine


def say(result: Any, options: Mapping[str, Any]) -> str:
    """What is printed at the end."""
    return str(result)
