"""The memory that reading one file may take, checked before it is allocated.

A small file may unpack to more than the machine has. Readers therefore compare the size that a
header announces, or what they have read so far, with this limit.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, wraps
from time import monotonic
from typing import NamedTuple, ParamSpec, TypeVar

from selfwise.core.config_class import spell_option
from selfwise.core.free_memory import measure_free_memory

FREE_FRACTION = 0.5  # of the memory that is free, the default
VARIABLE = "SELFWISE_MAX_MEMORY"  # tells the processes that this one starts
OPTION = "max_memory"
SMALL = 2**24  # bytes; without a limit of the user, a file that takes no more is not compared
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?) ?([kmgt]?)(?:i?b)?")

P = ParamSpec("P")
R = TypeVar("R")


class MemoryLimit(NamedTuple):
    """A limit and its source, for messages."""

    bytes: int
    source: str


@lru_cache(maxsize=8)
def parse_size(text: str) -> int:
    """Return the bytes of a size such as 4G, 500 MB or 1.5GiB; units are powers of 1024.

    Raises ValueError for other texts, and for zero.
    """
    match = _SIZE.fullmatch(text.strip().lower())
    size = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if size < 1:
        raise ValueError(
            f"{spell_option(OPTION)} must be a size above 0, such as 4G or 500M, not {text!r}"
        )
    return size


@lru_cache(maxsize=1)
def _measure_now_and_then(measure: Callable[[], int], second: int) -> int:
    """Measure once a second: for each of a million images it would take minutes."""
    return measure()


def find_limit() -> MemoryLimit:
    """Return the limit of the user, or a fraction of the memory that is free now."""
    if text := os.environ.get(VARIABLE):
        return MemoryLimit(parse_size(text), spell_option(OPTION))
    free = _measure_now_and_then(measure_free_memory, int(monotonic()))
    return MemoryLimit(int(free * FREE_FRACTION), f"{FREE_FRACTION:.0%} of the free memory")


@contextmanager
def limit_memory(size: str) -> Iterator[None]:
    """Set the limit inside the context, also for processes that start there; "" changes nothing.

    Raises ValueError for a text that is not a size.
    """
    if not size:
        yield
        return
    parse_size(size)
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = size
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = before


def takes_memory_limit(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function; it runs with the limit in its keyword argument `max_memory`."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with limit_memory(str(kwargs.get(OPTION) or "")):
            return function(*args, **kwargs)

    return call


def describe_excess(needed: int) -> str:
    """Describe by how much a file exceeds the limit; "" if it does not."""
    if needed <= SMALL and not os.environ.get(VARIABLE):
        return ""
    limit = find_limit()
    return "" if needed <= limit.bytes else _format_excess(needed, limit)


def _format_excess(needed: int, limit: MemoryLimit) -> str:
    return (
        f"reading it takes at least {format_size(needed)} of memory, and the limit is "
        f"{format_size(limit.bytes)} ({limit.source}); divide the file, or set a higher "
        f"{spell_option(OPTION)} or variable {VARIABLE}, such as {_suggest_size(needed)}"
    )


def check_size(where: object, needed: int) -> None:
    """Raise ValueError if `needed` bytes for the file `where` exceed the limit."""
    if excess := describe_excess(needed):
        raise ValueError(f"{where}: {excess}")


class MemoryBudget:
    """Counts what a reader collects from a file without an honest header, such as a compressed one.

    The limit is looked up once: later, what the reader holds is no longer free.
    """

    def __init__(self, where: object):
        self._where, self._held = where, 0
        self._limit = find_limit() if os.environ.get(VARIABLE) else None

    def add(self, size: int) -> None:
        """Count bytes that the reader keeps. Raises ValueError when all exceed the limit."""
        self._held += size
        if self._limit is None:
            if self._held <= SMALL:
                return
            self._limit = find_limit()
        if self._held > self._limit.bytes:
            raise ValueError(f"{self._where}: {_format_excess(self._held, self._limit)}")


def format_size(size: int) -> str:
    """Return a number of bytes for a message: 1.5 GiB."""
    number, unit = float(size), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if number < 1024:
            break
        number, unit = number / 1024, larger
    return f"{number:,.0f} {unit}" if number >= 100 or unit == "bytes" else f"{number:.1f} {unit}"


def _suggest_size(needed: int) -> str:
    """Return a size for the option that has room for `needed` bytes."""
    for unit in "KMGT":
        number = -(-needed // _UNITS[unit.lower()])
        if number < 1024:
            break
    return f"{number}{unit}"
