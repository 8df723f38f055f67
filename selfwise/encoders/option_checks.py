"""Checks of encoder options that the presets of all families share.

Each raises ValueError with one sentence that names the encoder, the option and what is right. The
types, ranges and words are those of a shape's fields, which flags and files read too.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, Protocol, TypeVar, get_args, get_type_hints, runtime_checkable

from annotated_types import Ge, Lt

from selfwise.core.errors import did_you_mean
from selfwise.core.option_types import describe_bounds, find_bounds, list_choices
from selfwise.core.ranges import is_within

Option = int | float | str | bool
DropProbability = Annotated[float, Ge(0), Lt(1)]
ShapeT = TypeVar("ShapeT")

_TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false"}


def build_shape(kind: type[ShapeT], settings: Mapping[str, Option]) -> ShapeT:
    """Build the dataclass of a shape from a preset and options that were checked."""
    return kind(**settings)


def check_options(name: str, shape: type, options: Mapping[str, Any]) -> None:
    """Check that every option is a field of the dataclass `shape`, with its type and range."""
    names = {field.name for field in fields(shape)}
    hints = get_type_hints(shape, include_extras=True)
    for option, value in options.items():
        if option not in names:
            raise ValueError(
                f"encoder {name} has no option {option!r}{did_you_mean(option, names)}"
            )
        if problem := _describe_problem(option, value, hints[option]):
            raise ValueError(f"encoder {name}: {problem}")


def _describe_problem(option: str, value: object, hint: object) -> str:
    """Describe what is wrong with the value of an option; "" if nothing is."""
    if choices := list_choices(hint):
        names = [str(choice) for choice in choices]
        is_choice = value in choices
        return "" if is_choice else f"unknown {option} {value!r}{did_you_mean(str(value), names)}"
    kind: Any = get_args(hint)[0] if get_args(hint) else hint  # of Annotated, the type alone
    allowed = (int, float) if kind is float else (kind,)
    if not isinstance(value, allowed) or (kind is not bool and isinstance(value, bool)):
        return f"{option} must be {_TYPE_NAMES[kind]}, not {value!r}"
    if isinstance(value, int | float) and not is_within(value, find_bounds(hint)):
        return f"{option} must be {describe_bounds(hint)}, not {value}"
    return ""


@runtime_checkable
class HasWidth(Protocol):
    """A shape that has a width."""

    @property
    def dim(self) -> int: ...


def check_divides(name: str, shape: HasWidth, parts: Mapping[str, str]) -> None:
    """Check that the numbers of parts divide the width; `parts` describes what an option counts."""
    for option, description in parts.items():
        count = getattr(shape, option)
        if shape.dim % count:
            raise ValueError(
                f"encoder {name}: {count} {description} do not divide its width of {shape.dim}"
            )
