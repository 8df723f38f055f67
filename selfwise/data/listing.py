"""Which files there are, of images or of sound: a folder, or a table of paths and labels."""

import os
from array import array
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from selfwise.data.decode import ABOUT_THE_FILE, SUFFIXES
from selfwise.data.delimited import check_header, delimited_rows
from selfwise.data.images import digest
from selfwise.data.labels import check_label, encode
from selfwise.data.paths import Paths, PathsBuilder

LABEL_NAMES = ("label", "class", "target")
GROUP_NAMES = ("group", "speaker")
FOLDER = -1  # in place of a size in bytes
MISSING = -2
LONGEST_PATH = 4096  # characters, as in Linux
LOOKED_INTO, BEGINNING = 64, 2**16  # files, and bytes of each, that a fingerprint covers


class Kind(NamedTuple):
    """Files of one kind are told by the ends of their names."""

    noun: str  # what one of them is called
    suffixes: tuple[str, ...]
    path_names: tuple[str, ...]  # of the column of a csv that names them

    def has(self, name: str) -> bool:
        """Whether a file of this name is expected to be one."""
        return Path(name).suffix.lower() in self.suffixes


IMAGES = Kind("image", SUFFIXES, ("path", "file", "image", "filename"))


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

    def take(self, rows: np.ndarray) -> "Listing":
        labels = None if self.labels is None else self.labels[rows]
        groups = None if self.groups is None else self.groups[rows]
        paths, sizes, times = self.paths.take(rows), self.sizes[rows], self.times[rows]
        kept = {"paths": paths, "sizes": sizes, "times": times, "labels": labels, "groups": groups}
        return self._replace(**kept)

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


def list_folder(root: Path, kind: Kind = IMAGES) -> Listing:
    """Every file of a kind below a folder, in the order of the relative paths.

    When each lies in a sub-folder, the first level's names are the class labels. Hidden entries
    and `__MACOSX` are left out; linked folders are followed, unless they contain themselves.

    Raises ValueError if there is none.
    """
    builder, sizes, times, tops = PathsBuilder(), array("q"), array("q"), array("q")
    classes: list[str] = []
    for path, size, time in _walk(root, "", (), kind):
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
            f"{root}: there is no {kind.noun} in this folder or below it (read are: {kinds})"
        )
    labels, names = _folder_labels(_int64(tops), classes)
    return Listing(root, builder.done(), _int64(sizes), _int64(times), labels, names)


def list_table(file: Path, kind: Kind = IMAGES) -> Listing:
    """The files that a csv or tsv names, in its order; paths are relative to the table.

    Columns are found by their header (path, file, filename or what the kind is called; label,
    class or target; group or speaker), or are the first two: path and label. Raises ValueError
    that names file and line for an empty table, a field that is missing or malformed, and a path
    that is there with two labels.
    """
    table = delimited_rows(file, lambda _: None)
    first, header = next(table, (1, []))
    (path, label, group), is_header = _columns(file, header, kind)
    if is_header:
        check_header([name.lower() for name in header], file)
    builder, sizes, times = PathsBuilder(), array("q"), array("q")
    labels, groups, known = _Coded(label), _Coded(group), _OneLabel()
    for line, row in table if is_header else chain([(first, header)], table):
        where = f"{file}, line {line}"
        _check_path(row[path], where)
        size, time = _size_and_time(os.path.join(file.parent, row[path]))
        builder.append(row[path])
        sizes.append(size)
        times.append(time)
        labels.add(row, "label", where)
        groups.add(row, "group", where)
        known.check(row[path], [row[i] for i in (label, group) if i is not None], file, line)
    if not sizes:
        raise ValueError(f"{file}: there are no rows")
    files = (file.parent, builder.done(), _int64(sizes), _int64(times))
    return Listing(*files, *labels.done(file), *groups.done(file))


def _check_path(path: str, where: str) -> None:
    """Raises ValueError for a field that cannot be a path."""
    if not path:
        raise ValueError(f"{where}: the path is empty")
    if "\n" in path or "\0" in path or len(path) > LONGEST_PATH:
        advice = "is a quotation mark missing, or one too many?"
        raise ValueError(f"{where}: {path[:40]!r}... is not a path; {advice}")


class _OneLabel:
    """Sees a path that comes again with another label or group."""

    def __init__(self) -> None:
        self.first: dict[str, tuple[int, list[str]]] = {}

    def check(self, path: str, values: list[str], file: Path, line: int) -> None:
        if not values:
            return
        before, first = self.first.setdefault(os.path.normpath(path), (line, values))
        if first != values:
            both = f"{', '.join(first)} and {', '.join(values)}"
            raise ValueError(f"{file}, lines {before} and {line}: {path} is there as {both}")


class _Coded:
    """A column of names as numbers; no column: nothing."""

    def __init__(self, column: int | None):
        self.column, self.codes, self.values = column, dict[str, int](), array("q")

    def add(self, row: list[str], what: str, where: str) -> None:
        if self.column is not None:
            check_label(row[self.column], where, what)
            self.values.append(self.codes.setdefault(row[self.column], len(self.codes)))

    def done(self, file: Path) -> tuple[np.ndarray | None, list[str] | None]:
        if self.column is None:
            return None, None
        values, names = encode(np.array(list(self.codes)), str(file))
        return values[_int64(self.values)], names


def _walk(root: Path, prefix: str, above: tuple, kind: Kind) -> Iterator[tuple[str, int, int]]:
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
            if not is_folder and not kind.has(entry.name):
                continue
            size, time = (FOLDER, 0) if is_folder else _size_and_time(entry)
            names.append(entry.name + "/" if is_folder else entry.name)
            sizes.append(size)
            times.append(time)
    for i in sorted(range(len(names)), key=names.__getitem__):
        if sizes[i] == FOLDER:
            yield from _walk(root, prefix + names[i], (*above, here), kind)
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


def _columns(
    file: Path, header: list[str], kind: Kind
) -> tuple[tuple[int, int | None, int | None], bool]:
    """Columns of path, label and group, if there are any; and whether the first row is a header."""
    names = [name.strip().lower() for name in header]
    path, label, group = (
        next((i for i, name in enumerate(names) if name in known), None)
        for known in (kind.path_names, LABEL_NAMES, GROUP_NAMES)
    )
    if path is not None:
        return (path, label, group), True
    if not header:
        raise ValueError(f"{file}: there are no rows")
    is_header = not kind.has(header[0]) and not (file.parent / header[0]).is_file()
    return (0, 1 if len(header) > 1 else None, None), is_header


def _int64(values: array) -> np.ndarray:
    return np.array(values, dtype=np.int64)
