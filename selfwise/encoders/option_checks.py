"""What may be said of an encoder: checks that the presets of all families share.

Each raises ValueError with one sentence that names the encoder, the option and what is right.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

from selfwise.core.errors import nearest

_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "int": (lambda v: isinstance(v, int) and not isinstance(v, bool), "a whole number"),
    "float": (lambda v: isinstance(v, int | float) and not isinstance(v, bool), "a number"),
    "bool": (lambda v: isinstance(v, bool), "true or false"),
    "str": (lambda v: isinstance(v, str), "a word"),
}


def check_known(name: str, shape: type, options: Mapping[str, Any]) -> None:
    """Every option is a field of the dataclass `shape`, with a value of its type."""
    known = {one.name: str(getattr(one.type, "__name__", one.type)) for one in fields(shape)}
    for option, value in options.items():
        if option not in known:
            raise ValueError(f"encoder {name} has no option {option!r}{nearest(option, known)}")
        fits, what = _KINDS[known[option]]
        if not fits(value):
            raise ValueError(f"encoder {name}: {option} must be {what}, not {value!r}")


def check_positive(name: str, shape: Any, options: Iterable[str]) -> None:
    """Counts and widths are at least 1, and the eps of norms is above 0."""
    for option in options:
        if getattr(shape, option) < 1:
            raise ValueError(f"encoder {name}: {option} must be at least 1")
    if not getattr(shape, "eps", 1) > 0:
        raise ValueError(f"encoder {name}: eps must be above 0, not {shape.eps}")


def check_chances(name: str, shape: Any, options: Iterable[str]) -> None:
    """Probabilities of leaving something out are at least 0 and below 1."""
    for option in options:
        if not 0 <= getattr(shape, option) < 1:
            raise ValueError(f"encoder {name}: {option} must be at least 0 and below 1")


def check_choices(name: str, shape: Any, choices: Mapping[str, Iterable[str]]) -> None:
    """A word is one of those that there are."""
    for option, known in choices.items():
        said = getattr(shape, option)
        if said not in known:
            raise ValueError(f"encoder {name}: unknown {option} {said!r}{nearest(said, known)}")


def check_divides(name: str, shape: Any, parts: Mapping[str, str]) -> None:
    """Each part of the width divides it; `parts` says what an option counts."""
    for option, what in parts.items():
        count = getattr(shape, option)
        if shape.dim % count:
            raise ValueError(
                f"encoder {name}: {count} {what} do not divide its width of {shape.dim}"
            )
