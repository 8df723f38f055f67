"""The interface of sets of images, and sets in an array."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from selfwise.core.files import digest
from selfwise.core.types import ImageBatch
from selfwise.data.compact_paths import take_rows
from selfwise.data.labels import LAYOUTS


@runtime_checkable
class Images(Protocol):
    """Examples that can be read by row. `open_images` makes them."""

    @property
    def ids(self) -> Sequence[str]:
        """One per example: the relative path, or the row number as text."""
        ...

    @property
    def labels(self) -> np.ndarray | None:
        """int64 (n,)."""
        ...

    @property
    def classes(self) -> list[str] | None:
        """`classes[label]` is the label's name."""
        ...

    @property
    def channels(self) -> int:
        """1 or 3."""
        ...

    @property
    def side(self) -> int:
        """Natural side of a square view in px: the shorter side of the typical image."""
        ...

    @property
    def fingerprint(self) -> str:
        """A hash of what the data are, hex: contents of arrays; names, sizes, beginnings of files.

        Equal for equal files in any location.
        """
        ...

    @property
    def broken(self) -> list[str]:
        """Ids that were left out, or replaced, because they could not be read."""
        ...

    def __len__(self) -> int: ...

    def read(self, rows: np.ndarray) -> ImageBatch:
        """Return the examples of `rows` as uint8; `index` says which row each picture really is."""
        ...

    def take(self, rows: np.ndarray) -> "Images":
        """Return some rows as a separate set, with their ids and labels, without copying."""
        ...


@dataclass(kw_only=True)
class ArrayImages:
    """Images in one uint8 array (m c h w), in memory or memory-mapped.

    `rows` says which of the m belong to this set; `extent` (m 2) is the real size of each where
    they differ. A memory map travels to other processes by the name of its `file`.
    """

    x: np.ndarray
    ids: Sequence[str]
    channels: int
    fingerprint: str
    labels: np.ndarray | None = None
    classes: list[str] | None = None
    extent: np.ndarray | None = None
    rows: np.ndarray | None = None
    broken: list[str] = field(default_factory=list)
    broken_log: Path | None = None
    file: "MappedFile | None" = None
    stamp: str = ""  # changes with the folder and when a file is touched; for caches
    skipped: str = ""  # as of a Listing

    def __post_init__(self) -> None:
        assert self.x.ndim == 4, self.x.shape
        assert self.x.dtype == np.uint8, self.x.dtype
        assert self.labels is None or len(self.labels) == len(self.ids) == len(self)

    def __len__(self) -> int:
        return len(self.x if self.rows is None else self.rows)

    @property
    def side(self) -> int:
        if self.extent is None or not len(self):
            return min(self.x.shape[2:])
        extent = self.extent if self.rows is None else self.extent[self.rows]
        return int(np.median(extent.min(axis=1)))

    def read(self, rows: np.ndarray) -> ImageBatch:
        stored = rows if self.rows is None else self.rows[rows]
        x = with_channels(np.ascontiguousarray(self.x[stored]), self.channels)
        extent = None if self.extent is None else torch.from_numpy(self.extent[stored])
        return ImageBatch(torch.from_numpy(x), torch.from_numpy(rows.astype(np.int64)), extent)

    def take(self, rows: np.ndarray) -> "ArrayImages":
        return dataclasses.replace(
            self,
            ids=take_rows(self.ids, rows),
            labels=None if self.labels is None else self.labels[rows],
            rows=rows if self.rows is None else self.rows[rows],
            fingerprint=digest(self.fingerprint, rows),
        )

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "x": self.x if self.file is None else None}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        if self.file is not None:
            self.x = self.file.open()


@dataclass(frozen=True)
class MappedFile:
    """A .npy file of uint8 images, mapped: pages are read when they are touched."""

    path: str
    layout: str  # "nchw", "nhwc" or "nhw"

    def open(self) -> np.ndarray:
        """Return a read-only view (n c h w)."""
        x = np.load(self.path, mmap_mode="r", allow_pickle=False)
        return channels_first(x, self.layout)


def channels_first(x: np.ndarray, layout: str) -> np.ndarray:
    """Return a view (n c h w) of an array in one of the three layouts."""
    if layout == "nhw":
        return x[:, None]
    return x if layout == "nchw" else x.transpose(0, 3, 1, 2)


def with_channels(x: np.ndarray, channels: int) -> np.ndarray:
    """uint8 (n c h w) as gray or color; luma as in ITU-R BT.601, rounded as Pillow does."""
    if x.shape[1] == channels:
        return x
    if channels == 3:
        return np.repeat(x, 3, axis=1)
    weights = np.array([19595, 38470, 7471], dtype=np.uint32).reshape(1, 3, 1, 1)
    return ((x * weights).sum(axis=1, keepdims=True) + 0x8000 >> 16).astype(np.uint8)


def require_labels(images: Images) -> np.ndarray:
    """Return the labels. Raises ValueError if there are none, and says which layouts carry them."""
    if images.labels is None:
        raise ValueError(f"these data have no labels; labels come with {LAYOUTS}")
    return images.labels
