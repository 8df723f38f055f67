"""Which image files there are: a folder, or a csv of paths and labels."""

import csv
import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from selfwise.data.decode import ABOUT_THE_FILE, SUFFIXES, is_image_name
from selfwise.data.images import digest
from selfwise.data.labels import encode
from selfwise.data.paths import Paths, PathsBuilder

PATH_NAMES = ("path", "file", "image", "filename")
LABEL_NAMES = ("label", "class", "target")
FOLDER = -1  # in place of a size in bytes
MISSING = -2
LOOKED_INTO, BEGINNING = 64, 2**16  # files, and bytes of each, that a fingerprint covers


class Listing(NamedTuple):
    """n image files: about 40 bytes each, and their relative paths in one blob."""

    root: Path
    paths: Paths
    sizes: np.ndarray  # int64 (n,), bytes; MISSING where there is no such file
    times: np.ndarray  # int64 (n,), modification time in ns
    labels: np.ndarray | None  # int64 (n,)
    classes: list[str] | None

    def take(self, rows: np.ndarray) -> "Listing":
        labels = None if self.labels is None else self.labels[rows]
        paths, sizes, times = self.paths.take(rows), self.sizes[rows], self.times[rows]
        return self._replace(paths=paths, sizes=sizes, times=times, labels=labels)

    def where(self) -> bytes:
        """The folder without links: other folders hold other data, whatever their files' names."""
        return os.fsencode(self.root.resolve())

    def fingerprint(self) -> str:
        """What the data are, wherever they lie: names, sizes, and the beginnings of some files.

        Up to 64 files, evenly spaced, are looked into, so that a million take no longer.
        """
        some = np.linspace(0, len(self.sizes) - 1, min(len(self.sizes), LOOKED_INTO))
        begun = [_beginning(self, int(row)) for row in some.astype(np.int64)]
        return digest(self.paths.blob, self.paths.ends, self.sizes, *begun)


def list_folder(root: Path) -> Listing:
    """Every image below a folder, in the order of the relative paths.

    When each lies in a sub-folder, the first level's names are the class labels. Hidden entries
    and `__MACOSX` are left out; linked folders are followed, unless they contain themselves.

    Raises ValueError if there is no image.
    """
    builder, sizes, times, tops = PathsBuilder(), array("q"), array("q"), array("q")
    classes: list[str] = []
    for path, size, time in _walk(root, "", ()):
        builder.append(path)
        sizes.append(size)
        times.append(time)
        top, slash, _ = path.partition("/")
        if slash and (not classes or classes[-1] != top):
            classes.append(top)
        tops.append(len(classes) - 1 if slash else -1)
    if not sizes:
        kinds = ", ".join(suffix[1:] for suffix in SUFFIXES)
        raise ValueError(
            f"{root}: there is no image in this folder or below it (read are: {kinds})"
        )
    labels, names = _folder_labels(_int64(tops), classes)
    return Listing(root, builder.done(), _int64(sizes), _int64(times), labels, names)


def list_csv(file: Path) -> Listing:
    """The images that a csv names, in its order; paths are relative to the csv.

    Columns are found by their header (path, file, image or filename; label, class or target), or
    are the first two. Raises ValueError for an empty table and for rows that lack a field.
    """
    with file.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.reader(stream)
        header = next(reader, [])
        path_column, label_column, is_header = _columns(file, header)
        builder, sizes, times = PathsBuilder(), array("q"), array("q")
        codes: dict[str, int] = {}
        labels = array("q")
        for row in _rows(reader, [] if is_header else [header]):
            line = f"{file}, line {reader.line_num}"
            if len(row) <= max(path_column, label_column or 0) or not row[path_column]:
                raise ValueError(f"{line}: expected a path and {len(header)} fields, got {row}")
            size, time = _size_and_time(os.path.join(file.parent, row[path_column]))
            builder.append(row[path_column])
            sizes.append(size)
            times.append(time)
            if label_column is not None:
                if not row[label_column]:
                    raise ValueError(f"{line}: the label is empty")
                labels.append(codes.setdefault(row[label_column], len(codes)))
    if not sizes:
        raise ValueError(f"{file}: there are no rows")
    paths = builder.done()
    if label_column is None:
        return Listing(file.parent, paths, _int64(sizes), _int64(times), None, None)
    values, names = encode(np.array(list(codes)), str(file))
    return Listing(file.parent, paths, _int64(sizes), _int64(times), values[_int64(labels)], names)


def _walk(root: Path, prefix: str, above: tuple) -> Iterator[tuple[str, int, int]]:
    """(relative path, bytes, ns) in sorted order; only one folder's names are held at a time."""
    status = os.stat(os.path.join(root, prefix))
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    names, sizes, times = [], array("q"), array("q")
    with os.scandir(os.path.join(root, prefix)) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            is_folder = entry.is_dir()
            if not is_folder and not is_image_name(entry.name):
                continue
            size, time = (FOLDER, 0) if is_folder else _size_and_time(entry)
            names.append(entry.name + "/" if is_folder else entry.name)
            sizes.append(size)
            times.append(time)
    for i in sorted(range(len(names)), key=names.__getitem__):
        if sizes[i] == FOLDER:
            yield from _walk(root, prefix + names[i], (*above, here))
        else:
            yield prefix + names[i], sizes[i], times[i]


def _size_and_time(file: os.DirEntry | str) -> tuple[int, int]:
    try:
        status = os.stat(file) if isinstance(file, str) else file.stat()
    except OSError:  # a dangling link, a name in a csv: reported with the unreadable files
        return MISSING, 0
    return status.st_size, status.st_mtime_ns


def _beginning(listing: Listing, row: int) -> bytes:
    """The first bytes of a file; none where it cannot be read, which the headers' check reports."""
    if listing.sizes[row] <= 0:
        return b""
    try:
        with open(os.path.join(listing.root, listing.paths[row]), "rb", buffering=0) as stream:
            return stream.read(BEGINNING)
    except OSError as error:
        if error.errno not in ABOUT_THE_FILE:
            raise
        return b""


def _folder_labels(tops: np.ndarray, seen: list[str]) -> tuple[np.ndarray | None, list[str] | None]:
    """Labels in the order of the names: paths are sorted with a slash, so "a-b/" is before "a/"."""
    if tops.min() < 0:
        return None, None
    order = sorted(range(len(seen)), key=seen.__getitem__)
    rank = np.empty(len(seen), dtype=np.int64)
    rank[order] = np.arange(len(seen))
    return rank[tops], [seen[i] for i in order]


def _columns(file: Path, header: list[str]) -> tuple[int, int | None, bool]:
    """Column of the path, of the label if there is one, and whether the first row is a header."""
    names = [name.strip().lower() for name in header]
    path = next((i for i, name in enumerate(names) if name in PATH_NAMES), None)
    label = next((i for i, name in enumerate(names) if name in LABEL_NAMES), None)
    if path is not None:
        return path, label, True
    if not header:
        raise ValueError(f"{file}: there are no rows")
    is_header = not is_image_name(header[0]) and not (file.parent / header[0]).is_file()
    return 0, 1 if len(header) > 1 else None, is_header


def _rows(reader: Iterator[list[str]], first: list[list[str]]) -> Iterator[list[str]]:
    """The rows that are not empty."""
    for part in (first, reader):
        yield from (row for row in part if row)


def _int64(values: array) -> np.ndarray:
    return np.array(values, dtype=np.int64)
