"""Types of options with a range, and a check of arguments against these ranges.

Config classes check such types themselves; `check_ranges` does it for a function or a constructor
that is called from Python.
"""

from collections.abc import Callable
from functools import wraps
from inspect import signature
from math import isfinite
from operator import ge, gt, le, lt
from typing import Annotated, ParamSpec, TypeVar

from annotated_types import Ge, Gt, Le, Lt

from selfwise.core.option_types import describe_bounds, find_bounds

Probability = Annotated[float, Ge(0), Le(1)]
PositiveShare = Annotated[float, Gt(0), Le(1)]
ProperShare = Annotated[float, Gt(0), Lt(1)]
PositiveFloat = Annotated[float, Gt(0)]
NonNegativeFloat = Annotated[float, Ge(0)]
PositiveInt = Annotated[int, Ge(1)]
NonNegativeInt = Annotated[int, Ge(0)]

_COMPARISONS = {"ge": ge, "gt": gt, "le": le, "lt": lt}

P = ParamSpec("P")
R = TypeVar("R")


def check_ranges(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function; it first raises ValueError for an argument outside its type's range."""
    call_signature = signature(function)
    hints = {name: one.annotation for name, one in call_signature.parameters.items()}
    ranges = {name: bounds for name, hint in hints.items() if (bounds := find_bounds(hint))}

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        arguments = call_signature.bind(*args, **kwargs).arguments
        for name, bounds in ranges.items():
            value = arguments.get(name)
            if isinstance(value, int | float) and not is_within(value, bounds):
                raise ValueError(f"{name} must be {describe_bounds(hints[name])}, got {value}")
        return function(*args, **kwargs)

    return call


def is_within(value: float, bounds: dict[str, float]) -> bool:
    """Return whether a finite number is within the bounds, such as {"ge": 0}; NaN never is."""
    return isfinite(value) and all(_COMPARISONS[n](value, limit) for n, limit in bounds.items())
