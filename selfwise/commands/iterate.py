"""Train in iterations on clusters of the previous run: METHOD --data PATH --out FOLDER."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import selfwise.runs.open

WORDS = "METHOD"
SHARED = True  # several processes may do it together
EXAMPLES = (
    "selfwise iterate hubert --data recordings/ --out runs/speech --minutes 60",
    "selfwise iterate beit --data photos/ --out runs/photos --iterations 2 --epochs 100",
)


def load_function() -> Callable[..., Any]:
    """Import the function that is called with the options."""
    from selfwise.workflows.iterate import iterate

    return iterate


def format_result(result: "selfwise.runs.open.Run", options: Mapping[str, object]) -> str:
    """Return the text to print at the end."""
    if options.get("quiet"):
        return ""
    run = result.folder
    return (
        f"Finished {run}. Next: selfwise probe {run}, selfwise embed {run} or selfwise report {run}"
    )
