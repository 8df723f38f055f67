"""Features of several layers and poolings in a cache, a file for each."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from selfwise.core.files import digest
from selfwise.distributed.process_group import SINGLE_PROCESS, DistributedEnv
from selfwise.distributed.sharded_map import broadcast_flag
from selfwise.evaluation.features.image import load_or_compute

Key = Sequence[str | int | float | None]


def load_or_compute_all(
    folder: Path,
    keys: Sequence[Key],
    compute: Callable[[list[int]], list[Float32[np.ndarray, "n _"]]],
    *,
    env: DistributedEnv = SINGLE_PROCESS,
) -> list[Float32[np.ndarray, "n _"]]:
    """Return the features filed under each key; missing ones are computed in one pass and filed.

    `compute` takes the positions of the missing keys. `load_or_compute` describes keys and files,
    and reads them as well, so that a probe of one layer later finds its features.
    """
    files = [folder / f"{digest(repr(tuple(key)))}.npy" for key in keys]
    missing = [i for i, file in enumerate(files) if not broadcast_flag(file.exists(), env)]
    computed = dict(zip(missing, compute(missing) if missing else []))
    return [
        load_or_compute(folder, key, lambda i=i: computed[i], env=env)  # type: ignore[misc]
        for i, key in enumerate(keys)
    ]
