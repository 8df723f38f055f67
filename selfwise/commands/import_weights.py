"""Create a run from published weights: FAMILY FOLDER|FILE --out RUN."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import selfwise.runs.open

COMMAND = "import"
WORDS = "FAMILY FOLDER"
EXAMPLES = (
    "selfwise import bert downloaded/bert --out runs/bert",
    "selfwise import hubert downloaded/hubert --out runs/hubert",
)


def load_function() -> Callable[..., Any]:
    """Import the function that is called with the options."""
    from selfwise.workflows.import_weights import import_weights

    return import_weights


def format_result(result: "selfwise.runs.open.Run", options: Mapping[str, object]) -> str:
    """Return the text to print at the end."""
    run = result.folder
    return f"Imported {run}. Next: selfwise probe {run}, selfwise embed {run} or --init-from {run}"
