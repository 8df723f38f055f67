"""Memory that a step frees is kept for the next one."""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

# malloc.h of the GNU C library
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
KEEP = {TRIM_THRESHOLD: -1, MMAP_MAX: 0}  # give nothing back, map nothing apart
# afterwards: the limits that move, as high as the library moves them by itself; the rest as it was
USUAL = {TRIM_THRESHOLD: 2**26, MMAP_THRESHOLD: 2**25, MMAP_MAX: 2**16}

_inside = [0]  # how often it was entered and not left: the C library is the whole process's


@contextmanager
def kept_memory() -> Iterator[None]:
    """Inside, memory of tensors on the CPU that is freed stays with the process.

    By itself the GNU C library gives large blocks back to the system as soon as they are free, and
    the next step asks for as many again, page by page, each filled with zeros. Of a SimCLR step
    that is a tenth to a fourth (docs/log.md). Afterwards all that is free goes back. With another C
    library nothing changes.
    """
    _inside[0] += 1
    _tell(KEEP)
    try:
        yield
    finally:
        _inside[0] -= 1
        if not _inside[0]:
            _tell(USUAL)
            _give_back()


def _tell(options: dict[int, int]) -> None:
    if mallopt := _function("mallopt"):
        for option, value in options.items():
            mallopt(option, value)


def _give_back() -> None:
    if trim := _function("malloc_trim"):
        trim(0)


@cache
def _function(name: str) -> Callable[..., int] | None:
    """A function of the C library, where it has one of this name: the GNU one's."""
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except (OSError, TypeError):  # not where programs are linked in another way
        return None
