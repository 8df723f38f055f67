"""Keep the memory that a step frees for the next step."""

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock

# malloc.h of the GNU C library
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
KEEP_ALL = {TRIM_THRESHOLD: -1, MMAP_MAX: 0}  # return nothing, map nothing separately
# afterwards: two limits at the highest value that the library ever chooses; the third as before
USUAL_LIMITS = {TRIM_THRESHOLD: 2**26, MMAP_THRESHOLD: 2**25, MMAP_MAX: 2**16}
# environment variables by which a user configures memory
USER_SETTINGS = (
    "GLIBC_TUNABLES",
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_MMAP_MAX_",
)

_inside = [0]  # nesting depth: the C library belongs to the whole process
_entering = Lock()


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Keep freed memory of CPU tensors in the process while inside the context.

    By default the GNU C library returns large blocks to the system as soon as they are freed, and
    the next step requests them again, page by page, each filled with zeros: a sixth of a SimCLR
    step (docs/log.md). Afterwards all free memory is returned. Loader processes started inside keep
    theirs, too. With another C library, or if the environment configures this one's memory, nothing
    changes.
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
    """Return a function of the C library, if it is GNU's and the user has not configured it."""
    if any(name in os.environ for name in USER_SETTINGS):
        return None
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except (OSError, TypeError):  # platforms that link programs differently
        return None
