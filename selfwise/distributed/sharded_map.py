"""Features computed by several processes in turn: process j mod size computes group j.

The first process gets the results in the order of the groups and joins them as if it had computed
all of them, so that the number of processes does not change a bit of the result.
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.distributed as dist

from selfwise.distributed.process_group import DistributedEnv, cpu_group

Arrays = tuple[np.ndarray, ...]
SENT_DTYPES = (np.dtype("float32"), np.dtype("int64"))  # identified by their index
EMPTY = np.zeros((0, 0), dtype=np.float32)  # the return value of the other processes


def gather_in_order(
    local_results: Iterator[Arrays], num_groups: int, env: DistributedEnv
) -> Iterator[Arrays]:
    """Yield the results of all groups in the first process, and nothing in the other processes.

    `local_results` belong to the groups rank, rank + size, rank + 2 size and so on.
    """
    if env.size == 1:
        yield from local_results
        return
    group = cpu_group()
    if env.rank:
        for arrays in local_results:
            _send(arrays, group)
        return
    for j in range(num_groups):
        rank = j % env.size
        yield next(local_results) if rank == 0 else _receive(rank, group)


def broadcast_flag(flag: bool, env: DistributedEnv) -> bool:
    """Return the flag of the first process in every process."""
    if env.size == 1:
        return flag
    number = torch.tensor([int(flag)])
    dist.broadcast(number, src=0, group=cpu_group())
    return bool(number)


def _send(arrays: Arrays, group: dist.ProcessGroup | None) -> None:
    dist.send(torch.tensor([len(arrays)]), 0, group=group)
    for array in arrays:
        shape = [*array.shape, *[0] * (6 - array.ndim)]
        dist.send(
            torch.tensor([SENT_DTYPES.index(array.dtype), array.ndim, *shape]), 0, group=group
        )
        if array.size:
            dist.send(torch.from_numpy(np.ascontiguousarray(array)), 0, group=group)


def _receive(rank: int, group: dist.ProcessGroup | None) -> Arrays:
    count = torch.zeros(1, dtype=torch.int64)
    dist.recv(count, rank, group=group)
    return tuple(_receive_array(rank, group) for _ in range(int(count)))


def _receive_array(rank: int, group: dist.ProcessGroup | None) -> np.ndarray:
    header = torch.zeros(8, dtype=torch.int64)
    dist.recv(header, rank, group=group)
    dtype, dimensions, *shape = header.tolist()
    array = np.empty(shape[:dimensions], dtype=SENT_DTYPES[dtype])
    if array.size:
        dist.recv(torch.from_numpy(array), rank, group=group)
    return array
