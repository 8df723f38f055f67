"""The pages of a column in a parquet file, by their headers: how much memory each takes unpacked.

Headers are structs of Thrift's compact protocol (github.com/apache/parquet-format:
parquet.thrift; github.com/apache/thrift: doc/specs/thrift-compact-protocol.md).
"""

from collections.abc import Iterator, Sequence
from typing import IO, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

PAGE_TYPE, UNPACKED_SIZE, PACKED_SIZE = 1, 2, 3  # fields of PageHeader
DATA_HEADERS = {5: 2, 8: 4}  # fields with the header of data, and in it the field of the encoding
VALUES = 1  # field of a header of data
DICTIONARY_PAGE = 2  # PageType
PREFIXES = 7  # Encoding.DELTA_BYTE_ARRAY: a value repeats the beginning of the value before it
MAX_DEPTH = 8
TEXTS = ("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY")  # other types have at most so many bytes:
MAX_NUMBER = 12
# types of Thrift
TRUE, FALSE, BYTE, DOUBLE, BINARY, STRUCT = 1, 2, 3, 7, 8, 12
INTEGERS = (4, 5, 6)


class Column(NamedTuple):
    """The pages of a column in one group of rows, unpacked."""

    repeated: int  # bytes that each value may take, because pages may name them again and again
    pages: list[tuple[int, int]]  # the values and the bytes of each page of data
    per_row: int = 1  # values of a row on average, more than one in lists

    @property
    def largest(self) -> int:
        """Bytes of the largest page."""
        return max([self.repeated, *(size for _, size in self.pages)])

    def measure_rows(self, rows: int) -> int:
        """Return the bytes that so many rows in sequence take at most."""
        rows *= self.per_row
        most = held = values = first = 0
        for i, (count, size) in enumerate(self.pages):
            held, values = held + size, values + count
            # the rows may begin with the last value of the first page
            while first < i and values - self.pages[first][0] - count + 1 >= rows:
                held, values = held - self.pages[first][1], values - self.pages[first][0]
                first += 1
            most = max(most, held)
        return most + rows * self.repeated


def read_column(stream: IO[bytes], column: pq.ColumnChunkMetaData, rows: int) -> Column:
    """Read the headers of all pages of a column of so many rows.

    Raises ValueError for a damaged header.
    """
    starts = [column.dictionary_page_offset, column.data_page_offset]
    place = min([start for start in starts if start], default=0)
    end, values, repeated = place + column.total_compressed_size, 0, 0
    pages: list[tuple[int, int]] = []
    while place < end and values < column.num_values:
        stream.seek(place)
        header = _read_struct(stream)
        size, packed = int(header.get(UNPACKED_SIZE, 0)), int(header.get(PACKED_SIZE, -1))
        if size < 0 or packed < 0:
            raise pa.ArrowInvalid("the header of a page is damaged")
        place = stream.tell() + packed
        if header.get(PAGE_TYPE) == DICTIONARY_PAGE:
            repeated = max(repeated, size)
        for field, encoding in DATA_HEADERS.items():
            if isinstance(data := header.get(field), dict):
                pages.append((count := max(int(data.get(VALUES, 0)), 0), size))
                values += count
                if data.get(encoding) == PREFIXES:
                    repeated = max(repeated, size)
    if column.physical_type not in TEXTS:
        repeated = min(repeated, MAX_NUMBER)
    return Column(repeated, pages, -(-max(column.num_values, 1) // max(rows, 1)))


def read_groups(
    stream: IO[bytes], metadata: pq.FileMetaData, fields: Sequence[str] | None
) -> Iterator[list[Column]]:
    """Yield the columns that are read, for each group of rows."""
    for i in range(metadata.num_row_groups):
        group = metadata.row_group(i)
        columns = [group.column(j) for j in range(group.num_columns)]
        read = [column for column in columns if _is_read(column, fields)]
        yield [read_column(stream, column, group.num_rows) for column in read]


def _is_read(column: pq.ColumnChunkMetaData, fields: Sequence[str] | None) -> bool:
    path = f"{column.path_in_schema}."
    return fields is None or any(path.startswith(f"{field}.") for field in fields)


def measure_rows(columns: Sequence[Column], rows: int) -> int:
    """Return the bytes that so many rows in sequence take at most."""
    return sum(column.measure_rows(rows) for column in columns)


def _read_struct(stream: IO[bytes], depth: int = 0) -> dict[int, Any]:
    """Return the fields of a struct by their numbers; texts are skipped."""
    if depth > MAX_DEPTH:
        raise pa.ArrowInvalid("the header of a page is too deep")
    fields: dict[int, Any] = {}
    number = 0
    while kind := (head := _read_byte(stream)) & 15:
        step = head >> 4
        number = number + step if step else _read_signed(stream)
        fields[number] = _read_value(stream, kind, depth)
    return fields


def _read_value(stream: IO[bytes], kind: int, depth: int) -> Any:
    if kind in (TRUE, FALSE):
        return kind == TRUE
    if kind == BYTE:
        return _read_byte(stream)
    if kind in INTEGERS:
        return _read_signed(stream)
    if kind == STRUCT:
        return _read_struct(stream, depth + 1)
    if kind not in (DOUBLE, BINARY):  # no field of a page has another type
        raise pa.ArrowInvalid("the header of a page is damaged")
    stream.seek(8 if kind == DOUBLE else _read_varint(stream), 1)
    return None


def _read_signed(stream: IO[bytes]) -> int:
    number = _read_varint(stream)
    return number >> 1 ^ -(number & 1)  # zigzag


def _read_varint(stream: IO[bytes]) -> int:
    number = 0
    for shift in range(0, 64, 7):
        byte = _read_byte(stream)
        number |= (byte & 127) << shift
        if byte < 128:
            return number
    raise pa.ArrowInvalid("the header of a page is damaged")


def _read_byte(stream: IO[bytes]) -> int:
    byte = stream.read(1)
    if not byte:
        raise pa.ArrowInvalid("the header of a page is incomplete")
    return byte[0]
