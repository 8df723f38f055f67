"""What runs were told and what they found, where they differ, and how they are made again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfwise.core.errors import shorten_folder_names
from selfwise.report.page.parts import Command, Rows, Section, Words
from selfwise.runs.record import RunRecord, read_record
from selfwise.runs.reproduce import list_changes, reproduce_command
from selfwise.workflows.describe_runs import describe_group, different, spoken

GROUPS = {  # of run.yaml, and what is said of each
    "options": "options",
    "found": "what was found in the data",
    "environment": "versions and hardware",
}


def sections(folders: Sequence[Path]) -> list[Section]:
    """Options, findings and versions of a run, or where those of several differ.

    Args:
        folders: of the runs.

    Raises ValueError for a folder that is no run, or a run of a method that there is not.
    """
    settings = [read_record(folder) for folder in folders]
    told = (
        _alone(settings[0])
        if len(folders) == 1
        else _beside(shorten_folder_names(folders), settings)
    )
    return [*told, _made_again(folders, settings)]


def _alone(settings: RunRecord) -> list[Section]:
    """What is no default comes first: that is what the run is about."""
    changes = list_changes(settings)
    rows = [
        [_typed(name), spoken(one.value), "" if one.default is None else spoken(one.default)]
        for name, one in changes.items()
    ]
    parts = [Rows(["option", "is", "by default"], rows, "Options that are no defaults")]
    options = describe_group(settings, "options")
    rest = [[_typed(n), text] for n, text in options.items() if n not in changes]
    about = "Of what is not listed here, nothing was given, and it is decided by the others."
    parts += [Rows(["option", "is"], rest, "Options at their defaults, or chosen by the machine")]
    found = [Section("Options", about, parts)]
    tables = [_table(settings, group) for group in ("found", "environment")]
    if shown := [table for table in tables if table.rows]:
        about = (
            "On the CPU, the same of all this and the same options give the same weights, bitwise."
        )
        found.append(Section("Data and versions", about, shown))
    return found


def _table(settings: RunRecord, group: str) -> Rows:
    told = describe_group(settings, group)
    return Rows([], [[_words(name), text] for name, text in told.items()], _capital(GROUPS[group]))


def _beside(names: Sequence[str], settings: Sequence[RunRecord]) -> list[Section]:
    """First where the runs differ, a column for each; then what they share."""
    differ, same = [], []
    for group, title in GROUPS.items():
        values = [describe_group(one, group) for one in settings]
        values = [{**_method(s, group), **v} for s, v in zip(settings, values)]
        other = different(values)
        spell = _typed if group == "options" else _words
        rows = [[spell(n), *(one[n] for one in other)] for n in other[0]]
        if rows:
            differ.append(Rows(["", *names], rows, _capital(title)))
        shared = [[spell(n), text] for n, text in values[0].items() if n not in other[0]]
        if shared:
            same.append(Rows([], shared, _capital(title)))
    told = "" if differ else "Nothing differs: options, data, versions and hardware are the same."
    found = [Section("What differs", told, differ)]
    return [*found, *([Section("What is the same in all", "", same)] if same else [])]


def _method(settings: RunRecord, group: str) -> dict[str, str]:
    """The method's name stands among the options, where it belongs for a reader."""
    return {"method": settings.method} if group == "options" else {}


def _made_again(folders: Sequence[Path], settings: Sequence[RunRecord]) -> Section:
    """The command of each run; into a folder of another name, since nothing is written over."""
    several, parts = len(folders) > 1, list[Any]()
    for name, folder, one in zip(shorten_folder_names(folders), folders, settings):
        makes = reproduce_command(one, out=f"{folder}-again")
        said = [*([f"{name}:"] if several else []), *makes.notes]
        parts += [*([Words(said)] if said else []), Command(makes.command)]
    what = "each run" if several else "the run"
    about = f"This makes {what} again, in a new folder; bitwise so on the same CPU with the same "
    return Section("To make it again", f"{about}data and versions.", parts)


def _typed(name: str) -> str:
    """As on the command line: --save-every of save_every."""
    front, dot, inner = name.partition(".")
    return f"{front.replace('_', '-')}{dot}{inner}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
