"""Write the vectors of a folder: RUN --data PATH --out FILE.parquet|.npz."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import selfwise.workflows.embed

WORDS = "RUN"
REQUIRED = ("out",)  # Python callers may want only the vectors
SHARED = True  # several processes may do it together
EXAMPLES = (
    "selfwise embed runs/photos --data photos/ --out photos.parquet",
    "selfwise embed runs/text --data reviews.tsv --out reviews.npz --layer -2",
)


def load_function() -> Callable[..., Any]:
    """Import the function that is called with the options."""
    from selfwise.workflows.embed import embed

    return embed


def format_result(result: "selfwise.workflows.embed.Table", options: Mapping[str, object]) -> str:
    """Return the text to print at the end."""
    n, d = result.vectors.shape
    precision = options.get("precision", "float32")
    return f"Wrote {n:,} vectors of width {d}, computed in {precision}, to {options['out']}"
