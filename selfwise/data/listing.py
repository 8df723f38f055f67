"""Which files there are, of images or of sound, in a folder and below it."""

import os
import stat
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from selfwise.core.files import digest
from selfwise.data.compact_paths import Paths, PathsBuilder
from selfwise.data.unreadable import FILE_ERRNOS

HIDDEN = "hidden"  # entries whose names begin with a dot, and __MACOSX
FOLDER = -1  # in place of a size in bytes
MISSING = -2
# files, and bytes of each, that a fingerprint covers
FINGERPRINT_FILES, FINGERPRINT_BYTES = 64, 2**16


class FileKind(NamedTuple):
    """Files of one kind, which the ends of their names tell from others."""

    noun: str  # what one of them is called
    suffixes: tuple[str, ...]
    path_names: tuple[str, ...]  # of the column of a table that names them

    def matches(self, name: str) -> bool:
        """Return whether a file of this name is expected to be one."""
        return Path(name).suffix.lower() in self.suffixes


SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
IMAGES = FileKind("image", SUFFIXES, ("path", "file", "image", "filename"))


class Listing(NamedTuple):
    """n files: about 40 bytes each, and their relative paths in one blob."""

    root: Path
    paths: Paths
    sizes: np.ndarray  # int64 (n,), bytes; MISSING where there is no such file
    times: np.ndarray  # int64 (n,), modification time in ns
    labels: np.ndarray | None  # int64 (n,)
    classes: list[str] | None
    groups: np.ndarray | None = None  # int64 (n,)
    group_names: list[str] | None = None
    skipped: str = ""  # what was passed over in the folder and why; "" if nothing was

    def take(self, rows: np.ndarray) -> "Listing":
        labels = None if self.labels is None else self.labels[rows]
        groups = None if self.groups is None else self.groups[rows]
        paths, sizes, times = self.paths.take(rows), self.sizes[rows], self.times[rows]
        return self._replace(paths=paths, sizes=sizes, times=times, labels=labels, groups=groups)

    def where(self) -> bytes:
        """Return the folder without links: other folders hold other data, whatever their files'
        names."""
        return os.fsencode(self.root.resolve())

    def fingerprint(self) -> str:
        """The identity of the data in any location: names, sizes, and some files' first bytes.

        Up to 64 files, evenly spaced, are looked into, so that a million take no longer.
        """
        checked_rows = np.linspace(0, len(self.sizes) - 1, min(len(self.sizes), FINGERPRINT_FILES))
        begun = [_read_beginning(self, int(row)) for row in checked_rows.astype(np.int64)]
        return digest(self.paths.blob, self.paths.ends, self.sizes, *begun)


def list_folder(root: Path, kind: FileKind = IMAGES) -> Listing:
    """Return every file of a kind below a folder, in the order of the relative paths.

    If every file is in a sub-folder, the names of the first level are the class labels. Hidden
    entries and `__MACOSX` are left out; linked folders are followed, unless they contain
    themselves.

    Raises ValueError if there is none.
    """
    builder, sizes, times, tops = PathsBuilder(), array("q"), array("q"), array("q")
    classes: list[str] = []
    skipped: Counter[str] = Counter()
    for path, size, time in _walk_files(root, "", (), kind, skipped):
        builder.append(path)
        sizes.append(size)
        times.append(time)
        top, slash, _ = path.partition("/")
        if slash and (not classes or classes[-1] != top):
            classes.append(top)
        tops.append(len(classes) - 1 if slash else -1)
    if not sizes:
        kinds = ", ".join(suffix[1:] for suffix in kind.suffixes)
        raise ValueError(
            f"{root}: there is no {kind.noun} in this folder or below it (supported: {kinds})"
        )
    labels, names = _folder_labels(to_int64(tops), classes)
    return Listing(
        root,
        builder.build(),
        to_int64(sizes),
        to_int64(times),
        labels,
        names,
        skipped=describe_skipped(skipped),
    )


def describe_skipped(counts: Mapping[str, int]) -> str:
    """Describe the entries that a walk skipped.

    `counts` are those of hidden entries by HIDDEN, and of other files by their suffixes.
    """
    parts = []
    if hidden := counts.get(HIDDEN, 0):
        entries = "entry" if hidden == 1 else "entries"
        parts.append(f"{hidden:,} hidden {entries} (names that begin with a dot)")
    others = sorted(((n, s) for s, n in counts.items() if s != HIDDEN), reverse=True)
    if others:
        total = sum(n for n, _ in others)
        files = "file with another suffix" if total == 1 else "files with other suffixes"
        named = ", ".join(f"{suffix or 'none'} {n:,}" for n, suffix in others[:3])
        more = ", ..." if len(others) > 3 else ""
        parts.append(f"{total:,} {files} ({named}{more})")
    return " and ".join(parts)


def _walk_files(
    root: Path, prefix: str, above: tuple, kind: FileKind, skipped: "Counter[str]"
) -> Iterator[tuple[str, int, int]]:
    """(relative path, bytes, ns) in sorted order; only one folder's names are held at a time."""
    status = os.stat(os.path.join(root, prefix))
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    names, sizes, times = [], array("q"), array("q")
    with os.scandir(os.path.join(root, prefix)) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                skipped[HIDDEN] += 1
                continue
            is_folder = entry.is_dir()
            if not is_folder and not kind.matches(entry.name):
                skipped[Path(entry.name).suffix.lower()] += 1
                continue
            size, time = (FOLDER, 0) if is_folder else size_and_time(entry)
            names.append(entry.name + "/" if is_folder else entry.name)
            sizes.append(size)
            times.append(time)
    for i in sorted(range(len(names)), key=names.__getitem__):
        if sizes[i] == FOLDER:
            yield from _walk_files(root, prefix + names[i], (*above, here), kind, skipped)
        else:
            yield prefix + names[i], sizes[i], times[i]


def size_and_time(file: os.DirEntry | str) -> tuple[int, int]:
    """Return bytes and modification time in ns; MISSING for what is not there or not a regular
    file."""
    try:
        status = os.stat(file) if isinstance(file, str) else file.stat()
    except (OSError, ValueError):  # a dangling link, a name in a table: reported as unreadable
        return MISSING, 0
    if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
        return MISSING, 0
    return status.st_size, status.st_mtime_ns


def _read_beginning(listing: Listing, row: int) -> bytes:
    """Return the first bytes of a file; none where it cannot be read, which the headers' check
    reports."""
    if listing.sizes[row] <= 0:
        return b""
    try:
        with open(os.path.join(listing.root, listing.paths[row]), "rb", buffering=0) as stream:
            return stream.read(FINGERPRINT_BYTES)
    except OSError as error:
        if error.errno not in FILE_ERRNOS:
            raise
        return b""


def _folder_labels(
    tops: np.ndarray, names: list[str]
) -> tuple[np.ndarray | None, list[str] | None]:
    """Labels in the order of the names: paths are sorted with a slash, so "a-b/" is before "a/"."""
    if tops.min() < 0:
        return None, None
    order = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), dtype=np.int64)
    rank[order] = np.arange(len(names))
    return rank[tops], [names[i] for i in order]


def to_int64(values: array) -> np.ndarray:
    """Return the numbers as an array of their own."""
    return np.array(values, dtype=np.int64)
