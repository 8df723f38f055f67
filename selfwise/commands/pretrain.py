"""Train an encoder: METHOD --data PATH --out RUN."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import selfwise.runs.open

WORDS = "METHOD"
SHARED = True  # several processes may do it together
EXAMPLES = (
    "selfwise pretrain simclr --data photos/ --out runs/photos --epochs 200",
    "selfwise pretrain bert --data documents/ --out runs/text --minutes 30",
)


def load_function() -> Callable[..., Any]:
    """Import the function that is called with the options."""
    from selfwise.runs.create import pretrain

    return pretrain


def format_result(result: "selfwise.runs.open.Run", options: Mapping[str, object]) -> str:
    """Return the text to print at the end."""
    if options.get("quiet"):
        return ""
    run = result.folder
    return (
        f"Finished {run}. Next: selfwise probe {run}, selfwise embed {run} or selfwise report {run}"
    )
