"""Options of runs and facts about their data, where runs differ, and how to reproduce them."""

from collections.abc import Sequence
from pathlib import Path

from selfwise.core.errors import shorten_folder_names
from selfwise.report.page.parts import Command, Paragraphs, Part, Section, Table
from selfwise.report.page.quantities import capitalize_first
from selfwise.runs.reproduce import format_reproduce_command, list_changes
from selfwise.runs.run_yaml import RunRecord, read_record
from selfwise.workflows.describe_runs import describe_group, find_differences, format_value

GROUPS = {  # parts of run.yaml, and their titles
    "options": "options",
    "found": "facts on the data",
    "environment": "versions and hardware",
}


def build_sections(folders: Sequence[Path]) -> list[Section]:
    """Options, facts about the data, and versions of a run, or where those of several runs differ.

    Args:
        folders: of the runs.

    Raises ValueError for a folder that is not a run, or a run of an unknown method.
    """
    run_records = [read_record(folder) for folder in folders]
    if len(folders) == 1:
        options = _list_options(run_records[0])
    else:
        options = _compare_options(shorten_folder_names(folders), run_records)
    return [*options, _build_reproduce_section(folders, run_records)]


def _list_options(record: RunRecord) -> list[Section]:
    """Options that differ from their defaults come first: they are what the run is about."""
    changes = list_changes(record)
    changed_rows = [
        [
            _format_option(name),
            format_value(change.value),
            "" if change.default is None else format_value(change.default),
        ]
        for name, change in changes.items()
    ]
    default_rows = [
        [_format_option(name), text]
        for name, text in describe_group(record, "options").items()
        if name not in changes
    ]
    about = "These are all options of the run; they determine the rest."
    parts = [
        Table(
            ["option", "value", "by default"],
            changed_rows,
            "Options that differ from their defaults",
        ),
        Table(
            ["option", "value"], default_rows, "Options at their defaults, or chosen by the machine"
        ),
    ]
    options = Section("Options", about, parts)
    tables = [_tabulate_group(record, group) for group in ("found", "environment")]
    tables = [table for table in tables if table.rows]
    if not tables:
        return [options]
    about = "On the CPU, equal data, versions, hardware and options give the same weights, bitwise."
    return [options, Section("Data and versions", about, tables)]


def _tabulate_group(record: RunRecord, group: str) -> Table:
    values = describe_group(record, group)
    rows = [[_format_name(name), text] for name, text in values.items()]
    return Table([], rows, capitalize_first(GROUPS[group]))


def _compare_options(names: Sequence[str], run_records: Sequence[RunRecord]) -> list[Section]:
    """First where the runs differ, a column for each; then what they share."""
    differing_tables, shared_tables = [], []
    for group, title in GROUPS.items():
        values = [
            {**_method_row(record, group), **describe_group(record, group)}
            for record in run_records
        ]
        differing = find_differences(values)
        format_name = _format_option if group == "options" else _format_name
        rows = [
            [format_name(name), *(column[name] for column in differing)] for name in differing[0]
        ]
        if rows:
            differing_tables.append(Table(["", *names], rows, capitalize_first(title)))
        shared = [
            [format_name(name), text]
            for name, text in values[0].items()
            if name not in differing[0]
        ]
        if shared:
            shared_tables.append(Table([], shared, capitalize_first(title)))
    nothing = "Nothing differs: options, data, versions and hardware are equal."
    sections = [Section("What differs", "" if differing_tables else nothing, differing_tables)]
    if shared_tables:
        sections.append(Section("What all runs share", "", shared_tables))
    return sections


def _method_row(record: RunRecord, group: str) -> dict[str, str]:
    """Return the method's name as a row of the options, where a reader looks for it."""
    return {"method": record.method} if group == "options" else {}


def _build_reproduce_section(folders: Sequence[Path], run_records: Sequence[RunRecord]) -> Section:
    """Return the command of each run. It writes into a new folder, since no command overwrites a
    run."""
    several = len(folders) > 1
    parts: list[Part] = []
    for name, folder, record in zip(shorten_folder_names(folders), folders, run_records):
        reproduction = format_reproduce_command(record, out=f"{folder}-again", folder=folder)
        sentences = [*([f"{name}:"] if several else []), *reproduction.notes]
        parts += [*([Paragraphs(sentences)] if sentences else []), Command(reproduction.command)]
    what = "each run" if several else "the run"
    about = f"This reproduces {what} in a new folder, bitwise on the same CPU with equal "
    return Section("To reproduce it", f"{about}data and versions.", parts)


def _format_option(name: str) -> str:
    """As on the command line: --save-every of save_every."""
    front, dot, inner = name.partition(".")
    return f"{front.replace('_', '-')}{dot}{inner}"


def _format_name(name: str) -> str:
    return name.replace("_", " ")
