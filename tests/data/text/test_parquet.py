"""Tables of parquet are read in batches that fit into memory, and in no smaller ones."""

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selfwise.core.memory_limit import limit_memory
from selfwise.data.text import parquet
from selfwise.data.text.parquet import read_parquet_rows
from selfwise.data.text.parquet_pages import Column, read_groups

MIB = 2**20
ENCODINGS = [
    {"use_dictionary": False},
    {"use_dictionary": False, "data_page_version": "2.0"},
    {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}},
    {},
]


def write_texts(path, texts, **options):
    pq.write_table(pa.table({"text": texts}), path, **options)
    return pq.ParquetFile(path).metadata


def make_texts(count, length):
    draws = random.Random(0)
    return ["".join(draws.choices("abcdefgh", k=length)) for _ in range(count)]


def count_batches(path, monkeypatch):
    """The sizes of the batches in which a file is read."""
    sizes, list_rows = [], parquet._list_rows

    def count(path, batch, done):
        sizes.append(batch.num_rows)
        return list_rows(path, batch, done)

    monkeypatch.setattr(parquet, "_list_rows", count)
    assert all(row["text"] for _, row in read_parquet_rows(path, ["text"], lambda size: None))
    return sizes


def test_a_group_of_rows_above_the_limit_is_read_in_large_batches(tmp_path, monkeypatch):
    path = tmp_path / "a.parquet"
    metadata = write_texts(path, make_texts(2000, 10_000), use_dictionary=False)
    assert metadata.num_row_groups == 1
    assert metadata.row_group(0).total_byte_size > 16 * MIB
    with limit_memory("16M"):
        assert min(count_batches(path, monkeypatch)[:-1]) >= 64


def test_short_texts_are_read_in_the_largest_batches(tmp_path, monkeypatch):
    path = tmp_path / "a.parquet"
    write_texts(path, make_texts(3000, 20))
    with limit_memory("1G"):
        assert count_batches(path, monkeypatch) == [1024, 1024, 952]


@pytest.mark.parametrize("options", ENCODINGS)
def test_pages_hold_all_values_and_bytes(options, tmp_path):
    path = tmp_path / "a.parquet"
    metadata = write_texts(path, make_texts(500, 3000), data_page_size=100_000, **options)
    group = metadata.row_group(0).column(0)
    with path.open("rb") as stream:
        ((column,),) = read_groups(stream, metadata, None)
    assert sum(count for count, _ in column.pages) == 500
    assert (column.repeated > 0) == ("column_encoding" in options or not options)
    dictionary = column.repeated if not options else 0
    headers = group.total_uncompressed_size - dictionary - sum(size for _, size in column.pages)
    assert 0 < headers < 7000 * len(column.pages)


def test_a_list_counts_all_its_values(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a.b": [[1, 2, 3]] * 100, "a": ["x"] * 100}), path)
    metadata = pq.ParquetFile(path).metadata
    with path.open("rb") as stream:
        (columns,) = read_groups(stream, metadata, ["a.b"])
        (others,) = read_groups(stream, metadata, ["a"])
    assert [column.per_row for column in columns] == [3]
    assert len(others) == 2  # the first may be a part of a struct by that name


def test_rows_may_begin_with_the_last_value_of_a_page():
    column = Column(repeated=0, pages=[(1, 5), (10, 100), (10, 200), (10, 50)])
    assert [column.measure_rows(rows) for rows in (1, 2, 11, 12, 13, 31)] == [
        *(200, 300, 300, 350, 350, 355),
    ]
    assert column._replace(repeated=7).measure_rows(2) == 314


@pytest.mark.parametrize(
    "head",
    [b"", b"\x15", b"\x15" + b"\xff" * 10, b"\x1c" * 20, b"\x1f", b"\x15\x00\x15\x01\x15\x00\x00"],
)
def test_a_damaged_header_of_a_page_is_a_sentence(head, tmp_path):
    path = tmp_path / "a.parquet"
    metadata = write_texts(path, ["a", "b"])
    cut = tmp_path / "cut"
    cut.write_bytes(bytes(metadata.row_group(0).column(0).dictionary_page_offset) + head)
    with cut.open("rb") as stream, pytest.raises(pa.ArrowInvalid, match="the header of a page is"):
        list(read_groups(stream, metadata, None))
    data = bytearray(path.read_bytes())
    data[4 : 4 + len(head)] = head
    path.write_bytes(data)
    if len(head) > 1:
        with pytest.raises(ValueError, match=r"a\.parquet: cannot be read as parquet"):
            list(read_parquet_rows(path, None, lambda size: None))
