"""Settings of a run's process: its number of threads, and an orderly end."""

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import torch

from selfwise.core.progress import print_progress

PLENTY_PER_WORKER = 2**29  # bytes of shared memory above which no batch is measured
BATCHES_AHEAD = 3  # batches of a loader process: two read ahead, one in transfer
# longest socket path on Linux, minus the part that multiprocessing adds to the temporary folder
MAX_PATH_BYTES = 107 - len("/pymp-12345678/listener-12345678")


def check_temporary_folder(workers: int) -> None:
    """Check that `workers` loader processes can transfer their batches.

    If they cannot open a socket, batches are lost and the run would wait forever. Raises ValueError
    if the path of the temporary folder is too long for a socket.
    """
    folder = tempfile.gettempdir()
    if workers and torch.multiprocessing.get_sharing_strategy() == "file_descriptor":
        if (length := len(os.fsencode(folder))) <= MAX_PATH_BYTES:
            return
        raise ValueError(
            f"the temporary folder {folder} has a path of {length} bytes, and loader processes "
            f"need a path of at most {MAX_PATH_BYTES}: set TMPDIR to a shorter path, or use "
            "--num-workers 0"
        )


def limit_workers(workers: int, sample: Callable[[], object]) -> int:
    """Return the number of loader processes that fit into shared memory, and report a reduction.

    Loader processes transfer batches in /dev/shm, where each reads two ahead. If it is full, as
    Docker's
    64 MB soon are, they are killed or wait forever. Their number does not change results. `sample`
    returns one batch, and is only called if there is little room.
    """
    free = measure_free_shared_memory()
    if not workers or free is None or free > workers * PLENTY_PER_WORKER:
        return workers
    batch_bytes = BATCHES_AHEAD * count_bytes(sample())
    fits = min(workers, int(free // max(batch_bytes, 1)))
    if fits < workers:
        print_progress(
            f"/dev/shm has {free / 2**20:.0f} MiB free and a loader process needs "
            f"{batch_bytes / 2**20:.0f}: using {fits} loader processes instead of {workers} "
            "(in Docker, --shm-size 2g gives more)"
        )
    return fits


def measure_free_shared_memory() -> int | None:
    """Return the free bytes in /dev/shm; None where it does not exist."""
    if not hasattr(os, "statvfs"):  # Windows
        return None
    try:
        status = os.statvfs("/dev/shm")
    except OSError:
        return None
    return status.f_bavail * status.f_frsize


def count_bytes(batch: object) -> int:
    """Count the bytes of all tensors of a batch."""
    if isinstance(batch, torch.Tensor):
        return batch.nbytes
    parts = batch if isinstance(batch, tuple | list) else ()
    return sum(count_bytes(part) for part in parts)


def is_loader_death(error: BaseException) -> bool:
    """Return whether torch raised this because a loader process was killed."""
    return isinstance(error, RuntimeError) and "DataLoader worker" in str(error)


@contextmanager
def explain_loader_death() -> Iterator[None]:
    """Raise ChildProcessError, an OSError, with one sentence if a loader process was killed.

    torch notices the death by a signal, anywhere in the first process.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_loader_death(error):
            raise
        raise ChildProcessError(
            "a loader process was killed, perhaps because the machine ran out of memory: "
            "resume the run, or use fewer --num-workers or a smaller --batch-size"
        ) from error


@contextmanager
def limit_threads(number: int) -> Iterator[None]:
    """Run with this many CPU threads: another number would change the order of sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def catch_stop_signals() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a checkpoint and an orderly stop; a second kills."""
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        signal.signal(number, before[signal.Signals(number)])

    try:
        before = {n: signal.signal(n, note) for n in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread, which alone can handle signals
        yield lambda: False
        return
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
