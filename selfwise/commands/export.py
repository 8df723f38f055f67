"""Export a run for other tools: RUN --to hf|timm|onnx|safetensors|word2vec --out FOLDER."""

from collections.abc import Callable, Mapping
from typing import Any

WORDS = "RUN"
EXAMPLES = (
    "selfwise export runs/text --to hf --out text-hf",
    "selfwise export runs/photos --to onnx --out photos-onnx",
)


def load_function() -> Callable[..., Any]:
    """Import the function that is called with the options."""
    from selfwise.workflows.export import export_run

    return export_run


def format_result(result: None, options: Mapping[str, object]) -> str:
    """Return the text to print at the end."""
    return f"Wrote {options['run']} as {options.get('to', 'hf')} to {options['out']}"
