"""Write a run for other tools: RUN --to hf|timm|onnx|safetensors --out FOLDER."""

from collections.abc import Callable, Mapping
from typing import Any

WORDS = "RUN"


def function() -> Callable[..., Any]:
    """What is called with the options."""
    from selfwise.workflows.export import export_run

    return export_run


def say(result: Any, options: Mapping[str, Any]) -> str:
    """What is printed at the end."""
    return f"{options['out']} holds {options['run']} as {options.get('to', 'hf')}"
