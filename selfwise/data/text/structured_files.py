"""Rows of .json files, whatever their layout, and of Arrow files; documents of WikiExtractor."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from sys import getsizeof
from typing import IO

import pyarrow as pa

from selfwise.core.memory_limit import MemoryBudget
from selfwise.data.table_cells import check_column_names
from selfwise.data.text.arrow_sizes import check_batches
from selfwise.data.text.plain_files import TextPiece, cut_pieces, read_characters, read_lines

ARROW = (".arrow", ".feather", ".ipc")
# what pyarrow raises for damaged files, and for texts that are not UTF-8
ARROW_ERRORS = (
    *(pa.ArrowException, EOFError, OSError, UnicodeDecodeError, OverflowError, MemoryError),
    *(KeyError, TypeError),
)
_BEGIN = re.compile(r'<doc id="[^"]*".*>\s*')
_END = "</doc>"
JSON_FACTOR = 8  # bytes of a value in memory for one of its text, as a rule
TOO_DEEP = "too many lists and objects inside each other"
_SPACE = " \t\r\n"
ReportBytes = Callable[[int], None]


class DuplicateFields(dict):
    """An object of JSON that has a field twice."""

    name: str


def _build_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    row = dict(pairs)
    if len(row) == len(pairs):
        return row
    names = [name for name, _ in pairs]
    twice = DuplicateFields(row)
    twice.name = next(name for name in names if names.count(name) > 1)
    return twice


JSON = json.JSONDecoder(object_pairs_hook=_build_object)


def read_json_values(path: Path, report_bytes: ReportBytes) -> Iterator[tuple[str, object]]:
    """("row 3", value) for each element of an array, or each value of several in a row.

    One element at a time is in memory. Raises ValueError that names file and row.
    """
    text = _JsonStream(path, read_characters(path, report_bytes))
    number, inside = 0, text.peek() == "["
    text.skip("[" if inside else "")
    while text.peek() not in ("", "]"):
        number += 1
        yield f"row {number}", text.value(f"{path}, row {number}")
        if inside and text.peek() == ",":
            text.skip(",")
            if text.peek() == "]":
                raise ValueError(f"{path}, row {number + 1}: not JSON (nothing after a comma)")
        elif inside and text.peek() != "]":
            raise ValueError(f"{path}, row {number}: not JSON (no comma or ] after it)")
    if (text.peek() == "]") != inside:
        raise ValueError(f"{path}: the JSON array has no end, or one end too many")
    text.skip("]" if inside else "")
    if text.peek():
        raise ValueError(f"{path}: there is text behind the end of the JSON array")


class _JsonStream:
    """The rest of a stream of JSON, of which only what is needed is in memory."""

    def __init__(self, path: Path, blocks: Iterator[str]):
        self._path, self._blocks, self._rest, self._at = path, blocks, "", 0

    def peek(self) -> str:
        """Return the next character that is not white space; nothing at the end."""
        while True:
            while self._at < len(self._rest) and self._rest[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._rest):
                return self._rest[self._at]
            if not self._more(1):
                return ""

    def skip(self, text: str) -> None:
        self._at += len(text)

    def value(self, where: str) -> object:
        """Return the next value."""
        while True:
            try:
                value, end = JSON.raw_decode(self._rest, self._at)
            except RecursionError as error:
                raise ValueError(f"{where}: not JSON ({TOO_DEEP})") from error
            except json.JSONDecodeError as error:
                # half of it may be there: twice as much is read before it is tried again
                if not self._more(len(self._rest) - self._at):
                    raise ValueError(f"{where}: not JSON ({error.msg})") from error
                continue
            except ValueError as error:  # a number of too many digits
                raise ValueError(f"{where}: not JSON ({error})") from error
            if end == len(self._rest) and self._more(1):
                continue  # a number may have more digits
            self._at = end
            return value

    def _more(self, size: int) -> bool:
        """Read at least so many further characters. False at the end of the stream."""
        parts: list[str] = []
        budget = MemoryBudget(f"{self._path}, a row")
        budget.add(JSON_FACTOR * (len(self._rest) - self._at))
        while size > 0 and (block := next(self._blocks, None)) is not None:
            parts.append(block)
            size -= len(block)
            budget.add(JSON_FACTOR * getsizeof(block))
        self._rest, self._at = self._rest[self._at :] + "".join(parts), 0
        return any(parts)


def read_arrow_rows(
    path: Path, report_bytes: ReportBytes, batch_rows: int
) -> Iterator[tuple[str, dict[str, object]]]:
    """("row 3", row) of an Arrow file or stream, as Hugging Face's datasets and pyarrow write."""
    number = 0
    try:
        check_batches(path)
        with path.open("rb") as raw:
            is_file = raw.read(6) == b"ARROW1"
            raw.seek(0)
            for batch in _read_batches(raw, is_file=is_file):
                if not number:
                    check_column_names(str(path), batch.schema.names)
                batch.validate(full=True)  # offsets outside of the texts would read other memory
                for start in range(0, batch.num_rows, batch_rows):
                    for row in batch.slice(start, batch_rows).to_pylist():
                        number += 1
                        yield f"row {number}", row
                report_bytes(raw.tell())
    except ARROW_ERRORS as error:
        if getattr(error, "filename", None) is not None:
            raise
        why = " ".join(str(error).split())
        raise ValueError(f"{path}: cannot be read as Arrow ({why})") from error


def _read_batches(raw: IO[bytes], *, is_file: bool) -> Iterator[pa.RecordBatch]:
    if not is_file:
        yield from pa.ipc.open_stream(raw)
        return
    reader = pa.ipc.open_file(raw)
    for i in range(reader.num_record_batches):
        yield reader.get_batch(i)


def read_wiki_documents(path: Path, report_bytes: ReportBytes) -> Iterator[TextPiece]:
    """Yield a document for each `<doc ...>` of WikiExtractor's files.

    Raises ValueError that names file and line for text outside of them.
    """
    waiting: list[str] | None = None
    number = 0
    for number, line in enumerate(read_lines(path, report_bytes), start=1):
        if waiting is None and _BEGIN.fullmatch(line):
            waiting = []
        elif waiting is None and line.strip():
            raise ValueError(f"{path}, line {number}: there is text outside of <doc ...> </doc>")
        elif waiting is not None and line.strip() == _END:
            text = "\n".join(waiting).strip()
            yield from cut_pieces(text) if text else ()
            waiting = None
        elif waiting is not None:
            waiting.append(line)
    if waiting is not None:
        raise ValueError(f"{path}, line {number}: the last <doc ...> has no </doc>")
