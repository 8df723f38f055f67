"""Features that several processes compute by turns: group j is computed by process j mod size.

The first process gets the results in the order of the groups, and puts them together as it would
have put its own, so that the number of processes changes no bit of them.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from selfwise.distributed.process_group import DistributedEnv, cpu_group

Arrays = tuple[np.ndarray, ...]
SENT_DTYPES = (np.dtype("float32"), np.dtype("int64"))  # that are sent, by their number
EMPTY = np.zeros((0, 0), dtype=np.float32)  # what the other processes return in the end


def gather_in_order(own: Iterator[Arrays], count: int, env: DistributedEnv) -> Iterator[Arrays]:
    """The results of `count` groups at the first process, none at the others.

    `own` are those of this process: of the groups rank, rank + size, rank + 2 size and so on.
    """
    if env.size == 1:
        yield from own
        return
    group = cpu_group()
    if env.rank:
        for arrays in own:
            _send(arrays, group)
        return
    for j in range(count):
        at = j % env.size
        yield next(own) if at == 0 else _receive(at, group)


def broadcast_flag(here: bool, env: DistributedEnv) -> bool:
    """What the first process says."""
    if env.size == 1:
        return here
    said = torch.tensor([int(here)])
    dist.broadcast(said, src=0, group=cpu_group())
    return bool(said)


def _send(arrays: Arrays, group: Any) -> None:
    dist.send(torch.tensor([len(arrays)]), 0, group=group)
    for array in arrays:
        shape = [*array.shape, *[0] * (6 - array.ndim)]
        dist.send(
            torch.tensor([SENT_DTYPES.index(array.dtype), array.ndim, *shape]), 0, group=group
        )
        if array.size:
            dist.send(torch.from_numpy(np.ascontiguousarray(array)), 0, group=group)


def _receive(rank: int, group: Any) -> Arrays:
    count = torch.zeros(1, dtype=torch.int64)
    dist.recv(count, rank, group=group)
    return tuple(_receive_array(rank, group) for _ in range(int(count)))


def _receive_array(rank: int, group: Any) -> np.ndarray:
    head = torch.zeros(8, dtype=torch.int64)
    dist.recv(head, rank, group=group)
    kind, dimensions, *shape = head.tolist()
    array = np.empty(shape[:dimensions], dtype=SENT_DTYPES[kind])
    if array.size:
        dist.recv(torch.from_numpy(array), rank, group=group)
    return array
