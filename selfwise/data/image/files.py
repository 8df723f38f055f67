"""Image files: headers checked once, pixels decoded when a batch asks for them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from selfwise.core.files import digest
from selfwise.core.own_files import open_own
from selfwise.core.parallel import Progress, map_in_chunks
from selfwise.core.progress import format_none
from selfwise.core.types import ImageBatch
from selfwise.data.compact_paths import Paths
from selfwise.data.image.dataset import Images
from selfwise.data.image.decode import decode_file, read_size
from selfwise.data.listing import Listing
from selfwise.data.listing_table import ColumnNames
from selfwise.data.unreadable import BrokenFile, ReadError, UnreadableFile


class ReadOptions(NamedTuple):
    """The options of `open_images` for reading images."""

    channels: int | None = None
    decode: int = 256
    cache: str = "auto"
    skip_broken: bool = False
    workers: int | None = None
    progress: Progress | None = None
    columns: ColumnNames = ColumnNames()

    @property
    def file_channels(self) -> int:
        """Read files in color unless `channels` is 1."""
        return 3 if self.channels is None else self.channels


@dataclass(frozen=True)
class ReadSizes:
    """A job for `map_in_chunks`: rows -> int32 (rows, 2) heights and widths, and the broken."""

    root: Path
    paths: Paths
    decode: int

    def __call__(self, rows: np.ndarray) -> tuple[np.ndarray, list[BrokenFile]]:
        sizes, broken = np.zeros((len(rows), 2), dtype=np.int32), []
        for i, row in enumerate(rows):
            try:
                sizes[i] = read_size(os.path.join(self.root, self.paths[row]), self.decode)
            except UnreadableFile as error:
                broken.append(BrokenFile(int(row), str(error)))
        return sizes, broken


def check_headers(
    listing: Listing, rows: np.ndarray, reading: ReadOptions
) -> tuple[np.ndarray, list[BrokenFile]]:
    """(height, width) int32 (rows, 2) that each file will have when decoded, and the broken ones.

    Zeros where a file is broken.
    """
    job = ReadSizes(listing.root, listing.paths, reading.decode)
    results = list(map_in_chunks(job, rows, workers=reading.workers))
    sizes = np.concatenate([part for part, _ in results])
    return sizes, [broken_file for _, part in results for broken_file in part]


def drop_broken(
    listing: Listing, broken: Sequence[BrokenFile], *, checked: int, skip: bool
) -> tuple[np.ndarray, list[str]]:
    """Return the rows that are left, and the ids of the broken among the `checked`.

    Raises ValueError that names three and says how many, unless `skip`; and if none is left.
    """
    count = f"{len(broken):,} of {checked:,} files"
    named = "; ".join(f"{listing.paths[row]} ({reason})" for row, reason in broken[:3])
    named += "; ..." if len(broken) > 3 else ""
    if len(broken) == checked:
        raise ValueError(f"{listing.root}: no file can be read as an image: {named}")
    if broken and not skip:
        advice = "remove the files, or leave them out with --skip-broken"
        raise ValueError(f"{listing.root}: {count} cannot be read as images: {named}; {advice}")
    broken_rows = np.array([broken_file.row for broken_file in broken], dtype=np.int64)
    rows = np.delete(np.arange(len(listing.paths)), broken_rows)
    return rows, [listing.paths[int(row)] for row in broken_rows]


@dataclass
class BrokenFiles:
    """Files found broken while reading; shared by a set and its subsets."""

    ids: list[str]
    log: Path | None = None

    def report(self, name: str) -> None:
        """List the id here and, because loader workers are other processes, in the log."""
        if name in self.ids:
            return
        self.ids.append(name)
        if self.log is None:
            return
        logged = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        if name not in logged:
            with open_own(self.log, "ab") as stream:
                stream.write(f"{name}\n".encode())


@dataclass(kw_only=True)
class FileImages:
    """Images that are decoded on demand; meant to be read by several loader workers.

    With `skip_broken`, a file that turns out to be broken is replaced by the next row that can be
    read: a pure function of the data, so every process and every resumed run does the same. The
    batch's `index` names the row whose picture it is.
    """

    root: Path
    ids: Paths
    channels: int
    decode: int
    side: int
    fingerprint: str
    labels: np.ndarray | None = None
    classes: list[str] | None = None
    skip_broken: bool = False
    stamp: str = ""  # changes with the folder and when a file is touched; for caches
    skipped: str = ""  # as of a Listing
    broken_files: BrokenFiles = field(default_factory=lambda: BrokenFiles([]))

    @property
    def broken(self) -> list[str]:
        return self.broken_files.ids

    @property
    def broken_log(self) -> Path | None:
        """A text file that gets one line per broken file found while reading."""
        return self.broken_files.log

    @broken_log.setter
    def broken_log(self, path: Path | None) -> None:
        self.broken_files.log = path

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, rows: np.ndarray) -> ImageBatch:
        pictures, index = zip(*(self._read_or_next(int(row)) for row in rows))
        return stack_on_canvas(pictures, np.array(index, dtype=np.int64))

    def take(self, rows: np.ndarray) -> "FileImages":
        ids, fingerprint = self.ids.take(rows), digest(self.fingerprint, rows)
        labels = None if self.labels is None else self.labels[rows]
        return replace(self, ids=ids, labels=labels, fingerprint=fingerprint)

    def decode_row(self, row: int) -> np.ndarray:
        """Return the picture of a row, uint8 (c h w). Raises UnreadableFile."""
        path = os.path.join(self.root, self.ids[row])
        return decode_file(path, self.channels, self.decode)

    def _read_or_next(self, row: int) -> tuple[np.ndarray, int]:
        """Return the picture of a row, or of the next that can be read, and which row that is."""
        for candidate in range(row, row + len(self)):
            candidate %= len(self)
            name = self.ids[candidate]
            try:
                return self.decode_row(candidate), candidate
            except UnreadableFile as error:
                if not self.skip_broken:
                    path = os.path.join(self.root, name)
                    advice = "remove the file, or leave it out with --skip-broken"
                    raise ReadError(f"{path}: cannot be read: {error}; {advice}") from error
                self.broken_files.report(name)
        raise ReadError(f"{self.root}: {format_none(len(self), 'file')} be read any more")


@dataclass(frozen=True)
class FindBrokenImages:
    """A job for `map_in_chunks`: the rows whose files cannot be decoded."""

    images: FileImages

    def __call__(self, rows: np.ndarray) -> list[int]:
        broken = []
        for row in rows:
            try:
                self.images.decode_row(int(row))
            except UnreadableFile:
                broken.append(int(row))
        return broken


def drop_unreadable(images: Images, *, workers: int | None = None) -> Images:
    """Without the files that break only when they are decoded, each of which is read once.

    For labels and ids that must fit their pictures. Only files that are decoded on demand with
    `skip_broken` are looked at; other images are known to be readable, or raise an error.

    Raises ValueError if no file is left.
    """
    if not (isinstance(images, FileImages) and images.skip_broken):
        return images
    chunks = map_in_chunks(FindBrokenImages(images), np.arange(len(images)), workers=workers)
    broken = [row for part in chunks for row in part]
    if len(broken) == len(images):
        raise ValueError(f"{images.root}: {format_none(len(images), 'file')} be read")
    for row in broken:
        images.broken_files.report(images.ids[row])
    rows = np.setdiff1d(np.arange(len(images)), broken)
    return images.take(rows) if broken else images


def stack_on_canvas(pictures: Sequence[np.ndarray], index: np.ndarray) -> ImageBatch:
    """Return pictures (c h w) in the top left corners of the smallest common canvas."""
    sizes = np.array([picture.shape[1:] for picture in pictures], dtype=np.int64)
    if (sizes == sizes[0]).all():
        return ImageBatch(torch.from_numpy(np.stack(pictures)), torch.from_numpy(index))
    x = np.zeros((len(pictures), pictures[0].shape[0], *sizes.max(axis=0)), dtype=np.uint8)
    for canvas, picture in zip(x, pictures):
        canvas[:, : picture.shape[1], : picture.shape[2]] = picture
    return ImageBatch(torch.from_numpy(x), torch.from_numpy(index), torch.from_numpy(sizes))
