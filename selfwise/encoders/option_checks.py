"""Checks of encoder options that the presets of all families share.

Each raises ValueError with one sentence that names the encoder, the option and what is right.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any, Protocol, TypeVar, runtime_checkable

from selfwise.core.errors import did_you_mean

Option = int | float | str | bool
ShapeT = TypeVar("ShapeT")

_OPTION_TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "int": (lambda v: isinstance(v, int) and not isinstance(v, bool), "a whole number"),
    "float": (lambda v: isinstance(v, int | float) and not isinstance(v, bool), "a number"),
    "bool": (lambda v: isinstance(v, bool), "true or false"),
    "str": (lambda v: isinstance(v, str), "a word"),
}


def build_shape(kind: type[ShapeT], settings: Mapping[str, Option]) -> ShapeT:
    """Build the dataclass of a shape from a preset and options, whose types were checked."""
    return kind(**settings)


def check_option_types(name: str, shape: type, options: Mapping[str, Any]) -> None:
    """Check that every option is a field of the dataclass `shape` and has its type."""
    types = {
        field.name: str(getattr(field.type, "__name__", field.type)) for field in fields(shape)
    }
    for option, value in options.items():
        if option not in types:
            raise ValueError(
                f"encoder {name} has no option {option!r}{did_you_mean(option, types)}"
            )
        is_valid, description = _OPTION_TYPES[types[option]]
        if not is_valid(value):
            raise ValueError(f"encoder {name}: {option} must be {description}, not {value!r}")


def check_positive(name: str, shape: object, options: Iterable[str]) -> None:
    """Check that counts and widths are at least 1, and that the eps of norms is above 0."""
    for option in options:
        if getattr(shape, option) < 1:
            raise ValueError(f"encoder {name}: {option} must be at least 1")
    eps = getattr(shape, "eps", 1)
    if not eps > 0:
        raise ValueError(f"encoder {name}: eps must be above 0, not {eps}")


def check_probabilities(name: str, shape: object, options: Iterable[str]) -> None:
    """Check that drop probabilities are at least 0 and below 1."""
    for option in options:
        if not 0 <= getattr(shape, option) < 1:
            raise ValueError(f"encoder {name}: {option} must be at least 0 and below 1")


def check_choices(name: str, shape: object, choices: Mapping[str, Iterable[str]]) -> None:
    """Check that each word is one of the allowed choices."""
    for option, allowed in choices.items():
        choice = getattr(shape, option)
        if choice not in allowed:
            near = did_you_mean(choice, allowed)
            raise ValueError(f"encoder {name}: unknown {option} {choice!r}{near}")


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
