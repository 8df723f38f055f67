"""What a run asks of its process: a number of threads, and an orderly end."""

import fcntl
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

# what a socket's path may have on Linux, less what multiprocessing adds to the temporary folder
LONGEST = 107 - len("/pymp-12345678/listener-12345678")


def check_temporary_folder(workers: int) -> None:
    """Whether loader processes, of which there are `workers`, can hand over what they have read.

    Where they cannot open a socket, batches are lost and would be waited for without an end. Raises
    ValueError if the path of the temporary folder is too long for one.
    """
    place = tempfile.gettempdir()
    if workers and torch.multiprocessing.get_sharing_strategy() == "file_descriptor":
        if (length := len(os.fsencode(place))) <= LONGEST:
            return
        raise ValueError(
            f"the temporary folder {place} has a path of {length} bytes, and loader processes need "
            f"one of at most {LONGEST}: set TMPDIR to a shorter one, or read with --workers 0"
        )


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Run with this many CPU threads: another number adds in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a checkpoint and an orderly stop; a second kills."""
    seen: list[int] = []

    def note(number: int, frame: Any) -> None:
        seen.append(number)
        signal.signal(number, before[signal.Signals(number)])

    try:
        before = {n: signal.signal(n, note) for n in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals are somebody else's
        yield lambda: False
        return
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def locked(folder: Path | None) -> Iterator[None]:
    """Hold the run folder; the system lets go of it when the process ends, however it ends.

    Raises ValueError if another process holds it: two would write over each other's steps.
    """
    if folder is None:
        yield
        return
    with (folder / ".lock").open("w") as file:
        try:
            # lockf, not flock: loader workers must not inherit the lock and outlive us with it
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise ValueError(f"{folder} is being trained by another process") from error
        yield
