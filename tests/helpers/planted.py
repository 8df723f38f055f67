"""Bugs that are planted on purpose, as behaviour: a check that stays green with one is no check.

A bug names what is broken by the function itself and not by its text, so that it survives
renames, moves and rewriting. Operators and constants are left to `make mutants`.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from inspect import isfunction
from types import ModuleType
from typing import Any

import pytest

from selfwise.core.rng import Rng, generator

OURS = ("selfwise.", "tests.")
RED = (AssertionError, pytest.fail.Exception)  # how a test fails, an error in the bug itself aside


@dataclass(frozen=True)
class Attribute:
    """A value that is looked up by its name: a constant of a module, a table, a class attribute."""

    owner: Any
    name: str


@dataclass(frozen=True)
class Bug:
    """A wrong behaviour, and the check that has to notice it.

    Args:
        name: what is wrong, in words.
        original: the healthy function or method, or the `Attribute`.
        broken: makes the wrong one out of the healthy one.
        check: a test; called without arguments, so with `partial` or `lambda` where it has some.
        within: only this module calls the wrong function; by default everybody does, the test too.
    """

    name: str
    original: Any
    broken: Callable[[Any], Any]
    check: Callable[[], object]
    within: ModuleType | None = None

    def __str__(self) -> str:
        return self.name


def assert_caught(bug: Bug) -> None:
    """The check is green without the bug and red with it."""
    bug.check()
    with planted(bug):
        try:
            bug.check()
        except RED:
            return
    pytest.fail(f"nothing notices that {bug.name}")


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """Inside, the bug is there."""
    places = list(_find_places(bug))
    assert places, f"{bug.original} is not to be found: nothing would be broken"
    healthy = [vars(owner)[name] for owner, name in places]
    try:
        for (owner, name), old in zip(places, healthy):
            setattr(owner, name, _disguise(bug.broken(old), old))
        yield
    finally:
        for (owner, name), old in zip(places, healthy):
            setattr(owner, name, old)


def _disguise(broken: Any, healthy: Any) -> Any:
    """A function with the name and the signature of the healthy one; other values as they are."""
    return wraps(healthy)(broken) if isfunction(healthy) and isfunction(broken) else broken


def _find_places(bug: Bug) -> Iterator[tuple[Any, str]]:
    """Where the original is bound: an owner, and the name there."""
    original = bug.original
    if isinstance(original, Attribute):
        yield original.owner, original.name
        return
    if "." in original.__qualname__:
        module, (owner, _, name) = (
            sys.modules[original.__module__],
            original.__qualname__.rpartition("."),
        )
        yield getattr(module, owner), name
        return
    modules = (
        [bug.within]
        if bug.within
        else [module for name, module in list(sys.modules.items()) if name.startswith(OURS)]
    )
    for module in modules:
        for name, value in list(vars(module).items()):
            if value is original:
                yield module, name


def make_rng(seed: int = 0) -> Rng:
    """As the fixture `rng` has it."""
    return Rng(generator(seed, "test"))


def changed_arguments(**wrong: Any) -> Callable[[Any], Any]:
    """`broken` that calls the healthy function with other values of these keyword arguments.

    A callable gets the value that was given.
    """

    def break_it(healthy: Any) -> Any:
        def broken(*args: Any, **kwargs: Any) -> Any:
            new = {n: w(kwargs.get(n)) if callable(w) else w for n, w in wrong.items()}
            return healthy(*args, **{**kwargs, **new})

        return broken

    return break_it


def changed_output(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`broken` that hands on something else than the healthy function returns."""
    return lambda healthy: lambda *args, **kwargs: change(healthy(*args, **kwargs))


def replaced_fields(**wrong: Any) -> Callable[[Any], Any]:
    """`broken` for a NamedTuple: with other fields."""
    return lambda healthy: healthy._replace(**wrong)
