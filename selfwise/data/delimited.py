"""The one reader of csv and tsv: strict, any encoding that `documents_read` knows, no lost rows."""

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from selfwise.data.documents_read import kind, lines

KINDS = (".csv", ".tsv")
Seen = Callable[[int], None]
Numbered = tuple[int, list[str]]  # the line on which a row begins, and its fields


def delimited_rows(path: Path, seen: Seen) -> Iterator[Numbered]:
    """Every row that is not empty, the header among them; `path` may be compressed.

    Raises ValueError that names file and line for quotation marks that do not match, and for rows
    that are not as long as the first.
    """
    width = 0
    for line, row in _tsv(path, seen) if kind(path) == ".tsv" else _csv(path, seen):
        width = width or len(row)
        if len(row) != width:
            expected = f"expected {width} fields as in the first line"
            raise ValueError(f"{path}, line {line}: {expected}, got {len(row)}")
        yield line, row


def check_header(names: Sequence[str], path: Path) -> None:
    """Raises ValueError if two columns have one name: a reader would lose one of them."""
    plain = [name.strip() for name in names]
    for name in plain:
        if name and plain.count(name) > 1:
            raise ValueError(f"{path}: two columns have the name {name!r}: rename one of them")


def _csv(path: Path, seen: Seen) -> Iterator[Numbered]:
    before = csv.field_size_limit(2**31 - 1)  # documents are longer than the module expects
    reader = csv.reader((f"{line}\n" for line in lines(path, seen)), strict=True)
    begins = 1
    try:
        for row in reader:
            if row:
                yield begins, row
            begins = reader.line_num + 1
    except csv.Error as error:
        where = f"line {begins}" + (f" to {reader.line_num}" if reader.line_num > begins else "")
        advice = "is a quotation mark missing or one too many?"
        raise ValueError(f"{path}, {where}: malformed csv ({error}); {advice}") from error
    finally:
        csv.field_size_limit(before)


def _tsv(path: Path, seen: Seen) -> Iterator[Numbered]:
    """Tabs separate, and quotation marks are text, as in the files of GLUE."""
    for i, line in enumerate(lines(path, seen), start=1):
        if line:
            yield i, line.split("\t")
