"""Show options, state, metrics and scores of runs: RUN [RUN ...]."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

WORDS = "RUN..."
EXAMPLES = (
    "selfwise show runs/photos",
    "selfwise show runs/first runs/second",
)


def load_function() -> Callable[..., Any]:
    """Import the function that is called with the options."""
    from selfwise.workflows.describe_runs import show

    return show


def format_result(result: str, options: Mapping[str, object]) -> str:
    """Return the text to print at the end."""
    return result


def to_json(result: str, options: Mapping[str, object]) -> list[dict[str, object]]:
    """Return the result for `--json`: facts about each run."""
    from selfwise.workflows.run_facts import collect_runs

    runs = options["runs"]
    assert isinstance(runs, list), "the command line collects folders in a list"
    return collect_runs([Path(str(run)) for run in runs])
