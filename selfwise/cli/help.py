"""Text of `--help`: options in groups, with their ranges and defaults."""

import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import fill
from typing import Union, get_args, get_origin

from pydantic.fields import FieldInfo

from selfwise.core.config_class import (
    Config,
    find_field,
    format_flag,
    list_option_paths,
    list_sections,
)
from selfwise.core.option_types import find_bounds, get_hint, list_choices

WIDTH, INDENT = 80, 24
TITLES = {
    "": "run",
    "method_options": "method",
    "needs_options": "targets",
    "training": "optimization",
    "tuning": "optimization",
    "reading": "data",
    "encoder_options": "encoder",
}
# options of training that concern the machine, files and logs
RUN_OPTIONS = frozenset(
    [
        "precision",
        "compile",
        "device",
        "devices",
        "cpu_threads",
        "num_workers",
        "log_every",
        "save_every",
        "keep_last",
        "keep_best",
        "knn_every",
        "monitor_every",
        "logger",
        "logger_project",
    ]
)
DATA_OPTIONS = frozenset(["data", "train", "test", "text_column", "label_column", "skip_broken"])
ORDER = ("data", "method", "targets", "encoder", "optimization", "run")
_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_KINDS = {int: "INT", float: "FLOAT", Path: "PATH", bool: "yes|no"}


def format_help(
    usage: str,
    about: str,
    kinds: Sequence[type[Config]],
    more: str = "",
    examples: Sequence[str] = (),
) -> str:
    """Return the help of a command: usage, description, its options in groups, and examples.

    `more` are lines on options that no config class has, at the end of the group `run`.
    """
    parts = [f"usage: selfwise {usage} [options]", fill(about, WIDTH)]
    groups: dict[str, list[str]] = {}
    seen: set[str] = set()
    for kind in kinds:
        for name, path in list_option_paths(kind).items():
            if name in seen:
                continue
            seen.add(name)
            section = path[0] if path[0] in list_sections(kind) else ""
            groups.setdefault(_find_group(name, section), []).append(
                _option(name, find_field(kind, path))
            )
    parts += [f"{title}:\n" + "\n".join(groups[title]) for title in ORDER if title in groups]
    if more:
        parts[-1] += "\n" + more.rstrip("\n")
    if examples:
        parts.append("examples:\n" + "\n".join(f"  {line}" for line in examples))
    return "\n\n".join(parts)


def _find_group(name: str, section: str) -> str:
    """Return the heading under which an option is listed."""
    if name in RUN_OPTIONS:
        return "run"
    return "data" if name in DATA_OPTIONS else TITLES.get(section, "run")


def _option(name: str, field: FieldInfo) -> str:
    """Return one option in two columns."""
    head = f"  {format_flag(name)} {describe_value(field)}".rstrip()
    text = " ".join((field.description or "").split())
    if field.is_required():
        text = f"{text} (required)"
    elif field.default not in (None, "", False):
        text = f"{text} (default: {field.default})"
    margin = " " * INDENT
    body = fill(text.strip(), WIDTH, initial_indent=margin, subsequent_indent=margin)
    if len(head) < INDENT - 1 and body:
        return head + body[len(head) :]
    return f"{head}\n{body}" if body else head


def describe_value(field: FieldInfo) -> str:
    """Return the placeholder of a value: INT>=1, FLOAT, {auto,bf16}, INT|auto, TEXT."""
    hint = get_hint(field)
    kinds = set(_types(field.annotation))
    kind = next((word for k, word in _KINDS.items() if k in kinds), "TEXT")
    if choices := [str(choice) for choice in list_choices(hint)]:
        return "{" + ",".join(choices) + "}" if kind == "TEXT" else "|".join([kind, *choices])
    bounds = ",".join(f"{_SIGNS[name]}{bound:g}" for name, bound in find_bounds(hint).items())
    return f"{kind}{bounds},..." if list in kinds and kind != "TEXT" else kind + bounds


def _types(hint: object) -> Iterator[object]:
    """Yield the plain types in a hint; of a list, `list` and the types of its elements."""
    if get_origin(hint) is list:
        yield list
    if get_origin(hint) in (Union, types.UnionType, list) or hasattr(hint, "__metadata__"):
        for part in get_args(hint):
            yield from _types(part)
    else:
        yield hint
