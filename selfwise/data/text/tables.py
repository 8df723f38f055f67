"""Documents in the rows of tables: jsonl, json, csv, tsv, parquet, arrow."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from selfwise.core.memory_limit import check_size
from selfwise.data.table_cells import CELL_SUFFIXES as CELLS
from selfwise.data.table_cells import check_column_names, explain_missing, read_cells
from selfwise.data.text.parquet import ROWS_PER_BATCH, read_parquet_rows
from selfwise.data.text.plain_files import TextPiece, cut_pieces, read_lines
from selfwise.data.text.structured_files import (
    ARROW,
    JSON,
    JSON_FACTOR,
    TOO_DEEP,
    DuplicateFields,
    read_arrow_rows,
    read_json_values,
)

TEXT_FIELDS = ("text", "content", "document", "sentence", "body", "article", "passage")
TABLE_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", *ARROW)
HALF_CHARACTER = re.compile("[\ud800-\udfff]")
ReportBytes = Callable[[int], None]
Row = dict[str, object]


def read_texts(path: Path, kind: str, field: str, report_bytes: ReportBytes) -> Iterator[TextPiece]:
    """Yield the documents in the column `field`, one for each row that has text there.

    Without a `field`, the column that has one of the usual names. Raises ValueError for a column
    that is not there, for text that is none, and for malformed rows, naming file and line.
    """
    for number, row in read_rows(path, kind, [field] if field else None, report_bytes):
        if not field:
            field = choose_column(list(row), "", f"{path}, {number}")
        if field not in row:
            raise ValueError(explain_missing(f"{path}, {number}", field, list(row)))
        text = row[field]
        if text is None or text == "":
            continue
        if not isinstance(text, str):
            kind_of = type(text).__name__
            raise ValueError(f"{path}, {number}: {field!r} is not text but of type {kind_of}")
        yield from cut_pieces(text)


def read_rows(
    path: Path, kind: str, fields: Sequence[str] | None, report_bytes: ReportBytes
) -> Iterator[tuple[str, Row]]:
    """("line 3", row) for every row of a table. `fields`: what is needed of it, None for all."""
    if kind == ".parquet":
        return read_parquet_rows(path, fields, report_bytes)
    if kind in ARROW:
        return read_arrow_rows(path, report_bytes, ROWS_PER_BATCH)
    if kind == ".json":
        return _read_json(path, report_bytes)
    return (
        _read_table_cells(path, report_bytes) if kind in CELLS else _read_jsonl(path, report_bytes)
    )


def choose_column(
    names: Sequence[str], requested: str, where: str, usual: Sequence[str] = TEXT_FIELDS
) -> str:
    """Return the column that is meant. Raises ValueError if it is not there or cannot be
    guessed."""
    if requested:
        if requested not in names:
            raise ValueError(explain_missing(where, requested, names))
        return requested
    lower = {name.strip().lower(): name for name in reversed(names)}
    name = next((lower[name] for name in usual if name in lower), None)
    if name is None and len(names) == 1:
        _check_only_name(names[0], where)
        return names[0]
    if name is None:
        raise ValueError(
            f"{where}: the field with the text is unclear, since none is named {', '.join(usual)}; "
            f"name it with --text-column; the file has: {', '.join(names)}"
        )
    return name


def _check_only_name(name: str, where: str) -> None:
    """Raise ValueError for the only name of a table that may be several names, or a text."""
    if mark := next((mark for mark in ";\t|" if mark in name), None):
        question = f"one field, {name[:80]!r}: does {mark!r} separate the fields?"
        raise ValueError(f"{where}: {question} A csv uses commas, a tsv tabs")
    if " " in name.strip():
        question = f"is {name[:80]!r} the name of a field, or the first text?"
        raise ValueError(f"{where}: {question} Name the field in the first line, such as text")


def _read_jsonl(path: Path, report_bytes: ReportBytes) -> Iterator[tuple[str, Row]]:
    for i, line in enumerate(read_lines(path, report_bytes), start=1):
        if not line.strip():
            continue
        check_size(f"{path}, line {i}", JSON_FACTOR * len(line))
        try:
            row = JSON.decode(line)
        except RecursionError as error:
            raise ValueError(f"{path}, line {i}: not JSON ({TOO_DEEP})") from error
        except json.JSONDecodeError as error:
            why = f"{error.msg} at character {error.pos + 1}"
            raise ValueError(f"{path}, line {i}: not JSON ({why})") from error
        except ValueError as error:  # a number of too many digits
            raise ValueError(f"{path}, line {i}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {i}: expected an object, got {type(row).__name__}")
        if isinstance(row, DuplicateFields):
            raise ValueError(f"{path}, line {i}: the field {row.name!r} occurs twice")
        if "\\u" in line:
            _check_characters(row, f"{path}, line {i}")
        yield f"line {i}", row


def _read_json(path: Path, report_bytes: ReportBytes) -> Iterator[tuple[str, Row]]:
    """Yield the rows of a .json file: an array of objects or of texts, or jsonl by another name."""
    for number, value in read_json_values(path, report_bytes):
        row = {"text": value} if isinstance(value, str) else value
        if not isinstance(row, dict):
            of_type = type(value).__name__
            raise ValueError(f"{path}, {number}: expected an object, got {of_type}")
        if isinstance(row, DuplicateFields):
            raise ValueError(f"{path}, {number}: the field {row.name!r} occurs twice")
        _check_characters(row, f"{path}, {number}")
        yield number, row


def _check_characters(row: Row, where: str) -> None:
    """Raise ValueError for half a character, which JSON can spell and no text can hold."""
    for name, value in row.items():
        half = HALF_CHARACTER.search(value) if isinstance(value, str) else None
        if half:
            code = f"\\u{ord(half[0]):04x}"
            raise ValueError(f"{where}: {name!r} has a lone {code}, which is half a character")


def _read_table_cells(path: Path, report_bytes: ReportBytes) -> Iterator[tuple[str, Row]]:
    header: list[str] | None = None
    for line, row in read_cells(path, report_bytes):
        if header is None:
            check_column_names(f"{path}, line {line}", row)
            header = row
        else:
            yield f"line {line}", _build_row(path, line, header, row)


def _build_row(path: Path, line: int, header: list[str], row: list[str]) -> Row:
    if len(row) != len(header):
        expected = f"expected {len(header)} fields as in the first line"
        raise ValueError(f"{path}, line {line}: {expected}, got {len(row)}")
    return dict(zip(header, row))
