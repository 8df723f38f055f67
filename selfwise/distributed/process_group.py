"""The processes of a run: how many there are, which of them this is, and how they are connected.

Either a run starts the others itself (`crew`), or torchrun or SLURM has started them all. They form
one group of torch.distributed: gloo between CPUs, nccl between GPUs.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.distributed as dist
from torch.distributed import TCPStore

if TYPE_CHECKING:  # it takes seconds to import
    from lightning_fabric.plugins.environments import ClusterEnvironment

# the first process may learn units for a day before it needs the others, which wait for it
GROUP_TIMEOUT = timedelta(days=3)
RENDEZVOUS_TIMEOUT = timedelta(minutes=10)  # until a task of SLURM that begins sees the first one


class DistributedEnv(NamedTuple):
    """Which process this is, of how many; in all, and on this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1


SINGLE_PROCESS = DistributedEnv()


def detect_env() -> DistributedEnv | None:
    """The processes that torchrun or SLURM has started, or None where neither has.

    Raises ValueError if SLURM was not told how many of them a machine has.
    """
    if dist.is_torchelastic_launched():
        from lightning_fabric.plugins.environments import TorchElasticEnvironment

        return _read_cluster_env(TorchElasticEnvironment(), int(os.environ["LOCAL_WORLD_SIZE"]))
    # of a job, and not of a script that asked for several tasks and starts one without srun
    if (tasks := int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))) > 1:
        if "SLURM_NTASKS_PER_NODE" not in os.environ:  # the fabric asks for it too
            raise ValueError(
                f"SLURM has started {tasks} tasks and does not say how many of them are on each "
                "machine: give --ntasks-per-node instead of --ntasks"
            )
        nodes = int(os.environ.get("SLURM_STEP_NUM_NODES", os.environ.get("SLURM_NNODES", "1")))
        slurm = _slurm_environment()
        return _read_cluster_env(slurm, max(1, slurm.world_size() // nodes))
    return None


def _slurm_environment() -> "ClusterEnvironment":
    from lightning_fabric.plugins.environments import SLURMEnvironment

    return SLURMEnvironment()


def _read_cluster_env(environment: "ClusterEnvironment", local_size: int) -> DistributedEnv:
    rank, size = environment.global_rank(), environment.world_size()
    return DistributedEnv(rank, size, environment.local_rank(), local_size)


def count_local_processes(devices: int) -> int:
    """How many of a run's processes share this machine."""
    env = detect_env()
    return env.local_size if env is not None else devices


def count_processes(devices: int | None) -> int:
    """How many processes a run has: as many as were started, or else as many as it asks for.

    Raises ValueError if it asks for another number than were started.
    """
    env = detect_env()
    if env is None:
        return 1 if devices is None else devices
    if devices not in (None, 1, env.size):
        raise ValueError(
            f"--devices {devices} does not fit the {env.size} processes that were started: "
            "torchrun and SLURM say how many there are, so leave it out"
        )
    return env.size


def process_device(env: DistributedEnv, kind: str) -> torch.device:
    """The device of this process, of a kind such as cuda."""
    if kind != "cuda":
        return torch.device(kind)
    # where SLURM shows each task a GPU of its own, there is one
    return torch.device("cuda", env.local_rank % torch.cuda.device_count())


def join_process_group(env: DistributedEnv, kind: str, store: TCPStore | None = None) -> None:
    """Meet the others, and wait for them. Without a store, where torchrun or SLURM says."""
    if dist.is_initialized():  # by an earlier run of the same processes
        wait_for_all()
        return
    if kind == "cuda":
        torch.cuda.set_device(process_device(env, kind))
    if store is None and not dist.is_torchelastic_launched():
        store = open_rendezvous()
    backend = {"cuda": "nccl"}.get(kind, "gloo")
    # torchrun says both in the environment
    numbers: dict[str, Any] = {}
    if store is not None:
        numbers = {"rank": env.rank, "world_size": env.size}
    dist.init_process_group(backend, store=store, timeout=GROUP_TIMEOUT, **numbers)


def check_multiprocess_command(verb: str, shared: Sequence[str]) -> None:
    """Raises ValueError if several processes were started for what one of them does.

    Of those that share the work the others wait for the first one: they notice from here on if it
    ends before they meet. torchrun does so by itself; `srun` leaves them waiting.
    """
    if (env := detect_env()) is None or env.size == 1:
        return
    if verb not in shared:
        raise ValueError(
            f"selfwise {verb} is the work of one process, and {env.size} were started: "
            f"torchrun and srun are for {', '.join(shared)}"
        )
    if env.rank == 0 and not dist.is_torchelastic_launched():
        open_rendezvous()


@cache
def open_rendezvous() -> TCPStore:
    """Where the tasks of SLURM meet; the first one opens it."""
    slurm = _slurm_environment()
    place = (slurm.main_address, slurm.main_port, slurm.world_size(), slurm.global_rank() == 0)
    store = TCPStore(*place, timeout=RENDEZVOUS_TIMEOUT, wait_for_workers=False)
    store.set_timeout(GROUP_TIMEOUT)
    return store


def leave_process_group() -> None:
    """Leave the group. What torchrun started keeps it, since nobody can meet there twice."""
    if dist.is_initialized() and detect_env() is None:
        dist.destroy_process_group()


def cpu_group() -> Any:
    """The group in which arrays of numpy travel, or None for the one that is there."""
    if dist.get_backend() == "gloo":
        return None
    return _new_cpu_group()


@cache
def _new_cpu_group() -> Any:
    return dist.new_group(backend="gloo", timeout=GROUP_TIMEOUT)


def wait_for_all() -> None:
    """Until every process is here; with one process, none is waited for."""
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.barrier()


def is_peer_failure(error: BaseException) -> bool:
    """Whether an error says that another process of the group is gone."""
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and ("gloo" in str(error) or "closed by peer" in str(error))
    )


@contextmanager
def report_peer_failure(go_on: str) -> Iterator[None]:
    """Where another process is gone, say so in one sentence, and how to go on."""
    try:
        yield
    except RuntimeError as error:
        if not is_peer_failure(error):
            raise
        if dist.is_initialized() and dist.get_backend() == "gloo":
            dist.destroy_process_group()  # otherwise its threads end the process with a signal
        raise ChildProcessError(f"another process of the run ended; {go_on}") from error
