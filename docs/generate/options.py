"""Tables of options, from the config classes that the help reads too."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pydantic.fields import FieldInfo

from docs.generate.markdown import code, escape, table
from selfwise.cli.help import TITLES, describe_value
from selfwise.core.config_class import (
    Config,
    find_field,
    format_flag,
    list_option_paths,
    list_sections,
)
from selfwise.core.option_types import describe_bounds, get_hint, list_choices

KINDS = {
    "INT": "whole number",
    "FLOAT": "number",
    "PATH": "path",
    "TEXT": "text",
    "yes|no": "switch",
}
HEADS = ("option", "values", "default", "meaning")


class Option(NamedTuple):
    """One option of a command, as its table shows it."""

    group: str
    name: str
    field: FieldInfo

    def cells(self) -> tuple[str, str, str, str]:
        """Return the cells of a row, as MyST."""
        about = " ".join((self.field.description or "").split())
        return (
            code(format_flag(self.name)),
            describe_values(self.field),
            describe_default(self.field),
            escape(about),
        )


def list_options(kinds: Sequence[type[Config]]) -> list[Option]:
    """Return the options of config classes in order; of two with one name, the first."""
    options: dict[str, Option] = {}
    for kind in kinds:
        sections = list_sections(kind)
        for name, path in list_option_paths(kind).items():
            title = TITLES.get(path[0] if path[0] in sections else "", "run")
            options.setdefault(name, Option(title, name, find_field(kind, path)))
    return list(options.values())


def describe_values(field: FieldInfo) -> str:
    """Describe the values of an option: its words, or its kind and its range."""
    hint = get_hint(field)
    if choices := list_choices(hint):
        return ", ".join(code(str(choice)) for choice in choices)
    kind = describe_value(field)
    word = next((word for start, word in KINDS.items() if kind.startswith(start)), kind.lower())
    word += "s, separated by commas" if kind.endswith(",...") else ""
    return ", ".join(part for part in (word, describe_bounds(hint)) if part)


def describe_default(field: FieldInfo) -> str:
    """Format the default of an option; empty where its meaning explains the choice."""
    if field.is_required():
        return "**required**"
    if isinstance(field.default, bool):
        return "yes" if field.default else "no"
    return "" if field.default in (None, "") else code(str(field.default))


def make_option_tables(options: Iterable[Option], *, level: int) -> str:
    """Format one table for each group, below a heading of this level if there are several."""
    groups: dict[str, list[Option]] = {}
    for option in options:
        groups.setdefault(option.group, []).append(option)
    tables = {g: table(HEADS, [o.cells() for o in members]) for g, members in groups.items()}
    if len(tables) == 1:  # the heading above says enough
        return "".join(tables.values())
    return "\n".join(
        f"{'#' * level} {group[0].upper()}{group[1:]}\n\n{text}" for group, text in tables.items()
    )
