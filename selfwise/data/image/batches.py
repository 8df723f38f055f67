"""Batches by step: a pure function of the seed and the step."""

from collections.abc import Callable
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch

from selfwise.core.rng import shuffle_indices
from selfwise.core.types import Batch, Labelled, shard_slice
from selfwise.data.image.dataset import Images, require_labels

ChooseRows = Callable[[int, int, int, int], np.ndarray]


def sample_epoch(n: int, batch: int, step: int, seed: int) -> np.ndarray:
    """Return the rows of a step when every epoch is a permutation of its own: int64 (batch,)."""
    epoch, position = divmod(step, n // batch)
    return _order(n, seed, epoch)[position * batch : (position + 1) * batch]


@lru_cache(maxsize=2)
def _order(n: int, seed: int, epoch: int) -> np.ndarray:
    order = shuffle_indices(n, seed, "epoch", epoch)
    order.flags.writeable = False
    return order


class ImageSource:
    """Batches of images for training. `draw(n, batch, step, seed)` gives a step's int64 rows.

    Give it to `DataLoader(source, batch_size=None, sampler=range(start, stop))`; resume is
    another `start`.

    Raises ValueError if the batch is larger than the data, or if labels are asked for and there
    are none.
    """

    modality: ClassVar[str] = "image"

    def __init__(
        self,
        images: Images,
        *,
        batch: int,
        seed: int,
        labelled: bool = False,
        draw: ChooseRows = sample_epoch,
    ):
        if not 1 <= batch <= len(images):
            raise ValueError(
                f"batch {batch} does not fit the data of {len(images)} images; "
                f"use a batch of 1 to {len(images)}"
            )
        self.images, self.size, self.seed, self.draw = images, batch, seed, draw
        self.count = len(images)
        self.labels = torch.from_numpy(require_labels(images)) if labelled else None

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in the data; what is left over is dropped, other rows in each epoch."""
        return self.count // self.size

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, counted from 0 over all epochs."""
        return self._read(self._rows(step))

    def read_part(self, step: int, index: int, count: int) -> tuple[Batch, int, int]:
        """Return the part `index` of `count` of a step's batch, its first row, and rows of the
        batch."""
        rows = self._rows(step)
        shard = shard_slice(len(rows), index, count)
        return self._read(rows[shard]), shard.start, len(rows)

    def _rows(self, step: int) -> np.ndarray:
        return self.draw(self.count, self.size, step, self.seed)

    def _read(self, rows: np.ndarray) -> Batch:
        batch = self.images.read(rows)
        if self.labels is None:
            return batch
        return Labelled(batch, self.labels[batch.index])

    def __len__(self) -> int:
        return self.steps_per_epoch

    def __getitem__(self, step: int) -> Batch:
        return self.batch(step)
