"""Measure an encoder against its baselines: RUN --train PATH --test PATH."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfwise.evaluation.scores.probe_score import ProbeScore
    from selfwise.evaluation.scores.retrieval_score import RetrievalScore

WORDS = "RUN"
EXAMPLES = (
    "selfwise probe runs/photos --train labelled/train --test labelled/test",
    "selfwise probe runs/text --train reviews.tsv --kind knn",
)


def load_function() -> Callable[..., Any]:
    """Import the function that is called with the options."""
    from selfwise.workflows.probe import probe

    return probe


def format_result(
    result: "ProbeScore | RetrievalScore", options: Mapping[str, object]
) -> list[object]:
    """Return the text to print at the end: the table, and the verdict in one line."""
    from selfwise.runs.run_yaml import read_record
    from selfwise.workflows.verdict import judge_result

    modality = read_record(Path(str(options["run"]))).modality
    return [
        result.table(),
        f"Verdict: {judge_result(result, modality)}",
        f"Features in {result.precision}; "
        + (f"scores saved in {result.path}" if result.path else "the scores are not saved"),
    ]


def to_json(
    result: "ProbeScore | RetrievalScore", options: Mapping[str, object]
) -> dict[str, object]:
    """Return the result for `--json`: the score and the verdict."""
    from selfwise.runs.run_yaml import read_record
    from selfwise.workflows.verdict import judge_result

    modality = read_record(Path(str(options["run"]))).modality
    return {
        **result.to_dict(),
        "verdict": judge_result(result, modality)._asdict(),
        "path": result.path,
        "precision": result.precision,
    }
