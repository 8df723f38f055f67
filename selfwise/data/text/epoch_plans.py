"""Plans of text on the disk: one folder an epoch, one `.npy` for each part of a plan.

The plan of a large corpus is made and written some documents at a time. What is in memory of it
grows with the longest document, which is planned as a whole, and by 8 bytes for each document.
"""

import errno
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO
from uuid import uuid4

import numpy as np
from jaxtyping import Int64
from numpy.lib import format as npy

from selfwise.core.files import STALE_SECONDS, atomic_write
from selfwise.core.types import EpochPlan

EPOCHS_ON_DISK = 2  # epochs whose plans stay on the disk
PIECES_PER_SLICE = 2**17  # about this many are planned at a time: 16 million tokens in rows of 128
MIN_PAIRED = 100  # documents in a share at least, where each is paired with another one


def slice_documents(
    documents: Int64[np.ndarray, "d 2"], length: int, *, min_documents: int
) -> Iterator[slice]:
    """Yield documents to be planned together: slices of at least `min_documents` of them, in their
    order.

    A corpus of fewer than `2 * PIECES_PER_SLICE` pieces is one slice; a document is in one alone.
    """
    pieces = ((documents[:, 1] - documents[:, 0]) // length + 1).cumsum()
    start, end = 0, len(documents)
    while start < end:
        before = pieces[start - 1] if start else 0
        stop = max(
            int(np.searchsorted(pieces, before + PIECES_PER_SLICE)) + 1, start + min_documents
        )
        if stop + min_documents > end or pieces[-1] - pieces[stop - 1] < PIECES_PER_SLICE:
            stop = end
        yield slice(start, stop)
        start = stop


def join_plans(parts: Iterable[EpochPlan]) -> EpochPlan:
    """Return one plan of several: their rows one after another."""
    return EpochPlan._make(
        None if column[0] is None else np.concatenate(column)
        for column in zip(*_renumber_pieces(parts))
    )


def write_plan(parts: Iterable[EpochPlan], home: Path) -> None:
    """Under another name first; if another process was faster, its plan is the same."""
    try:
        with atomic_write(home) as half:
            half.mkdir()
            _write_parts(half, parts)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # another process was faster
            raise


def _write_parts(home: Path, parts: Iterable[EpochPlan]) -> None:
    files: dict[str, _NpyWriter | None] = {}
    with ExitStack() as ends:
        for plan in _renumber_pieces(parts):
            for name, value in plan._asdict().items():
                if name not in files and value is None:
                    (home / f"{name}.none").touch()
                    files[name] = None
                elif name not in files:
                    files[name] = ends.enter_context(_NpyWriter(home / f"{name}.npy", value))
                file = files[name]
                assert (file is None) == (value is None), f"{name} is not in every part"
                if file is not None:
                    file.add(value)


def read_plan(home: Path) -> EpochPlan:
    """Raise FileNotFoundError if a part is missing: a folder may be removed while it is read."""
    return EpochPlan._make(_read_part(home, name) for name in EpochPlan._fields)


def remove_past_plans(home: Path, epoch: int) -> None:
    """Remove the plans of epochs long past; each is gone as a whole, also after a kill.

    What processes that were killed have left half written goes a day later.
    """
    for path in home.iterdir():
        if not path.name.isdigit():
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > STALE_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)
        elif int(path.name) + EPOCHS_ON_DISK <= epoch:
            gone = path.with_name(f".{path.name}.{uuid4().hex}.gone")
            with suppress(OSError):  # another process was faster
                os.rename(path, gone)
                shutil.rmtree(gone, ignore_errors=True)


def _read_part(home: Path, name: str) -> np.ndarray | None:
    if (home / f"{name}.none").is_file():
        return None
    return np.load(home / f"{name}.npy", mmap_mode="r", allow_pickle=False)


def _renumber_pieces(parts: Iterable[EpochPlan]) -> Iterator[EpochPlan]:
    """Yield the same plans, with pieces counted on from one to the next."""
    pieces = 0
    for number, plan in enumerate(parts):
        yield plan._replace(rows=plan.rows[1 if number else 0 :] + pieces)
        pieces += len(plan.pieces)


class _NpyWriter:
    """A `.npy` that arrays are added to. Its header, written again at the end, has numpy's room
    for the digits of any length."""

    def __init__(self, path: Path, like: np.ndarray):
        self.stream: IO[bytes] = path.open("wb")
        self.like, self.length = like[:0], 0
        self._head()

    def add(self, more: np.ndarray) -> None:
        assert more.dtype == self.like.dtype, f"{more.dtype} after {self.like.dtype}"
        self.stream.write(np.ascontiguousarray(more).data)
        self.length += len(more)

    def _head(self) -> None:
        shape = (self.length, *self.like.shape[1:])
        header = {"descr": npy.dtype_to_descr(self.like.dtype), "fortran_order": False}
        npy.write_array_header_1_0(self.stream, header | {"shape": shape})

    def __enter__(self) -> "_NpyWriter":
        return self

    def __exit__(self, *_: object) -> None:
        with self.stream:
            self.stream.seek(0)
            self._head()
