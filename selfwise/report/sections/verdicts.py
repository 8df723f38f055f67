"""The first lines of the page: what each run is worth, on each task."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from selfwise.core.errors import shorten_folder_names
from selfwise.report.page.parts import Statement
from selfwise.runs.run_yaml import read_record
from selfwise.workflows.verdict import Level, Verdict, read_verdicts

LEVELS: Mapping[Level, Literal["good", "mixed", "bad", "unknown"]] = {
    "better": "good",
    "mixed": "mixed",
    "no better": "bad",
    "not measured": "unknown",
}


def list_statements(folders: Sequence[Path]) -> list[Statement]:
    """Return a statement for each run and task.

    Raises ValueError for a file among the scores that is not a score.
    """
    return [
        statement
        for name, folder in zip(shorten_folder_names(folders), folders)
        for statement in _list_of_run(folder, name if len(folders) > 1 else "")
    ]


def _list_of_run(folder: Path, name: str) -> list[Statement]:
    verdicts = read_verdicts(folder, read_record(folder).modality)
    return [
        _make_statement(verdict, name, verdict.task if len(verdicts) > 1 else "")
        for verdict in verdicts
    ]


def _make_statement(verdict: Verdict, name: str, task: str) -> Statement:
    head = ", ".join(part for part in (name, task) if part)
    return Statement(verdict.text, LEVELS[verdict.level], head, verdict.basis, verdict.command)
