"""Facts on runs as plain data, for programs that read `selfwise show --json`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from selfwise.workflows.describe_runs import describe_progress, find_folders

if TYPE_CHECKING:
    from selfwise.runs.run_yaml import RunRecord


def collect_runs(runs: Sequence[str | Path] | str | Path) -> list[dict[str, object]]:
    """Return options, state, last metrics, scores and verdicts of each run.

    Raises ValueError for a folder that is not a run, or for one given twice.
    """
    from selfwise.runs.run_yaml import read_record

    return [_collect_run(folder, read_record(folder)) for folder in find_folders(runs, verb="show")]


def _collect_run(folder: Path, record: "RunRecord") -> dict[str, object]:
    from selfwise.runs import logs_and_scores
    from selfwise.workflows.verdict import read_verdicts

    step, notes = describe_progress(folder, record)
    newest = logs_and_scores.read_metrics(folder).newest
    return {
        "run": str(folder),
        "method": record.method,
        "modality": record.modality,
        "step": step,
        "steps": record.steps,
        "notes": notes,
        "metrics": {name: {"step": at, "value": value} for name, (at, value) in newest.items()},
        "scores": logs_and_scores.read_scores(folder),
        "verdicts": [verdict._asdict() for verdict in read_verdicts(folder, record.modality)],
        "options": dict(record.options),
        "data_info": record.info.model_dump(),
        "environment": dict(record.environment),
    }
