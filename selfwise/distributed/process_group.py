"""The processes of a run: their number, this process's rank, and their connection.

Either a run starts the other processes itself (`launch_workers`), or torchrun or SLURM started all
of them. They form one group of torch.distributed: gloo between CPUs, nccl between GPUs.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch.distributed import TCPStore

# the first process may cluster for a day before it needs the other processes, which wait for it
GROUP_TIMEOUT = timedelta(days=3)
FIRST_SLURM_PORT, DEFAULT_PORT = 15_000, 12_910
RENDEZVOUS_TIMEOUT = timedelta(minutes=10)  # for a starting SLURM task to reach the first task


class DistributedEnv(NamedTuple):
    """The number of this process and of all processes, in the run and on this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1


SINGLE_PROCESS = DistributedEnv()


def detect_env() -> DistributedEnv | None:
    """Detect the processes that torchrun or SLURM started; None if neither of them did.

    Raises ValueError if SLURM does not specify the number of processes per machine.
    """
    environ = os.environ
    if dist.is_torchelastic_launched():
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        return DistributedEnv(*(int(environ[name]) for name in names))
    # for a job step, but not for a script with several tasks that starts one without srun
    if (tasks := int(environ.get("SLURM_STEP_NUM_TASKS", "1"))) > 1:
        if "SLURM_NTASKS_PER_NODE" not in environ:
            raise ValueError(
                f"SLURM started {tasks} tasks and does not specify how many of them are on each "
                "machine: give --ntasks-per-node instead of --ntasks"
            )
        nodes = int(environ.get("SLURM_STEP_NUM_NODES", environ.get("SLURM_NNODES", "1")))
        rank, size, local_rank = (
            int(environ[name]) for name in ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")
        )
        return DistributedEnv(rank, size, local_rank, max(1, size // nodes))
    return None


def find_slurm_address() -> tuple[str, int]:
    """Find the host and the port at which the tasks of SLURM meet.

    MASTER_ADDR and MASTER_PORT take precedence; otherwise it is the first machine of the job, and a
    port that follows from the number of the job.
    """
    # node[05-07,11] -> node05, node05,node06 -> node05
    nodes = re.sub(r"\[([^],-]*)[^]]*\]", r"\1", os.environ.get("SLURM_NODELIST", "127.0.0.1"))
    host = os.environ.get("MASTER_ADDR", re.split("[ ,]", nodes)[0])
    job = os.environ.get("SLURM_JOB_ID")
    port = FIRST_SLURM_PORT + int(job[-4:]) if job else DEFAULT_PORT
    return host, int(os.environ.get("MASTER_PORT", port))


def count_local_processes(devices: int) -> int:
    """Count the processes of a run that share this machine."""
    env = detect_env()
    return env.local_size if env is not None else devices


def count_processes(devices: int | None) -> int:
    """Count the processes of a run: those that a launcher started, otherwise `devices`.

    Raises ValueError if `devices` differs from the number that a launcher started.
    """
    env = detect_env()
    if env is None:
        return 1 if devices is None else devices
    if devices not in (None, 1, env.size):
        raise ValueError(
            f"--devices {devices} does not fit the {env.size} processes that were started: "
            "torchrun and SLURM set the number, so leave out --devices"
        )
    return env.size


def process_device(env: DistributedEnv, device_type: str) -> torch.device:
    """Return the device of this process, of a type such as cuda."""
    if device_type != "cuda":
        return torch.device(device_type)
    # if SLURM shows each task only its own GPU, there is one
    return torch.device("cuda", env.local_rank % torch.cuda.device_count())


def join_process_group(
    env: DistributedEnv, device_type: str, store: TCPStore | None = None
) -> None:
    """Join the process group and wait for the other processes.

    Without a store, the processes meet at the address that torchrun or SLURM sets.
    """
    if dist.is_initialized():  # by an earlier run of the same processes
        wait_for_all()
        return
    if device_type == "cuda":
        torch.cuda.set_device(process_device(env, device_type))
    if store is None and not dist.is_torchelastic_launched():
        store = open_rendezvous()
    backend = {"cuda": "nccl"}.get(device_type, "gloo")
    # without a store, torchrun sets both numbers in the environment: -1 means to read them
    rank, size = (env.rank, env.size) if store is not None else (-1, -1)
    dist.init_process_group(backend, store=store, timeout=GROUP_TIMEOUT, rank=rank, world_size=size)


def check_multiprocess_command(verb: str, multiprocess_verbs: Sequence[str]) -> None:
    """Raise ValueError if a launcher started several processes for a command that needs one.

    In a command of several processes, the other processes wait for the first. From here on they
    notice if it ends before they meet. torchrun handles that itself; `srun` leaves them waiting.
    """
    if (env := detect_env()) is None or env.size == 1:
        return
    if verb not in multiprocess_verbs:
        raise ValueError(
            f"selfwise {verb} runs in one process, and {env.size} were started: "
            f"torchrun and srun are for {', '.join(multiprocess_verbs)}"
        )
    if env.rank == 0 and not dist.is_torchelastic_launched():
        open_rendezvous()


@cache
def open_rendezvous() -> TCPStore:
    """Open the store in which the tasks of SLURM meet; the first task hosts it."""
    env = detect_env()
    assert env is not None, "a task of SLURM"
    host, port = find_slurm_address()
    store = TCPStore(
        host, port, env.size, env.rank == 0, timeout=RENDEZVOUS_TIMEOUT, wait_for_workers=False
    )
    store.set_timeout(GROUP_TIMEOUT)
    return store


def leave_process_group() -> None:
    """Leave the group. Processes of torchrun stay in it, since they cannot join a second one."""
    if dist.is_initialized() and detect_env() is None:
        dist.destroy_process_group()


def cpu_group() -> dist.ProcessGroup | None:
    """Return the group that sends numpy arrays; None for the default group."""
    if dist.get_backend() == "gloo":
        return None
    return _new_cpu_group()


@cache
def _new_cpu_group() -> dist.ProcessGroup:
    group = dist.new_group(backend="gloo", timeout=GROUP_TIMEOUT)
    assert isinstance(group, dist.ProcessGroup), "every process is a member"
    return group


def wait_for_all() -> None:
    """Wait until every process is here. A single process does not wait."""
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.barrier()


def is_peer_failure(error: BaseException) -> bool:
    """Return whether the error means that another process of the group is gone."""
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and ("gloo" in str(error) or "closed by peer" in str(error))
    )


@contextmanager
def report_peer_failure(resume_hint: str) -> Iterator[None]:
    """Raise ChildProcessError with one sentence and the hint if another process is gone."""
    try:
        yield
    except RuntimeError as error:
        if not is_peer_failure(error):
            raise
        if dist.is_initialized() and dist.get_backend() == "gloo":
            dist.destroy_process_group()  # otherwise its threads end the process with a signal
        raise ChildProcessError(f"another process of the run ended; {resume_hint}") from error
