"""Recordings decoded once into a float32 memory map; a killed build resumes where it stopped."""

import io
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from selfwise.core.files import cache_dir, publish, write_file
from selfwise.core.own_files import flush_to_disk
from selfwise.core.parallel import Progress, map_in_chunks
from selfwise.core.types import RATE
from selfwise.data.audio.dataset import FileStore, MapStore
from selfwise.data.audio.scan import Scan, files_per_chunk
from selfwise.data.listing import Listing
from selfwise.data.text.token_cache import lock_cache

SAMPLES_PER_BLOCK = 60 * RATE  # samples of a long recording that are decoded at once
SAMPLES_PER_SAVE = 2**26  # samples after which what was written is made safe


def find_cache(name: str, scan: Scan) -> MapStore | None:
    """The finished cache of a listing's key, if there is one.

    The file gets its name only when it is complete; the size is checked all the same, for copies
    and disks that lost something.
    """
    path, starts = _cache_folder(name) / "x.npy", _sample_starts(scan)
    if not path.is_file() or path.stat().st_size != _npy_bytes(int(starts[-1])):
        return None
    return MapStore(str(path), starts[:-1])


def build_cache(
    name: str,
    listing: Listing,
    scan: Scan,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> MapStore:
    """Decode every file in parallel and keep the result.

    Raises ValueError if the disk has not enough room, or if a file changed since it was scanned.
    """
    home = _cache_folder(name)
    with lock_cache(home):
        store = find_cache(name, scan)
        if store is None:
            shutil.rmtree(home, ignore_errors=True)  # there is one that lost something
            half = home.with_name(f".{home.name}.half")
            half.mkdir(exist_ok=True)
            _decode_all(half, listing, scan, workers, progress)
            publish(half, home)
            store = find_cache(name, scan)
    assert store is not None, f"{home} was just written"
    return store


@dataclass(frozen=True)
class DecodeRecordings:
    """A job for `map_in_chunks`: decodes rows into the memory map; returns how many and samples."""

    file: str
    store: FileStore
    starts: np.ndarray

    def __call__(self, rows: np.ndarray) -> tuple[int, int]:
        x = np.load(self.file, mmap_mode="r+", allow_pickle=False)
        for row in rows:
            first, stop = (int(bound) for bound in self.starts[row : row + 2])
            for at in range(0, stop - first, SAMPLES_PER_BLOCK):
                end = min(at + SAMPLES_PER_BLOCK, stop - first)
                x[first + at : first + end] = self.store.read(int(row), at, end)
        return len(rows), int((self.starts[rows + 1] - self.starts[rows]).sum())


def _decode_all(
    half: Path, listing: Listing, scan: Scan, workers: int | None, progress: Progress | None
) -> None:
    x, journal, starts = half / "x.npy", half / "journal.json", _sample_starts(scan)
    done = json.loads(journal.read_text(encoding="utf-8"))["done"] if journal.is_file() else 0
    if not done or x.stat().st_size != _npy_bytes(int(starts[-1])):
        done = 0
        _reserve_file(x, int(starts[-1]))
    store = FileStore(listing.root, listing.paths, scan.frames, scan.rates)
    job, n, fresh = DecodeRecordings(str(x), store, starts), len(listing.paths), 0
    rest = np.arange(done, n)
    for files, samples in map_in_chunks(job, rest, workers=workers, chunk=files_per_chunk(listing)):
        done, fresh = done + files, fresh + samples
        if fresh >= SAMPLES_PER_SAVE:
            _save_journal(x, journal, done)
            fresh = 0
        if progress is not None:
            progress(done, n)
    _save_journal(x, journal, done)


def _save_journal(x: Path, journal: Path, done: int) -> None:
    """Flush the written samples to disk before the journal records them."""
    flush_to_disk(x)
    write_file(journal, json.dumps({"done": done}))


def _reserve_file(path: Path, samples: int) -> None:
    """A file whose blocks exist: writing a map on a full disk would kill the process."""
    try:
        np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(samples,)).flush()
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as stream:
                os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
    except OSError as error:
        free = shutil.disk_usage(path.parent).free
        path.unlink(missing_ok=True)
        raise ValueError(
            f"the cache of recordings needs {4 * samples / 2**20:,.0f} MiB in {path.parent.parent},"
            f" which has {free / 2**20:,.0f} ({error.strerror}); set SELFWISE_CACHE to another "
            "disk, or use --cache no"
        ) from error


def _cache_folder(name: str) -> Path:
    return cache_dir("audio") / f"{name}.samples"


def _npy_bytes(samples: int) -> int:
    """Size of a .npy file of that many float32."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (samples,)}
    )
    return header.tell() + 4 * samples


def _sample_starts(scan: Scan) -> np.ndarray:
    """int64 (n + 1,): where each recording begins, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(scan.samples)])
