"""Checks of the arguments of Python functions, as for options on a command line."""

from collections.abc import Callable
from copy import copy
from functools import wraps
from inspect import Parameter, signature
from typing import Any, ParamSpec, TypeVar, get_args, get_origin

from pydantic import create_model

from selfwise.core.config_class import (
    Config,
    make_config,
    make_options_class,
    spell_options_as,
)

P = ParamSpec("P")
R = TypeVar("R")


def check_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function with its arguments checked and converted as on a command line.

    An error for a wrong value names the parameter as Python spells it. A missing argument raises
    Python's own TypeError. A parameter that takes a class or a function, such as a method or an
    encoder, is checked by the function itself.
    """
    parameters = signature(function)
    skip = [
        name
        for name, p in parameters.parameters.items()
        if p.kind is Parameter.VAR_KEYWORD or _takes_code(p.annotation)
    ]
    kind = _without_required(make_options_class(function, skip=skip, positional=True))

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = parameters.bind(*args, **kwargs)
        passed = {n: v for n, v in bound.arguments.items() if n in kind.model_fields}
        with spell_options_as(str):
            config = make_config(kind, passed)
            bound.arguments.update((name, getattr(config, name)) for name in passed)
            return function(*bound.args, **bound.kwargs)

    return call


def _takes_code(hint: object) -> bool:
    """Return whether a parameter accepts a class or a function in addition to its name."""
    return bool({type, Callable} & {get_origin(part) for part in (hint, *get_args(hint))})


def _without_required(kind: type[Config]) -> type[Config]:
    """Return the class with None as the default of each required field."""
    chosen: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        optional = copy(field)
        optional.default = None if field.is_required() else field.default
        chosen[name] = (field.annotation, optional)
    return create_model(f"{kind.__name__}_given", __base__=Config, **chosen)
