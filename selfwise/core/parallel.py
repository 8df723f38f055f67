"""Processing many files in several processes."""

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar, cast

import numpy as np

Result = TypeVar("Result")
Progress = Callable[[int, int], None]
CHUNK = 512
WORTH_A_POOL = 4 * CHUNK  # with fewer, starting processes takes longer than the work

_job: Callable[[np.ndarray], object] | None = None  # in a worker: its job


def map_in_chunks(
    job: Callable[[np.ndarray], Result],
    rows: np.ndarray,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    chunk: int | None = None,
) -> Iterator[Result]:
    """Yield `job(part)` for parts of `rows`, in order; call `progress(done, total)` after each.
    A part has `chunk` rows, by default a number that suits small images.

    Uses processes, because Pillow holds the interpreter lock for most of the time that a small
    image
    takes: two threads are slower than one. On Linux they are forked, like those of torch's
    DataLoader: they import nothing again, and a script needs no `__main__` guard.
    """
    parts = [rows[at : at + (chunk or CHUNK)] for at in range(0, len(rows), chunk or CHUNK)]
    workers = count_cpus() if workers is None else workers
    done = 0
    if workers <= 1 or len(rows) < (4 * chunk if chunk else WORTH_A_POOL):
        for part in parts:
            yield job(part)
            done += len(part)
            _report_progress(progress, done, len(rows))
        return
    run = cast(Callable[[np.ndarray], Result], _run_job)
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with (
        explain_worker_death(),
        ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(job,)) as pool,
    ):
        for part, result in zip(parts, pool.map(run, parts)):
            yield result
            done += len(part)
            _report_progress(progress, done, len(rows))


@contextmanager
def explain_worker_death() -> Iterator[None]:
    """Raise ChildProcessError, an OSError, with one sentence if a process was killed."""
    try:
        yield
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "a process that was reading the data was killed, perhaps because the machine ran out "
            "of memory: run the command again, or with fewer processes (--num-workers 0)"
        ) from error


def count_cpus() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _start_worker(job: Callable[[np.ndarray], object]) -> None:
    global _job
    _job = job


def _run_job(part: np.ndarray) -> object:
    assert _job is not None, "the pool started this process"
    return _job(part)


def _report_progress(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)
