"""The processes that a run starts on its machine, which end together.

The first process prepares a run, starts the other processes, and waits until they are ready. If one
of them dies, the others notice at once (gloo) or are ended after a while (nccl would wait forever).
If the first process dies, the others end themselves.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from time import monotonic, sleep

from torch.distributed import TCPStore

from selfwise.core.progress import print_progress
from selfwise.distributed.process_group import (
    GROUP_TIMEOUT,
    DistributedEnv,
    detect_env,
    is_peer_failure,
    join_process_group,
    leave_process_group,
    report_peer_failure,
)

# gloo uses the network of the host's name by default
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
HOST, WORKER_VARIABLE = (
    "127.0.0.1",
    "SELFWISE_MEMBER",
)  # rank, size, port, number of the first process
EXIT_PEER_LOST, EXIT_STOPPED = 75, 130  # exit codes: another process is gone; stopped by request
GRACE_SECONDS = 15.0  # seconds in which a process may notice itself that another one is gone
POLL_SECONDS = 0.25  # seconds between two checks


class WorkerProcesses:
    """The other processes of a run."""

    def __init__(self, command: Sequence[str], size: int, threads: int, resume_hint: str):
        self.resume_hint, self.finished = resume_hint, threading.Event()
        # by default the store would listen on all networks
        server = socket.create_server((HOST, 0))
        address = (HOST, server.getsockname()[1], size, True, GROUP_TIMEOUT, False)
        self.store = TCPStore(*address, master_listen_fd=server.detach())
        root = str(Path(__file__).resolve().parent.parent.parent)
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**LOOPBACK, **os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        environment["OMP_NUM_THREADS"] = str(threads)
        self.workers = [
            subprocess.Popen(
                [*command],
                env={
                    **environment,
                    WORKER_VARIABLE: f"{rank} {size} {self.store.port} {os.getpid()}",
                },
                stdin=subprocess.DEVNULL,
            )
            for rank in range(1, size)
        ]
        threading.Thread(target=self._watch, daemon=True).start()

    def wait(self) -> None:
        """Wait until all workers are ready. Raises ChildProcessError if a worker ends earlier."""
        keys = [f"ready {rank}" for rank in range(1, len(self.workers) + 1)]
        while not self.store.check(keys):
            self.check_alive()
            sleep(POLL_SECONDS / 5)

    def check_alive(self, patience: float = 0.0) -> None:
        """Raise ChildProcessError if a worker fails within `patience` seconds."""
        until = monotonic() + patience
        while not (sentence := self._describe_failure()):
            if monotonic() >= until:
                return
            sleep(POLL_SECONDS / 5)
        raise ChildProcessError(sentence)

    def terminate(self, patience: float = 0.0) -> None:
        """Kill the workers that do not end themselves within `patience` seconds."""
        until = monotonic() + patience
        for worker in self.workers:
            with suppress(subprocess.TimeoutExpired):
                worker.wait(max(0.0, until - monotonic()))
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
                worker.wait()
        self.finished.set()

    def _describe_failure(self) -> str:
        """Describe in a sentence the worker that probably failed first; "" if none failed."""
        codes = {rank: worker.poll() for rank, worker in enumerate(self.workers, 2)}
        bad = {rank: code for rank, code in codes.items() if code not in (None, 0, EXIT_STOPPED)}
        if not bad:
            return ""
        # workers that only lost a peer are not the cause
        rank = min(bad, key=lambda r: (bad[r] == EXIT_PEER_LOST, (bad[r] or 0) > 0, r))
        code, process = bad[rank] or 0, f"process {rank} of {len(codes) + 1}"
        if code < 0:
            ending = f"was killed by signal {-code} ({signal.Signals(-code).name})"
        else:
            ending = f"ended with exit code {code}"
        return f"{process} {ending}; {self.resume_hint}"

    def _watch(self) -> None:
        """End the first process if it waits forever for a worker that is gone."""
        while not self.finished.wait(POLL_SECONDS):
            if sentence := self._describe_failure():
                if self.finished.wait(GRACE_SECONDS):
                    return
                print_progress(sentence, prefix="selfwise: ")
                for worker in self.workers:
                    worker.kill()
                os._exit(1)


@contextmanager
def launch_workers(
    command: Sequence[str], size: int, *, device_type: str, threads: int, resume_hint: str
) -> Iterator[DistributedEnv]:
    """Start the other processes of a run, which run `command`, and connect all `size` of them.

    Yields the environment of this process, the first one. Raises ChildProcessError with one
    sentence if another process dies.
    """
    if size == 1:
        yield DistributedEnv()
        return
    if (env := detect_env()) is not None:
        join_process_group(env, device_type)
        with report_peer_failure(resume_hint):
            yield env
        return
    workers = WorkerProcesses(command, size, threads, resume_hint)
    env, patience = DistributedEnv(0, size, 0, size), 0.0
    try:
        workers.wait()
        with _loopback_network():
            join_process_group(env, device_type, workers.store)
        yield env
        patience = 60.0
    except KeyboardInterrupt as stop:
        patience = 60.0 if stop.args else 0.0  # with a sentence, they stop after one common step
        raise
    except RuntimeError as error:
        if is_peer_failure(error):
            workers.check_alive(GRACE_SECONDS / 2)
        raise
    finally:
        workers.terminate(patience)
        leave_process_group()


@contextmanager
def _loopback_network() -> Iterator[None]:
    """Use the loopback network, as the workers do, while this process joins them."""
    missing = {name: value for name, value in LOOPBACK.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            del os.environ[name]


def run_worker(work: Callable[[DistributedEnv, TCPStore], None], resume_hint: str) -> int:
    """Run the work of a process that `launch_workers` started, and return its exit code."""
    rank, size, port, first = map(int, os.environ.pop(WORKER_VARIABLE).split())
    env = DistributedEnv(rank, size, rank, size)
    threading.Thread(target=_exit_with_first, args=(first, env, resume_hint), daemon=True).start()
    try:
        store = TCPStore(HOST, port, size, False, timedelta(seconds=60), wait_for_workers=False)
        work(env, store)
    except KeyboardInterrupt:
        return EXIT_STOPPED
    except FloatingPointError:  # all processes have the number, and the first one reports it
        return EXIT_PEER_LOST
    except (ValueError, OSError) as error:
        print_progress(f"process {rank + 1} of {size}: {error}", prefix="selfwise: ")
        return 2
    except RuntimeError as error:
        if not is_peer_failure(error):
            raise
        sleep(GRACE_SECONDS)  # the first process reports the error, or is gone itself
        return EXIT_PEER_LOST
    return 0


def _exit_with_first(first: int, env: DistributedEnv, resume_hint: str) -> None:
    """End this process as soon as the first process is gone."""
    while os.getppid() == first:
        sleep(POLL_SECONDS)
    if env.rank == 1:
        text = f"process 1 of {env.size} is gone, so the others end; {resume_hint}"
        print_progress(text, prefix="selfwise: ")
    os._exit(EXIT_PEER_LOST)


def join_when_ready(env: DistributedEnv, store: TCPStore, device_type: str) -> None:
    """Announce that this worker is ready, and join the process group."""
    store.set(f"ready {env.rank}", "yes")
    join_process_group(env, device_type, store)
