"""Rows of parquet files, whose values may take thousands of times the size of the file."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from selfwise.core.memory_limit import check_size, find_limit
from selfwise.data.regular_files import check_regular
from selfwise.data.table_cells import check_column_names, explain_missing
from selfwise.data.text.parquet_pages import measure_rows, read_groups
from selfwise.data.text.structured_files import ARROW_ERRORS

ROWS_PER_BATCH = 1024  # rows that are read at a time, at most
COPIES = 4  # of a value while it is read: the page, the batch, the text, and a spare one


def read_parquet_rows(
    path: Path, fields: Sequence[str] | None, report_bytes: Callable[[int], None]
) -> Iterator[tuple[str, dict[str, object]]]:
    """("row 3", row) of a parquet file. `fields`: the columns that are needed, None for all.

    Raises ValueError for a damaged file, a missing column, and a text that is not UTF-8.
    """
    check_regular(path)
    done = 0
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            check_column_names(str(path), names)
            for field in fields or []:
                if field not in names:
                    raise ValueError(explain_missing(str(path), field, names))
            total = max(file.metadata.num_rows, 1)
            columns = None if fields is None else list(fields)
            rows = _choose_batch_rows(path, file.metadata, fields)
            for batch in file.iter_batches(batch_size=rows, columns=columns):
                for row in _list_rows(path, batch, done):
                    done += 1
                    yield f"row {done}", row
                report_bytes(path.stat().st_size * done // total)
    except ARROW_ERRORS as error:
        why = " ".join(str(error).split())
        raise ValueError(f"{path}: cannot be read as parquet ({why})") from error


def _list_rows(path: Path, batch: pa.RecordBatch, done: int) -> list[dict[str, object]]:
    """Return the rows of a batch, of which `done` rows came before. Raises ValueError."""
    try:
        return batch.to_pylist()
    except UnicodeDecodeError as error:
        number = done + _find_bad_row(batch) + 1
        raise ValueError(f"{path}, row {number}: a text is not UTF-8 ({error.reason})") from error


def _find_bad_row(batch: pa.RecordBatch) -> int:
    for i in range(batch.num_rows):
        try:
            batch.slice(i, 1).to_pylist()
        except UnicodeDecodeError:
            return i
    raise AssertionError("one of the rows is bad")


def _choose_batch_rows(path: Path, metadata: pq.FileMetaData, fields: Sequence[str] | None) -> int:
    """Return how many rows fit into memory at once, however long their values are.

    Arrow unpacks one page of each column at a time. Raises ValueError if the largest pages alone
    exceed the limit.
    """
    rows, limit = ROWS_PER_BATCH, find_limit().bytes
    with path.open("rb") as stream:
        for columns in read_groups(stream, metadata, fields):
            check_size(path, sum(column.largest for column in columns))
            # one row may take a whole page, and more rows of two pages hardly take more than that
            most = max(limit, 2 * COPIES * measure_rows(columns, 1))
            while COPIES * measure_rows(columns, rows) > most:
                rows //= 2
    return rows
