"""Measure all GLUE tasks, and write a submission: RUN --data PATH --out FOLDER."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from selfwise.commands import HasTable

if TYPE_CHECKING:
    from selfwise.glue.scores import GlueScores

COMMAND = "glue"
WORDS = "RUN"
EXAMPLES = (
    "selfwise glue runs/text --data glue_data --out glue-frozen",
    "selfwise glue runs/text --data glue_data --out glue-rte --tasks rte --mode finetune",
)


def load_function() -> Callable[..., Any]:
    """Import the function that is called with the options."""
    from selfwise.glue.benchmark import run_glue

    return run_glue


def format_result(result: HasTable, options: Mapping[str, object]) -> object:
    """Return the text to print at the end."""
    return [result.table(), f"Wrote all results to {options['out']}"]


def to_json(result: "GlueScores", options: Mapping[str, object]) -> dict[str, object]:
    """Return the result for `--json`: all scores."""
    return result.to_dict()
