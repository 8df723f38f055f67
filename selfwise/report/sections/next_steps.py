"""The end of the page: what to do next, with the commands."""

from collections.abc import Sequence
from pathlib import Path

from selfwise.core.errors import shorten_folder_names
from selfwise.report.page.parts import Command, Heading, Paragraphs, Part, Section
from selfwise.workflows.next_steps import NextStep, list_next_steps

TITLE = "What to do next"
MAX_OF_SEVERAL = 2  # shown of each of several runs


def build_sections(folders: Sequence[Path]) -> list[Section]:
    """List what to do next with each run, the most urgent first; nothing if no rule applies."""
    names = shorten_folder_names(folders)
    if len(folders) == 1:
        parts = _list_parts(list_next_steps(folders[0]))
    else:
        parts = [
            part
            for name, folder in zip(names, folders)
            for part in _list_parts(list_next_steps(folder)[:MAX_OF_SEVERAL], Heading(name))
        ]
    about = "The most urgent first, by the rules of docs/choosing.md."
    return [Section(TITLE, about, parts)] if parts else []


def _list_parts(steps: Sequence[NextStep], *headings: Heading) -> list[Part]:
    """Return the steps with their commands; below the heading, where there are any."""
    parts: list[Part] = list(headings) if steps else []
    for step in steps:
        parts.append(Paragraphs([step.text]))
        parts += [Command(step.command)] if step.command else []
    return parts
