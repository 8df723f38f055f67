"""Measure the speed of training and what limits it: METHOD --data PATH."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import selfwise.workflows.bench

WORDS = "METHOD"
EXAMPLES = (
    "selfwise bench simclr --data photos/",
    "selfwise bench bert --data documents/ --encoder bert-mini --out speed.json",
)


def load_function() -> Callable[..., Any]:
    """Import the function that is called with the options."""
    from selfwise.workflows.bench import bench

    return bench


def format_result(result: "selfwise.workflows.bench.Report", options: Mapping[str, object]) -> str:
    """Return the text to print at the end."""
    return str(result.text())


def to_json(
    result: "selfwise.workflows.bench.Report", options: Mapping[str, object]
) -> dict[str, object]:
    """Return the result for `--json`: the numbers and the advice."""
    return dict(result.to_dict())
