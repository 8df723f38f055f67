"""Measure an encoder beside its baselines: RUN --train PATH --test PATH."""

from collections.abc import Callable, Mapping
from typing import Any

from selfwise.commands import HasTable

WORDS = "RUN"
EXAMPLES = (
    "selfwise probe runs/photos --train labelled/train --test labelled/test",
    "selfwise probe runs/text --train reviews.tsv --kind knn",
)


def load_function() -> Callable[..., Any]:
    """Import the function that is called with the options."""
    from selfwise.workflows.probe import probe

    return probe


def format_result(result: HasTable, options: Mapping[str, object]) -> object:
    """Format what is printed at the end."""
    return result.table()
