"""The search before a run: its trials, and the setting that was chosen."""

from collections.abc import Sequence
from pathlib import Path

from selfwise.report.page.parts import Section, Table
from selfwise.runs.tune_messages import describe_search, tabulate_trials
from selfwise.runs.tune_record import read_tune_record


def build_sections(folders: Sequence[Path]) -> list[Section]:
    """Return a section for a single run that had a search.

    Raises ValueError for a tune.json that cannot be read.
    """
    record = read_tune_record(folders[0]) if len(folders) == 1 else None
    if record is None:
        return []
    head, *rows = tabulate_trials(record)
    about = f"{describe_search(record)[0].upper()}{describe_search(record)[1:]}."
    return [Section("Search for a setting", about, [Table(head, rows)])]
