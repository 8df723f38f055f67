"""The memory that the batches of an Arrow file take, before they are unpacked.

A batch may be compressed. Each of its buffers then begins with its unpacked length, and the
batch's header, a flatbuffer, tells where the buffers begin
(arrow.apache.org/docs/format/Columnar.html, Format/Message.fbs).
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from selfwise.core.memory_limit import check_size

FILE_MAGIC = b"ARROW1\0\0"  # before the messages of a file; a stream has only the messages
RECORD_BATCH, DICTIONARY_BATCH = 3, 2  # MessageHeader
# fields of tables, by their order in the schema of the format
HEADER_TYPE, HEADER = 1, 2  # Message
DICTIONARY_DATA = 1  # DictionaryBatch
BUFFERS, COMPRESSION = 2, 3  # RecordBatch


def check_batches(path: Path) -> None:
    """Raise ValueError if a batch exceeds the memory limit. Bodies are mapped, and not read."""
    dictionaries = 0
    with pa.memory_map(str(path)) as source:
        start = len(FILE_MAGIC) if source.read(len(FILE_MAGIC)) == FILE_MAGIC else 0
        source.seek(start)
        for message in pa.ipc.MessageReader.open_stream(source):
            size = _measure_message(message)
            if message.type == "dictionary":
                dictionaries += size  # these stay in memory
            check_size(path, dictionaries + size)


def _measure_message(message: pa.ipc.Message) -> int:
    """Return the bytes of a batch when it is unpacked."""
    if message.body is None:
        return 0
    try:
        return sum(_unpacked_sizes(message.metadata.to_pybytes(), memoryview(message.body)))
    except (struct.error, IndexError) as error:
        raise pa.ArrowInvalid("the header of a batch is damaged") from error


def _unpacked_sizes(header: bytes, body: memoryview) -> Iterator[int]:
    root = struct.unpack_from("<I", header, 0)[0]
    batch = _follow(header, root, HEADER)
    if batch and header[_find_field(header, root, HEADER_TYPE)] == DICTIONARY_BATCH:
        batch = _follow(header, batch, DICTIONARY_DATA)
    buffers = _follow(header, batch, BUFFERS) if batch else 0
    if not buffers or not _follow(header, batch, COMPRESSION):
        yield len(body)
        return
    for i in range(struct.unpack_from("<I", header, buffers)[0]):
        start, length = struct.unpack_from("<qq", header, buffers + 4 + 16 * i)
        if length < 8:
            continue
        unpacked = struct.unpack_from("<q", body, start)[0]
        yield length if unpacked == -1 else max(unpacked, 0)  # -1: it is not packed


def _find_field(data: bytes, table: int, number: int) -> int:
    """Return where a field of a flatbuffer's table is; 0 if the table does not have it."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    size = struct.unpack_from("<H", data, vtable)[0]
    slot = 4 + 2 * number
    offset = struct.unpack_from("<H", data, vtable + slot)[0] if slot < size else 0
    return table + offset if offset else 0


def _follow(data: bytes, table: int, number: int) -> int:
    """Return where the table or vector is that a field refers to; 0 if there is none."""
    place = _find_field(data, table, number)
    return place + struct.unpack_from("<I", data, place)[0] if place else 0
