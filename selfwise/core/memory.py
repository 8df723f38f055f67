"""Memory that a step frees is kept for the next one."""

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock

# malloc.h of the GNU C library
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
KEEP_ALL = {TRIM_THRESHOLD: -1, MMAP_MAX: 0}  # give nothing back, map nothing apart
# afterwards: the two limits that move, as high as the library ever moves them; the third as it was
USUAL_LIMITS = {TRIM_THRESHOLD: 2**26, MMAP_THRESHOLD: 2**25, MMAP_MAX: 2**16}
# how a user says how memory is kept
USER_SETTINGS = (
    "GLIBC_TUNABLES",
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_MMAP_MAX_",
)

_inside = [0]  # how often it was entered and not left: the C library is the whole process's
_entering = Lock()


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Inside, memory of tensors on the CPU that is freed stays with the process.

    By itself the GNU C library gives large blocks back to the system as soon as they are free, and
    the next step asks for as many again, page by page, each filled with zeros: a sixth of a SimCLR
    step (docs/log.md). Afterwards all that is free goes back. Loader processes that are started
    inside keep theirs, too. With another C library, or where the environment says how this one
    keeps memory, nothing changes.
    """
    with _entering:
        _inside[0] += 1
        _set_malloc_options(KEEP_ALL)
    try:
        yield
    finally:
        with _entering:
            _inside[0] -= 1
            if not _inside[0]:
                _set_malloc_options(USUAL_LIMITS)
                _trim_heap()


def _set_malloc_options(options: dict[int, int]) -> None:
    if mallopt := _find_function("mallopt"):
        for option, value in options.items():
            mallopt(ctypes.c_int(option), ctypes.c_int(value))


def _trim_heap() -> None:
    if trim := _find_function("malloc_trim"):
        trim(ctypes.c_size_t(0))


@cache
def _find_function(name: str) -> Callable[..., int] | None:
    """A function of the C library, where it has one of this name, as GNU's, and is ours to tell."""
    if any(name in os.environ for name in USER_SETTINGS):
        return None
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except (OSError, TypeError):  # not where programs are linked in another way
        return None
