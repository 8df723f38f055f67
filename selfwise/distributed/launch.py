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
    PATIENCE,
    World,
    connect,
    disconnect,
    ends_with_the_others,
    given,
    lost_peer,
)

# gloo talks by the network of the host's name, unless told otherwise
NEAR = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
HOST, MEMBER = "127.0.0.1", "SELFWISE_MEMBER"  # rank, size, port, number of the first process
LOST, STOPPED = 75, 130  # exit codes: another process is gone; told to stop
GRACE = 15.0  # seconds in which a process may find out by itself that another is gone
OFTEN = 0.25  # seconds between two looks


class Crew:
    """The other processes of a run."""

    def __init__(self, command: Sequence[str], size: int, threads: int, go_on: str):
        self.go_on, self.over = go_on, threading.Event()
        # by itself the store would listen on all networks
        own = socket.create_server((HOST, 0))
        where = (HOST, own.getsockname()[1], size, True, PATIENCE, False)
        self.store = TCPStore(*where, master_listen_fd=own.detach())
        root = str(Path(__file__).resolve().parent.parent.parent)
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        shared = {**NEAR, **os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        shared["OMP_NUM_THREADS"] = str(threads)
        self.members = [
            subprocess.Popen(
                [*command],
                env={**shared, MEMBER: f"{rank} {size} {self.store.port} {os.getpid()}"},
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
            sleep(OFTEN / 5)

    def check(self, patience: float = 0.0) -> None:
        """Raises ChildProcessError if a process has ended that should not have."""
        until = monotonic() + patience
        while not (sentence := self._death()):
            if monotonic() >= until:
                return
            sleep(OFTEN / 5)
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
        bad = {rank: code for rank, code in codes.items() if code not in (None, 0, STOPPED)}
        if not bad:
            return ""
        # those that only lost another one are no reason
        rank = min(bad, key=lambda one: (bad[one] == LOST, (bad[one] or 0) > 0, one))
        code, which = bad[rank] or 0, f"process {rank} of {len(codes) + 1}"
        if code < 0:
            how = f"was killed by signal {-code} ({signal.Signals(-code).name})"
        else:
            how = f"ended with exit code {code}"
        return f"{which} {how}; {self.go_on}"

    def _watch(self) -> None:
        """The last resort: the first process waits for one that is gone and will not wake up."""
        while not self.over.wait(OFTEN):
            if sentence := self._death():
                if self.over.wait(GRACE):
                    return
                print(f"selfwise: {sentence}", file=sys.stderr, flush=True)
                for member in self.members:
                    member.kill()
                os._exit(1)


@contextmanager
def crew(
    command: Sequence[str], size: int, *, kind: str, threads: int, go_on: str
) -> Iterator[World]:
    """The first of `size` processes, with the others, which run `command`, connected.

    Raises ChildProcessError with one sentence if one of them dies.
    """
    if size == 1:
        yield World()
        return
    if (world := given()) is not None:
        connect(world, kind)
        with ends_with_the_others(go_on):
            yield world
        return
    others = Crew(command, size, threads, go_on)
    world, patience = World(0, size, 0, size), 0.0
    try:
        others.wait()
        with _near():
            connect(world, kind, others.store)
        yield world
        patience = 60.0
    except KeyboardInterrupt as stop:
        patience = 60.0 if stop.args else 0.0  # with a sentence: they stop after the same step
        raise
    except RuntimeError as error:
        if lost_peer(error):
            others.check(GRACE / 2)
        raise
    finally:
        others.end(patience)
        disconnect()


@contextmanager
def _near() -> Iterator[None]:
    """What the others are told of the network, while this process meets them."""
    added = {name: value for name, value in NEAR.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def serve(work: Callable[[World, TCPStore], None], go_on: str) -> int:
    """One of the other processes, from beginning to end: its exit code."""
    rank, size, port, first = map(int, os.environ.pop(MEMBER).split())
    world = World(rank, size, rank, size)
    threading.Thread(target=_end_with, args=(first, world, go_on), daemon=True).start()
    try:
        store = TCPStore(HOST, port, size, False, timedelta(seconds=60), wait_for_workers=False)
        work(world, store)
    except KeyboardInterrupt:
        return STOPPED
    except FloatingPointError:  # of a number that all have, and the first one says so
        return LOST
    except (ValueError, OSError) as error:
        print(f"selfwise: process {rank + 1} of {size}: {error}", file=sys.stderr, flush=True)
        return 2
    except RuntimeError as error:
        if not lost_peer(error):
            raise
        sleep(GRACE)  # the first process says what happened, or is gone itself
        return LOST
    return 0


def _end_with(first: int, world: World, go_on: str) -> None:
    """End when the first process is gone, wherever this one is."""
    while os.getppid() == first:
        sleep(OFTEN)
    if world.rank == 1:
        text = f"process 1 of {world.size} is gone, so the others end; {go_on}"
        print(f"selfwise: {text}", file=sys.stderr, flush=True)
    os._exit(LOST)


def ready(world: World, store: TCPStore, kind: str) -> None:
    """Say that this process is, and meet the others."""
    store.set(f"ready {world.rank}", "yes")
    connect(world, kind, store)
