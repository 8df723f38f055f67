"""What a type implies for values: their range, and the allowed words."""

from collections.abc import Iterator
from typing import Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

ENCODER_PREFIX = "encoder."  # before the names of encoder options

_BOUNDS: dict[type, tuple[str, str]] = {
    Ge: ("ge", "at least"),
    Gt: ("gt", "above"),
    Le: ("le", "at most"),
    Lt: ("lt", "below"),
}


def split_numbers(value: object) -> object:
    """Return text such as "1,3" as a list, and a single number as a list of one."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    return [value] if isinstance(value, int | float) else value


def find_bounds(hint: object) -> dict[str, float]:
    """Return the range of a type: {"ge": 0, "lt": 1} for numbers from 0 to below 1."""
    return {
        name: getattr(part, name)
        for part in _parts(hint)
        for kind, (name, _) in _BOUNDS.items()
        if isinstance(part, kind)
    }


def describe_bounds(hint: object) -> str:
    """Return the range of a type in words: `at least 0 and below 1`."""
    bounds = find_bounds(hint)
    words = [f"{word} {bounds[name]:g}" for name, word in _BOUNDS.values() if name in bounds]
    return " and ".join(words)


def list_choices(hint: object) -> list[object]:
    """Return the words of a Literal inside a type; empty if any value is allowed."""
    return [word for part in _parts(hint) if get_origin(part) is Literal for word in get_args(part)]


def get_hint(field: FieldInfo) -> object:
    """Return the type of a field with its range."""
    return (field.annotation, *field.metadata)


def _parts(hint: object) -> Iterator[object]:
    yield hint
    if get_origin(hint) is Literal:
        return
    inner = hint if isinstance(hint, tuple) else get_args(hint)
    for part in (*inner, *getattr(hint, "__metadata__", ())):
        yield from _parts(part)
