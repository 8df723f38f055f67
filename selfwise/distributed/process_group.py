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
PATIENCE = timedelta(days=3)
COMING = timedelta(minutes=10)  # until a task of SLURM that begins sees the first one


class World(NamedTuple):
    """Which process this is, of how many; in all, and on this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1


ALONE = World()


def given() -> World | None:
    """The processes that torchrun or SLURM has started, or None where neither has.

    Raises ValueError if SLURM was not told how many of them a machine has.
    """
    if dist.is_torchelastic_launched():
        from lightning_fabric.plugins.environments import TorchElasticEnvironment

        return _world(TorchElasticEnvironment(), int(os.environ["LOCAL_WORLD_SIZE"]))
    # of a job, and not of a script that asked for several tasks and starts one without srun
    if (tasks := int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))) > 1:
        if "SLURM_NTASKS_PER_NODE" not in os.environ:  # the fabric asks for it too
            raise ValueError(
                f"SLURM has started {tasks} tasks and does not say how many of them are on each "
                "machine: give --ntasks-per-node instead of --ntasks"
            )
        nodes = int(os.environ.get("SLURM_STEP_NUM_NODES", os.environ.get("SLURM_NNODES", "1")))
        slurm = _slurm()
        return _world(slurm, max(1, slurm.world_size() // nodes))
    return None


def _slurm() -> "ClusterEnvironment":
    from lightning_fabric.plugins.environments import SLURMEnvironment

    return SLURMEnvironment()


def _world(environment: "ClusterEnvironment", local_size: int) -> World:
    rank, size = environment.global_rank(), environment.world_size()
    return World(rank, size, environment.local_rank(), local_size)


def here(devices: int) -> int:
    """How many of a run's processes share this machine."""
    world = given()
    return world.local_size if world is not None else devices


def counted(devices: int | None) -> int:
    """How many processes a run has: as many as were started, or else as many as it asks for.

    Raises ValueError if it asks for another number than were started.
    """
    world = given()
    if world is None:
        return 1 if devices is None else devices
    if devices not in (None, 1, world.size):
        raise ValueError(
            f"--devices {devices} does not fit the {world.size} processes that were started: "
            "torchrun and SLURM say how many there are, so leave it out"
        )
    return world.size


def device_of(world: World, kind: str) -> torch.device:
    """The device of this process, of a kind such as cuda."""
    if kind != "cuda":
        return torch.device(kind)
    # where SLURM shows each task a GPU of its own, there is one
    return torch.device("cuda", world.local_rank % torch.cuda.device_count())


def connect(world: World, kind: str, store: TCPStore | None = None) -> None:
    """Meet the others, and wait for them. Without a store, where torchrun or SLURM says."""
    if dist.is_initialized():  # by an earlier run of the same processes
        wait_for_all()
        return
    if kind == "cuda":
        torch.cuda.set_device(device_of(world, kind))
    if store is None and not dist.is_torchelastic_launched():
        store = meeting()
    backend = {"cuda": "nccl"}.get(kind, "gloo")
    # torchrun says both in the environment
    numbers: dict[str, Any] = {}
    if store is not None:
        numbers = {"rank": world.rank, "world_size": world.size}
    dist.init_process_group(backend, store=store, timeout=PATIENCE, **numbers)


def check_shared(verb: str, shared: Sequence[str]) -> None:
    """Raises ValueError if several processes were started for what one of them does.

    Of those that share the work the others wait for the first one: they notice from here on if it
    ends before they meet. torchrun does so by itself; `srun` leaves them waiting.
    """
    if (world := given()) is None or world.size == 1:
        return
    if verb not in shared:
        raise ValueError(
            f"selfwise {verb} is the work of one process, and {world.size} were started: "
            f"torchrun and srun are for {', '.join(shared)}"
        )
    if world.rank == 0 and not dist.is_torchelastic_launched():
        meeting()


@cache
def meeting() -> TCPStore:
    """Where the tasks of SLURM meet; the first one opens it."""
    slurm = _slurm()
    place = (slurm.main_address, slurm.main_port, slurm.world_size(), slurm.global_rank() == 0)
    store = TCPStore(*place, timeout=COMING, wait_for_workers=False)
    store.set_timeout(PATIENCE)
    return store


def disconnect() -> None:
    """Leave the group. What torchrun started keeps it, since nobody can meet there twice."""
    if dist.is_initialized() and given() is None:
        dist.destroy_process_group()


def messages() -> Any:
    """The group in which arrays of numpy travel, or None for the one that is there."""
    if dist.get_backend() == "gloo":
        return None
    return _messages()


@cache
def _messages() -> Any:
    return dist.new_group(backend="gloo", timeout=PATIENCE)


def wait_for_all() -> None:
    """Until every process is here; with one process, none is waited for."""
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.barrier()


def lost_peer(error: BaseException) -> bool:
    """Whether an error says that another process of the group is gone."""
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and ("gloo" in str(error) or "closed by peer" in str(error))
    )


@contextmanager
def ends_with_the_others(go_on: str) -> Iterator[None]:
    """Where another process is gone, say so in one sentence, and how to go on."""
    try:
        yield
    except RuntimeError as error:
        if not lost_peer(error):
            raise
        if dist.is_initialized() and dist.get_backend() == "gloo":
            dist.destroy_process_group()  # otherwise its threads end the process with a signal
        raise ChildProcessError(f"another process of the run ended; {go_on}") from error
