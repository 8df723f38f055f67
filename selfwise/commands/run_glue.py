"""All tasks of GLUE beside baselines, and the submission: RUN --data PATH --out FOLDER."""

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
    """Format what is printed at the end."""
    return [result.table(), f"all of it is in {options['out']}"]


def to_json(result: "GlueScores", options: Mapping[str, object]) -> dict[str, object]:
    """The result for `--json`: all scores."""
    return result.to_dict()
