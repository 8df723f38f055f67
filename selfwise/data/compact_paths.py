"""A million ids without a million Python objects."""

import os
from array import array
from collections.abc import Sequence
from typing import SupportsIndex, overload

import numpy as np


class Paths(Sequence[str]):
    """Relative paths in one blob of bytes; `Paths[i]` makes the string when it is asked for."""

    def __init__(self, blob: bytes, ends: np.ndarray, rows: np.ndarray | None = None):
        self.blob, self.ends, self.rows = blob, ends, rows

    @classmethod
    def of(cls, paths: Sequence[str]) -> "Paths":
        builder = PathsBuilder()
        for path in paths:
            builder.append(path)
        return builder.build()

    def __len__(self) -> int:
        return len(self.ends if self.rows is None else self.rows)

    @overload
    def __getitem__(self, item: SupportsIndex) -> str: ...

    @overload
    def __getitem__(self, item: slice) -> "Paths": ...

    def __getitem__(self, item: SupportsIndex | slice) -> "str | Paths":
        if isinstance(item, slice):
            return self.take(np.arange(len(self))[item])
        row = range(len(self))[item]  # negative numbers, and IndexError outside
        row = row if self.rows is None else int(self.rows[row])
        start = int(self.ends[row - 1]) if row else 0
        return os.fsdecode(self.blob[start : int(self.ends[row])])

    def take(self, rows: np.ndarray) -> "Paths":
        """Return the paths of some rows; the blob is shared."""
        return Paths(self.blob, self.ends, rows if self.rows is None else self.rows[rows])


class PathsBuilder:
    """Collects paths for a `Paths`."""

    def __init__(self) -> None:
        self.blob, self.ends = bytearray(), array("q")

    def append(self, path: str) -> None:
        self.blob += os.fsencode(path)
        self.ends.append(len(self.blob))

    def build(self) -> Paths:
        return Paths(bytes(self.blob), np.array(self.ends, dtype=np.int64))


class RowNumbers(Sequence[str]):
    """The ids of examples that have no name: their row numbers in the whole data set, as text."""

    def __init__(self, rows: np.ndarray):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, item: SupportsIndex) -> str: ...

    @overload
    def __getitem__(self, item: slice) -> "RowNumbers": ...

    def __getitem__(self, item: SupportsIndex | slice) -> "str | RowNumbers":
        if isinstance(item, slice):
            return self.take(np.arange(len(self))[item])
        return str(int(self.rows[item]))

    def take(self, rows: np.ndarray) -> "RowNumbers":
        return RowNumbers(self.rows[rows])


def take_rows(ids: Sequence[str], rows: np.ndarray) -> Sequence[str]:
    """Return the ids of some rows; sequences that can share their memory do."""
    return ids.take(rows) if hasattr(ids, "take") else [ids[int(row)] for row in rows]
