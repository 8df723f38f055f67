"""Recordings with samples in files, in a memory map, or in memory."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from selfwise.core.files import digest
from selfwise.core.rng import shuffle_indices
from selfwise.core.types import RATE
from selfwise.data.audio import decode as decode
from selfwise.data.compact_paths import Paths, take_rows
from selfwise.data.unreadable import ReadError, UnreadableFile


@runtime_checkable
class SampleStore(Protocol):
    """Samples by row, mono and at 16 kHz."""

    def read(self, row: int, start: int, stop: int) -> np.ndarray:
        """float32 (stop - start,); the caller stays inside the recording."""
        ...


@dataclass(frozen=True)
class FileStore:
    """Recordings that are decoded on demand."""

    root: Path
    paths: Paths
    frames: np.ndarray
    rates: np.ndarray

    def read(self, row: int, start: int, stop: int) -> np.ndarray:
        path = os.path.join(self.root, self.paths[row])
        shape = decode.RecordingShape(int(self.frames[row]), int(self.rates[row]))
        try:
            return decode.read_samples(path, shape, start, stop)
        except UnreadableFile as error:
            raise ReadError(
                f"{path}: cannot be read: {error}; remove the file and start again"
            ) from error


class MapStore:
    """Decoded recordings one after the other in a .npy file; `starts` says where each begins.

    It travels to other processes by the name of the file.
    """

    def __init__(self, path: str, starts: np.ndarray):
        self.path, self.starts = path, starts
        self.x = np.load(path, mmap_mode="r", allow_pickle=False)

    def read(self, row: int, start: int, stop: int) -> np.ndarray:
        first = int(self.starts[row])
        return np.array(self.x[first + start : first + stop])

    def __reduce__(self) -> tuple[type["MapStore"], tuple[str, np.ndarray]]:
        return MapStore, (self.path, self.starts)


@dataclass(frozen=True)
class ListStore:
    """Arrays in memory."""

    arrays: Sequence[np.ndarray]

    def read(self, row: int, start: int, stop: int) -> np.ndarray:
        return self.arrays[row][start:stop].astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Recordings:
    """n recordings that can be read in part. `open_recordings` makes them."""

    ids: Sequence[str]  # relative paths, or row numbers as text
    samples: np.ndarray  # int64 (n,), at 16 kHz
    store: SampleStore
    rows: np.ndarray  # int64 (n,), of the store
    fingerprint: str  # identity of the data in any location, as for images
    labels: np.ndarray | None = None  # int64 (n,)
    classes: list[str] | None = None
    groups: np.ndarray | None = None  # int64 (n,), speakers for example
    group_names: list[str] | None = None
    broken: list[str] = field(default_factory=list)  # what was left out, each with its reason
    stamp: str = ""  # changes with the folder and when a file is touched; for caches
    skipped: str = ""  # as of a Listing

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def seconds(self) -> float:
        """Length of all of them together."""
        return int(self.samples.sum()) / RATE

    def read(self, i: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return samples `start` to `stop` of recording i, float32 (s,), mono at 16 kHz.

        Only these are read. Samples beyond the end are left out.

        Raises ReadError for a file that changed since it was opened.
        """
        whole = int(self.samples[i])
        start, stop, _ = slice(start, stop).indices(whole)
        if stop <= start:
            return np.zeros(0, dtype=np.float32)
        return self.store.read(int(self.rows[i]), start, stop)

    def take(self, rows: np.ndarray) -> "Recordings":
        """Return some recordings as a separate set, without copying."""
        return replace(
            self,
            ids=take_rows(self.ids, rows),
            samples=self.samples[rows],
            rows=self.rows[rows],
            labels=None if self.labels is None else self.labels[rows],
            groups=None if self.groups is None else self.groups[rows],
            fingerprint=digest(self.fingerprint, rows),
        )

    def split(self, share: float, *, seed: int) -> tuple["Recordings", "Recordings"]:
        """(train, held out), a `share` of the recordings held out, each in the order it had.

        Raises ValueError if that leaves one of the two without a recording.
        """
        n = len(self)
        count = max(1, round(share * n))
        if not 0 < share < 1 or count >= n:
            raise ValueError(
                f"a held-out fraction of {share:g} of {n} recordings leaves one side empty; "
                "use a fraction between 0 and 1, and at least two recordings"
            )
        order = shuffle_indices(n, seed, "held out")
        return self.take(np.sort(order[count:])), self.take(np.sort(order[:count]))
