"""Small images decoded once into a uint8 memory map."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from selfwise.core.files import (
    STALE_SECONDS,
    atomic_write,
    cache_dir,
    digest,
    remove_unfinished,
    save_array,
)
from selfwise.core.parallel import map_in_chunks
from selfwise.data.compact_paths import Paths
from selfwise.data.image.dataset import MappedFile
from selfwise.data.image.decode import decode_file
from selfwise.data.image.files import ReadOptions
from selfwise.data.listing import Listing
from selfwise.data.unreadable import BrokenFile, UnreadableFile

FORMAT = 2  # to be raised whenever decoding gives other pixels
REPORT_FROM = 5000  # images from which on building reports its progress


class DecodedImages(NamedTuple):
    """The content of a finished cache, by row of the listing; broken rows are black."""

    file: MappedFile  # uint8 (n c h w)
    extent: np.ndarray | None  # int64 (n 2), where the sizes differ
    broken: list[BrokenFile]


def cache_key(listing: Listing, reading: ReadOptions) -> str:
    """Changes with the files (folder, names, sizes, times) and with how they are decoded."""
    options = f"{FORMAT} {reading.file_channels} {reading.decode}"
    paths = listing.paths
    assert paths.rows is None, "the key is of a whole listing"
    files = (listing.where(), paths.blob, paths.ends, listing.sizes, listing.times)
    return digest(options, *files)


def find_cache(name: str) -> DecodedImages | None:
    """The finished cache of a key, if there is one.

    A folder gets its name only when it is complete; the size is checked all the same, for copies
    and disks that lost something.
    """
    home = cache_dir("images") / name
    if not (home / "meta.json").is_file():
        return None
    meta = json.loads((home / "meta.json").read_text(encoding="utf-8"))
    file = MappedFile(str(home / "x.npy"), "nchw")
    if not (home / "x.npy").is_file() or (home / "x.npy").stat().st_size != meta["bytes"]:
        return None
    extent = np.load(home / "extent.npy", allow_pickle=False) if meta["sizes_differ"] else None
    return DecodedImages(file, extent, [BrokenFile(*broken_file) for broken_file in meta["broken"]])


def build_cache(
    name: str, listing: Listing, sizes: np.ndarray, broken: list[BrokenFile], reading: ReadOptions
) -> DecodedImages:
    """Decode every file in parallel and keep the result. `sizes` (n 2) is zero for the `broken`.

    Raises ValueError if the disk has not enough room.
    """
    home = cache_dir("images") / name
    remove_unfinished(home.parent, age=STALE_SECONDS)
    try:
        with atomic_write(home) as half:
            half.mkdir()
            _decode_all(half, listing, sizes, broken, reading)
            if home.exists() and find_cache(name) is None:  # it is damaged
                shutil.rmtree(home)
    except OSError:
        if find_cache(name) is None:  # otherwise another process was faster
            raise
    decoded = find_cache(name)
    assert decoded is not None, f"{home} was just written"
    return decoded


def canvas_bytes(n: int, sizes: np.ndarray, channels: int) -> int:
    """Size in bytes of a cache of n images whose sizes are among `sizes` (m 2)."""
    height, width = (int(side) for side in sizes.max(axis=0))
    return n * channels * height * width


@dataclass(frozen=True)
class DecodeImages:
    """A job for `map_in_chunks`: decodes rows into the memory map, returns the broken ones."""

    file: str
    root: Path
    paths: Paths
    sizes: np.ndarray
    decode: int

    def __call__(self, rows: np.ndarray) -> list[BrokenFile]:
        x = np.load(self.file, mmap_mode="r+", allow_pickle=False)
        broken = []
        for row in rows:
            height, width = self.sizes[row]
            try:
                path = os.path.join(self.root, self.paths[row])
                picture = decode_file(path, x.shape[1], self.decode)
                if picture.shape[1:] != (height, width):
                    raise UnreadableFile("changed while selfwise read it")
                x[row, :, :height, :width] = picture
            except UnreadableFile as error:
                broken.append(BrokenFile(int(row), str(error)))
        return broken


def _decode_all(
    half: Path, listing: Listing, sizes: np.ndarray, broken: list[BrokenFile], reading: ReadOptions
) -> None:
    n, (height, width) = len(sizes), sizes.max(axis=0)
    path = half / "x.npy"
    _reserve_array(path, (n, reading.file_channels, int(height), int(width)))
    job = DecodeImages(str(path), listing.root, listing.paths, sizes, reading.decode)
    present = sizes.any(axis=1)
    progress = reading.progress if n > REPORT_FROM else None
    rows, all_broken = np.flatnonzero(present), list(broken)
    for chunk in map_in_chunks(job, rows, workers=reading.workers, progress=progress):
        all_broken += chunk
    differ = bool((sizes[present] != (height, width)).any())
    if differ:
        save_array(half / "extent.npy", sizes.astype(np.int64))
    meta = {"bytes": path.stat().st_size, "sizes_differ": differ, "broken": sorted(all_broken)}
    (half / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


def _reserve_array(path: Path, shape: tuple[int, ...]) -> None:
    """An array file whose blocks exist: writing a map on a full disk would kill the process."""
    need = int(np.prod(shape))
    try:
        np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape).flush()
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as stream:
                os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
    except OSError as error:
        free = shutil.disk_usage(path.parent).free
        raise ValueError(
            f"the image cache needs {need / 2**20:,.0f} MiB in {path.parent.parent}, which has "
            f"{free / 2**20:,.0f} ({error.strerror}); set SELFWISE_CACHE to another disk, or use "
            "--cache no"
        ) from error
