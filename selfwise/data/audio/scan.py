"""Decode every recording once, in parallel, and store the results on disk."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from selfwise.core.files import cache_dir, digest, publish
from selfwise.core.parallel import CHUNK, Progress, map_in_chunks
from selfwise.core.types import RATE, WINDOW
from selfwise.data.audio import decode as decode
from selfwise.data.compact_paths import Paths
from selfwise.data.listing import Listing
from selfwise.data.text.token_cache import lock_cache
from selfwise.data.unreadable import BrokenFile, UnreadableFile

FORMAT = 2  # to be raised whenever reading gives other samples
BYTES_PER_CHUNK = 2**24  # bytes that a process decodes together, as whole files


class Scan(NamedTuple):
    """The scanned facts on a listing's n files. Files left out have no frames."""

    frames: np.ndarray  # int64 (n,), as stored
    rates: np.ndarray  # int64 (n,), Hz; 1 where a file is broken
    broken: list[BrokenFile]  # cannot be decoded
    unfit: list[BrokenFile]  # silent, or shorter than one frame of 400 samples

    @property
    def samples(self) -> np.ndarray:
        """int64 (n,), at 16 kHz; 0 where a file is left out."""
        return self.frames * RATE // self.rates


@dataclass(frozen=True)
class ScanFiles:
    """A job for `map_in_chunks`: rows -> (row, frames, rate, reason, is an error) of each."""

    root: Path
    paths: Paths

    def __call__(self, rows: np.ndarray) -> list[tuple[int, int, int, str, bool]]:
        return [(int(row), *self._one(int(row))) for row in rows]

    def _one(self, row: int) -> tuple[int, int, str, bool]:
        """frames, rate, why it is left out, and whether that is an error."""
        try:
            shape, silent = decode.scan_file(os.path.join(self.root, self.paths[row]))
        except UnreadableFile as error:
            return 0, 1, str(error), True
        if shape.samples < WINDOW:
            reason = f"too short: {shape.samples} samples at 16 kHz, but one frame needs {WINDOW}"
            return 0, 1, reason, False
        if silent:
            return 0, 1, "silent", False
        return shape.frames, shape.rate, "", False


def scan_key(listing: Listing) -> str:
    """Changes with the files: folder, names, sizes, times."""
    paths = listing.paths
    assert paths.rows is None, "the key is of a whole listing"
    files = (listing.where(), paths.blob, paths.ends, listing.sizes, listing.times)
    return digest(f"audio {FORMAT}", *files)


def files_per_chunk(listing: Listing) -> int:
    """Return how many files a process decodes at a time: one of them may be hours long, or a
    second."""
    return int(
        np.clip(BYTES_PER_CHUNK * len(listing.sizes) // max(1, listing.sizes.sum()), 1, CHUNK)
    )


def scan_listing(
    listing: Listing, *, workers: int | None = None, progress: Progress | None = None
) -> Scan:
    """Return the facts on the files: from the cache on disk, else by a scan that fills it.

    Each result is appended to a file at once, so that a killed scan resumes.
    """
    home = cache_dir("audio") / scan_key(listing)
    done = home / "scan.jsonl"
    if not done.is_file():
        with lock_cache(home):
            if not done.is_file():
                _scan_all(home, listing, workers, progress)
        return _build_scan(_read_lines(done))
    lines = _read_lines(done)
    # broken ones are looked at again: another right to read or library leaves no trace in the key
    broken_rows = np.array([line[0] for line in lines if line[4]], dtype=np.int64)
    for chunk in map_in_chunks(
        ScanFiles(listing.root, listing.paths), broken_rows, workers=workers
    ):
        for line in chunk:
            lines[line[0]] = list(line)
    return _build_scan(lines)


def _scan_all(home: Path, listing: Listing, workers: int | None, progress: Progress | None) -> None:
    home.mkdir(exist_ok=True)
    half, job = home / "scan.half", ScanFiles(listing.root, listing.paths)
    previous = _read_lines(half) if half.is_file() else []
    half.write_text("".join(json.dumps(line) + "\n" for line in previous), encoding="utf-8")
    total = len(listing.paths)
    rest = np.arange(len(previous), total)
    with half.open("a", encoding="utf-8") as stream:
        for chunk in map_in_chunks(job, rest, workers=workers, chunk=files_per_chunk(listing)):
            stream.writelines(json.dumps(line) + "\n" for line in chunk)
            stream.flush()
            if progress is not None:
                progress(chunk[-1][0] + 1, total)
    publish(half, home / "scan.jsonl")


def _read_lines(path: Path) -> list[list]:
    """Return the lines that are whole: a killed scan may have left half of one at the end."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]


def _build_scan(lines: list[list]) -> Scan:
    assert [line[0] for line in lines] == list(range(len(lines))), "a line for each file"
    frames, rates = (np.array([line[i] for line in lines], dtype=np.int64) for i in (1, 2))
    unusable = [(BrokenFile(line[0], line[3]), line[4]) for line in lines if line[3]]
    broken = [file for file, is_error in unusable if is_error]
    return Scan(frames, rates, broken, [file for file, is_error in unusable if not is_error])
