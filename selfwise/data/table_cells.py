"""Cells of csv and tsv files: one reader, and one strictness, for texts, images and recordings."""

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from selfwise.core.errors import did_you_mean
from selfwise.data.text.plain_files import inner_suffix, read_lines

MAX_CELL = 2**31 - 1  # characters, the most that the module csv takes
CELL_SUFFIXES = (".csv", ".tsv")
ReportBytes = Callable[[int], None]
NumberedRow = tuple[int, list[str]]  # the number of a row's first line, and its cells


def is_table(path: Path) -> bool:
    """Return whether a file is a csv or a tsv by its name, compressed or not."""
    return inner_suffix(path) in CELL_SUFFIXES


def read_cells(path: Path, report_bytes: ReportBytes) -> Iterator[NumberedRow]:
    """Return every row that is not empty, the header too; compressed or not, UTF-8 or UTF-16.

    Tabs separate the cells of a tsv, and quotation marks are text there, as in the files of GLUE.
    Raises ValueError, with file and line, for text in another encoding and for quotation marks
    that do not fit.
    """
    return (
        _read_csv(path, report_bytes)
        if inner_suffix(path) == ".csv"
        else _read_tsv(path, report_bytes)
    )


def check_column_names(where: str, names: Sequence[str]) -> None:
    """Raise ValueError for a header that has a name twice or that runs over several lines."""
    unique: set[str] = set()
    for name in map(str.strip, names):
        if "\n" in name:
            raise ValueError(f"{where}: {describe_multiline_cell('the name of a column', name)}")
        if name and name in unique:
            raise ValueError(f"{where}: there are two columns {name!r}; rename or remove one")
        unique.add(name)


def explain_missing(where: str, field: str, names: Sequence[str]) -> str:
    """Return the sentence for a field that is not there: the nearest one, and all."""
    hint = did_you_mean(field, names)
    listed = f" (the file has: {', '.join(names)})" if "mean" in hint else ""
    return f"{where}: there is no field {field!r}{listed}{hint}"


def describe_multiline_cell(what: str, cell: str) -> str:
    """Return the sentence for a cell that took in the rows behind it."""
    first, count = cell.partition("\n")[0][:40], cell.count("\n") + 1
    return (
        f"{what} begins with {first!r} and runs over {count} lines; "
        "does it have a quotation mark too many?"
    )


def _read_csv(path: Path, report_bytes: ReportBytes) -> Iterator[NumberedRow]:
    # Documents are longer than the module expects. The limit holds for the whole process, so it is
    # not put back: another table may still be open.
    csv.field_size_limit(MAX_CELL)
    reader = csv.reader((f"{line}\n" for line in read_lines(path, report_bytes)), strict=True)
    first = 1
    try:
        for row in reader:
            if row:
                yield first, row
            first = reader.line_num + 1
    except csv.Error as error:
        last = reader.line_num
        to = f" (the row ends on line {last})" if last > first else ""
        raise ValueError(f"{path}, line {first}: malformed csv ({error}){to}") from error


def _read_tsv(path: Path, report_bytes: ReportBytes) -> Iterator[NumberedRow]:
    for number, line in enumerate(read_lines(path, report_bytes), start=1):
        if line:
            yield number, line.split("\t")
