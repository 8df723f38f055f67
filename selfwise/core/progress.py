"""Lines on stderr about long work."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import ParamSpec, TypeVar

from selfwise.core.visible_text import escape_invisible

SINGULAR = {"are": "is", "have": "has"}
_hidden = ContextVar("_hidden", default=False)
P = ParamSpec("P")
R = TypeVar("R")


def print_progress(text: str, *, prefix: str = "", quiet: bool = False) -> None:
    """Print a line on stderr at once, unless `quiet` or within `hide_progress`."""
    if not (quiet or _hidden.get()):
        print(escape_invisible(f"{prefix}{text}"), file=sys.stderr, flush=True)


@contextmanager
def hide_progress() -> Iterator[None]:
    """Print no progress, also from parts that do not know of `quiet`, such as readers."""
    token = _hidden.set(True)
    try:
        yield
    finally:
        _hidden.reset(token)


def obey_quiet(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function that prints no progress at all if it is called with `quiet=True`."""

    @wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> R:
        if not options.get("quiet"):
            return function(*args, **options)
        with hide_progress():
            return function(*args, **options)

    return call


def format_count(number: int, noun: str, *words: str) -> str:
    """Format a number with its noun and words behind: 2 cores are free, 1 core is free."""
    if number == 1:
        return " ".join(["1", noun, *(SINGULAR.get(word, word) for word in words)])
    return " ".join([f"{number:,}", f"{noun}s", *words])


def format_all(number: int, noun: str, *words: str) -> str:
    """Format all of some things with words behind: all 5 labels are, the only label is."""
    text = format_count(number, noun, *words)
    return f"the only {text.removeprefix('1 ')}" if number == 1 else f"all {text}"


def format_none(number: int, noun: str) -> str:
    """Format which things have no ability: none of the 5 files can, the only file cannot."""
    return f"the only {noun} cannot" if number == 1 else f"none of the {number:,} {noun}s can"


def report_tenths(
    format_line: Callable[[int, int], str], *, min_total: int
) -> Callable[[int, int], None]:
    """Return a function of (done, total) that prints a line at every tenth of a long task.

    Args:
        format_line: formats the line from (done, total).
        min_total: shorter tasks are not reported.
    """
    reported = 0

    def report(done: int, total: int) -> None:
        nonlocal reported
        tenth = 10 * done // max(total, 1)
        if tenth > reported and total > min_total:
            reported = tenth
            print_progress(format_line(done, total))

    return report
