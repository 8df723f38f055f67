"""The processes that a run starts on its machine, which end together.

The first process prepares a run, starts the others, and waits until they are ready. If one of them
dies, the others notice at once (gloo) or are ended after a while (nccl would wait for ever); if the
first one dies, the others end themselves.
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

from selfwise.distributed.process_group import (
    GROUP_TIMEOUT,
    DistributedEnv,
    detect_env,
    is_peer_failure,
    join_process_group,
    leave_process_group,
    report_peer_failure,
)

# gloo talks by the network of the host's name, unless told otherwise
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
HOST, WORKER_VARIABLE = (
    "127.0.0.1",
    "SELFWISE_MEMBER",
)  # rank, size, port, number of the first process
EXIT_PEER_LOST, EXIT_STOPPED = 75, 130  # exit codes: another process is gone; told to stop
GRACE_SECONDS = 15.0  # seconds in which a process may find out by itself that another is gone
POLL_SECONDS = 0.25  # seconds between two looks


class WorkerProcesses:
    """The other processes of a run."""

    def __init__(self, command: Sequence[str], size: int, threads: int, go_on: str):
        self.go_on, self.over = go_on, threading.Event()
        # by itself the store would listen on all networks
        own = socket.create_server((HOST, 0))
        where = (HOST, own.getsockname()[1], size, True, GROUP_TIMEOUT, False)
        self.store = TCPStore(*where, master_listen_fd=own.detach())
        root = str(Path(__file__).resolve().parent.parent.parent)
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        shared = {**LOOPBACK, **os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        shared["OMP_NUM_THREADS"] = str(threads)
        self.members = [
            subprocess.Popen(
                [*command],
                env={**shared, WORKER_VARIABLE: f"{rank} {size} {self.store.port} {os.getpid()}"},
                stdin=subprocess.DEVNULL,
            )
            for rank in range(1, size)
        ]
        threading.Thread(target=self._watch, daemon=True).start()

    def wait(self) -> None:
        """Until all are ready. Raises ChildProcessError if one ends before."""
        keys = [f"ready {rank}" for rank in range(1, len(self.members) + 1)]
        while not self.store.check(keys):
            self.check()
            sleep(POLL_SECONDS / 5)

    def check(self, patience: float = 0.0) -> None:
        """Raises ChildProcessError if a process has ended that should not have."""
        until = monotonic() + patience
        while not (sentence := self._death()):
            if monotonic() >= until:
                return
            sleep(POLL_SECONDS / 5)
        raise ChildProcessError(sentence)

    def end(self, patience: float = 0.0) -> None:
        """End what is still there, after `patience` seconds in which it may end by itself."""
        until = monotonic() + patience
        for member in self.members:
            with suppress(subprocess.TimeoutExpired):
                member.wait(max(0.0, until - monotonic()))
        for member in self.members:
            if member.poll() is None:
                member.kill()
                member.wait()
        self.over.set()

    def _death(self) -> str:
        """A sentence about the process that ended first, as far as that can be told, or nothing."""
        codes = {rank: member.poll() for rank, member in enumerate(self.members, 2)}
        bad = {rank: code for rank, code in codes.items() if code not in (None, 0, EXIT_STOPPED)}
        if not bad:
            return ""
        # those that only lost another one are no reason
        rank = min(bad, key=lambda one: (bad[one] == EXIT_PEER_LOST, (bad[one] or 0) > 0, one))
        code, which = bad[rank] or 0, f"process {rank} of {len(codes) + 1}"
        if code < 0:
            how = f"was killed by signal {-code} ({signal.Signals(-code).name})"
        else:
            how = f"ended with exit code {code}"
        return f"{which} {how}; {self.go_on}"

    def _watch(self) -> None:
        """The last resort: the first process waits for one that is gone and will not wake up."""
        while not self.over.wait(POLL_SECONDS):
            if sentence := self._death():
                if self.over.wait(GRACE_SECONDS):
                    return
                print(f"selfwise: {sentence}", file=sys.stderr, flush=True)
                for member in self.members:
                    member.kill()
                os._exit(1)


@contextmanager
def launch_workers(
    command: Sequence[str], size: int, *, device_type: str, threads: int, resume_hint: str
) -> Iterator[DistributedEnv]:
    """The first of `size` processes, with the others, which run `command`, connected.

    Raises ChildProcessError with one sentence if one of them dies.
    """
    if size == 1:
        yield DistributedEnv()
        return
    if (env := detect_env()) is not None:
        join_process_group(env, device_type)
        with report_peer_failure(resume_hint):
            yield env
        return
    others = WorkerProcesses(command, size, threads, resume_hint)
    env, patience = DistributedEnv(0, size, 0, size), 0.0
    try:
        others.wait()
        with _loopback_network():
            join_process_group(env, device_type, others.store)
        yield env
        patience = 60.0
    except KeyboardInterrupt as stop:
        patience = 60.0 if stop.args else 0.0  # with a sentence: they stop after the same step
        raise
    except RuntimeError as error:
        if is_peer_failure(error):
            others.check(GRACE_SECONDS / 2)
        raise
    finally:
        others.end(patience)
        leave_process_group()


@contextmanager
def _loopback_network() -> Iterator[None]:
    """What the others are told of the network, while this process meets them."""
    added = {name: value for name, value in LOOPBACK.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def run_worker(work: Callable[[DistributedEnv, TCPStore], None], go_on: str) -> int:
    """One of the other processes, from beginning to end: its exit code."""
    rank, size, port, first = map(int, os.environ.pop(WORKER_VARIABLE).split())
    env = DistributedEnv(rank, size, rank, size)
    threading.Thread(target=_exit_with_first, args=(first, env, go_on), daemon=True).start()
    try:
        store = TCPStore(HOST, port, size, False, timedelta(seconds=60), wait_for_workers=False)
        work(env, store)
    except KeyboardInterrupt:
        return EXIT_STOPPED
    except FloatingPointError:  # of a number that all have, and the first one says so
        return EXIT_PEER_LOST
    except (ValueError, OSError) as error:
        print(f"selfwise: process {rank + 1} of {size}: {error}", file=sys.stderr, flush=True)
        return 2
    except RuntimeError as error:
        if not is_peer_failure(error):
            raise
        sleep(GRACE_SECONDS)  # the first process says what happened, or is gone itself
        return EXIT_PEER_LOST
    return 0


def _exit_with_first(first: int, env: DistributedEnv, go_on: str) -> None:
    """End when the first process is gone, wherever this one is."""
    while os.getppid() == first:
        sleep(POLL_SECONDS)
    if env.rank == 1:
        text = f"process 1 of {env.size} is gone, so the others end; {go_on}"
        print(f"selfwise: {text}", file=sys.stderr, flush=True)
    os._exit(EXIT_PEER_LOST)


def join_when_ready(env: DistributedEnv, store: TCPStore, kind: str) -> None:
    """Say that this process is, and meet the others."""
    store.set(f"ready {env.rank}", "yes")
    join_process_group(env, kind, store)
