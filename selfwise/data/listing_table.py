"""The files that a csv or tsv names, images or sound, with their labels and groups."""

import os
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from selfwise.core.errors import did_you_mean
from selfwise.core.memory_limit import MemoryBudget
from selfwise.data.compact_paths import PathsBuilder
from selfwise.data.labels import encode_labels
from selfwise.data.listing import IMAGES, FileKind, Listing, size_and_time, to_int64
from selfwise.data.table_cells import (
    check_column_names,
    describe_multiline_cell,
    is_table,
    read_cells,
)

LABEL_NAMES = ("label", "class", "target")
GROUP_NAMES = ("group", "speaker")
ROW_BYTES = 96  # of a row in the arrays and hashes that hold it
MAX_CELL_LENGTH = 4096  # characters of a path, a label or a group


class ColumnNames(NamedTuple):
    """The headers of the columns to read; "" finds a column by its usual names."""

    label: str = ""
    group: str = ""


class _Columns(NamedTuple):
    """Which columns are read, by number."""

    path: int
    label: int | None
    group: int | None


def list_table(
    file: Path,
    kind: FileKind = IMAGES,
    named: ColumnNames = ColumnNames(),  # noqa: B008 (frozen)
) -> Listing:
    """Return the files that a table names, in its order; paths are relative to the table.

    Columns are found by their header (path, file, filename or what the kind is called; label,
    class or target; group or speaker), or are the first two: path and label; `named` has other
    headers of labels and groups. Raises ValueError for an empty table, for a named column that is
    missing, for rows that lack a field or have one too many, for a cell that took in the rows
    behind it, and for a path with two labels.
    """
    width, columns, rows = _read_header(file, kind, named)
    builder, sizes, times, numbers = PathsBuilder(), array("q"), array("q"), array("q")
    budget = MemoryBudget(file)
    labels, groups = _CodedColumn(columns.label), _CodedColumn(columns.group)
    for number, row in rows:
        where = f"{file}, line {number}"
        if len(row) != width or not row[columns.path]:
            raise ValueError(
                f"{where}: expected a path and {width} fields, got {_shorten_row(row)}"
            )
        _check_cells(where, row, columns, kind)
        budget.add(ROW_BYTES + len(row[columns.path]))
        size, time = size_and_time(os.path.join(file.parent, row[columns.path]))
        builder.append(row[columns.path])
        sizes.append(size)
        times.append(time)
        numbers.append(number)
        labels.add(row, "label", where)
        groups.add(row, "group", where)
    if not sizes:
        raise ValueError(f"{file}: there are no rows")
    paths = builder.build()
    for what, coded in (("label", labels), ("group", groups)):
        _check_contradictions(file, paths, numbers, what, coded)
    files = (file.parent, paths, to_int64(sizes), to_int64(times))
    return Listing(*files, *labels.finish(file), *groups.finish(file))


def check_columns(named: ColumnNames, data: object) -> None:
    """Raise ValueError if columns are named for data that are not a table."""
    if named == ColumnNames() or (isinstance(data, str | Path) and is_table(Path(data))):
        return
    option = "label column" if named.label else "group column"
    where = data if isinstance(data, str | Path) else f"the {type(data).__name__}"
    raise ValueError(f"{where} is not a csv or tsv, so it has no {option}")


def _read_header(
    file: Path, kind: FileKind, named: ColumnNames
) -> tuple[int, _Columns, Iterator[tuple[int, list[str]]]]:
    """Return how many cells a row has, which of them are read, and the rows without the header."""
    rows = read_cells(file, lambda read: None)
    number, first = next(rows, (0, []))
    if not first:
        raise ValueError(f"{file}: there are no rows")
    _check_separator(f"{file}, line {number}", file, first, kind)
    columns, is_header = _choose_columns(file, first, kind, named)
    if is_header:
        check_column_names(f"{file}, line {number}", [name.lower() for name in first])
        return len(first), columns, rows
    return len(first), columns, _prepend_row(number, first, rows)


def _check_separator(where: str, file: Path, first: list[str], kind: FileKind) -> None:
    """Raise ValueError for a single cell that is several behind another separator."""
    mark = next((separator for separator in ";\t,|" if separator in first[0]), None)
    if len(first) == 1 and mark and not kind.matches(first[0]):
        usual = "commas separate the cells of a csv, tabs those of a tsv"
        raise ValueError(f"{where}: one cell, {first[0][:80]!r}; {usual}")
    names = first[0].split(mark) if mark else []
    if len(first) == 1 and len(names) > 1 and kind.matches(names[0].strip()):
        raise ValueError(
            f"{where}: one cell, {first[0][:80]!r}: does the file use another separator?"
        )


def _prepend_row(
    number: int, first: list[str], rows: Iterator[tuple[int, list[str]]]
) -> Iterator[tuple[int, list[str]]]:
    yield number, first
    yield from rows


def _choose_columns(
    file: Path, header: list[str], kind: FileKind, named: ColumnNames
) -> tuple[_Columns, bool]:
    """Columns of path, label and group, if there are any; and whether the first row is a header."""
    names = [name.strip().lower() for name in header]
    label_names, group_names = (
        (name.lower(),) if name else usual
        for name, usual in ((named.label, LABEL_NAMES), (named.group, GROUP_NAMES))
    )
    path, label, group = (
        next((i for i, name in enumerate(names) if name in wanted), None)
        for wanted in (kind.path_names, label_names, group_names)
    )
    for what, name, found in (("label", named.label, label), ("group", named.group, group)):
        if name and found is None:
            raise ValueError(f"{file}: no {what} column {name!r}{did_you_mean(name, header)}")
    if path is not None:
        return _Columns(path, label, group), True
    if named != ColumnNames():
        usual = ", ".join(kind.path_names)
        raise ValueError(
            f"{file}: a table whose columns are named needs a header with one of {usual}"
        )
    is_header = not kind.matches(header[0]) and not os.path.isfile(
        os.path.join(file.parent, header[0])
    )
    return _Columns(0, 1 if len(header) > 1 else None, None), is_header


def _check_cells(where: str, row: Sequence[str], columns: _Columns, kind: FileKind) -> None:
    """Raise ValueError for what a stray quotation mark made of several rows."""
    names = {number: name for name, number in columns._asdict().items() if number is not None}
    for number, cell in enumerate(row):
        name = names.get(number)
        if name and len(cell) > MAX_CELL_LENGTH:
            limit = f"at most {MAX_CELL_LENGTH:,} are allowed"
            raise ValueError(f"{where}: the {name} has {len(cell):,} characters, {limit}")
        if "\n" in cell and (name or _has_rows(cell, kind)):
            what = f"the {name}" if name else "a cell"
            raise ValueError(f"{where}: {describe_multiline_cell(what, cell)}")


def _has_rows(cell: str, kind: FileKind) -> bool:
    """Return whether a line has a cell that names a file: text of several lines rarely does.

    What is before the first comma of the first line began this very cell.
    """
    first, *others = cell.split("\n")
    parts = first.split(",")[1:] + [part for line in others for part in line.split(",")]
    return any(kind.matches(part.strip(' "')) for part in parts)


def _check_contradictions(
    file: Path, paths: Sequence[str], numbers: Sequence[int], what: str, coded: "_CodedColumn"
) -> None:
    """Raise ValueError for a path that is there twice, with two labels or two groups.

    Only hashes are held of all paths, so that a long table costs little memory.
    """
    if coded.column is None:
        return

    def place(path: str) -> str:
        return os.path.normpath(os.path.join(folder, path))

    folder = os.path.abspath(file.parent)
    hashes = np.fromiter((hash(place(path)) for path in paths), np.int64, len(paths))
    order = np.argsort(hashes, kind="stable")
    first, second = order[:-1], order[1:]
    values = to_int64(coded.values)
    suspects = (hashes[first] == hashes[second]) & (values[first] != values[second])
    names = list(coded.codes)
    for a, b in zip(first[suspects].tolist(), second[suspects].tolist()):
        if place(paths[a]) == place(paths[b]):
            raise ValueError(
                f"{file}, line {numbers[b]}: {paths[b]} has the {what} {names[values[b]]!r}, and "
                f"{names[values[a]]!r} on line {numbers[a]}; keep the correct row"
            )


class _CodedColumn:
    """A column of names as numbers; no column: nothing."""

    def __init__(self, column: int | None):
        self.column, self.codes, self.values = column, dict[str, int](), array("q")

    def add(self, row: list[str], what: str, line: str) -> None:
        if self.column is not None:
            name = row[self.column].strip()
            if not name:
                raise ValueError(f"{line}: the {what} is empty")
            if name[0] == '"' and name != row[self.column]:
                problem = f"the {what} {name} has a space before its quotation mark"
                raise ValueError(f"{line}: {problem}; remove the space")
            self.values.append(self.codes.setdefault(name, len(self.codes)))

    def finish(self, file: Path) -> tuple[np.ndarray | None, list[str] | None]:
        if self.column is None:
            return None, None
        values, names = encode_labels(list(self.codes), str(file))
        return values[to_int64(self.values)], names


def _shorten_row(row: list[str]) -> str:
    """Return the cells for a message, which one long cell must not fill."""
    text = repr(row)
    return text if len(text) <= 200 else f"{len(row)} that begin with {text[:100]}"
