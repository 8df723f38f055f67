"""Resume a stopped run exactly: RUN."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import selfwise.runs.open

WORDS = "RUN"
PYTHON_ONLY = ("method", "encoder")  # for a run that got them in Python
SHARED = True  # several processes may do it together
EXAMPLES = (
    "selfwise resume runs/photos",
    "selfwise resume runs/photos --quiet",
)


def load_function() -> Callable[..., Any]:
    """Import the function that is called with the options."""
    from selfwise.runs.resume import resume

    return resume


def format_result(result: "selfwise.runs.open.Run", options: Mapping[str, object]) -> str:
    """Return the text to print at the end."""
    if options.get("quiet"):
        return ""
    run = result.folder
    return (
        f"Finished {run}. Next: selfwise probe {run}, selfwise embed {run} or selfwise report {run}"
    )
