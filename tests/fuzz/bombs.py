"""Small files that would take a lot of memory: each is some kilobytes, and says or unpacks more."""

import gzip
import io
import json
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.fuzz.mutate import compress

MIB = 2**20
ZEROS = 300  # MiB that most of them unpack to


def zeros(mib: int = ZEROS) -> bytes:
    return bytes(mib * MIB)


def npy_header(shape: tuple[int, ...], dtype: str) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"shape": shape, "fortran_order": False, "descr": dtype}
    )
    return stream.getvalue()


def write_npz(path: Path) -> None:
    """A member that unpacks to what its header promises."""
    content = npy_header((ZEROS, 1024, 1024), "|u1") + zeros()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("x.npy", content)


def write_npz_that_promises(path: Path) -> None:
    """A member whose header promises more than it holds."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", npy_header((4000, 1024, 1024), "|u1"))


def write_npy_that_promises(path: Path) -> None:
    path.write_bytes(npy_header((4000, 1024, 1024), "<f4"))


def write_npy_of_wide_texts(path: Path) -> None:
    path.write_bytes(npy_header((10,), "<U100000000"))


def write_idx(path: Path) -> None:
    head = bytes([0, 0, 8, 3]) + struct.pack(">III", ZEROS, 1024, 1024)
    path.write_bytes(gzip.compress(head + zeros(), 1))
    labels = bytes([0, 0, 8, 1]) + struct.pack(">I", 1) + b"\0"
    (path.parent / "train-labels-idx1-ubyte").write_bytes(labels)


def write_png(path: Path) -> None:
    """13,000 x 13,000 pixels of transparent color, in one row that repeats."""

    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", 13_000, 13_000, 8, 6, 0, 0, 0)
    pixels = zlib.compress(bytes(13_000 * 4 + 1) * 20, 1)  # the header is enough
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def write_line(path: Path) -> None:
    """One line, packed."""
    path.write_bytes(compress(path.name, b"x" * (ZEROS * MIB)))


def write_csv(path: Path) -> None:
    """Rows without end, packed."""
    rows = b"text,label\n" + (b"a" * 1000 + b",b\n") * (200 * MIB // 1000)
    path.write_bytes(gzip.compress(rows, 1))


def write_jsonl(path: Path) -> None:
    """Lists that take far more than their text."""
    path.write_text(json.dumps({"text": "a", "n": [[]] * (4 * MIB)}))


def write_parquet(path: Path) -> None:
    """A text that a page names a million times."""
    texts = ["x" * 3_000_000] * 200
    pq.write_table(pa.table({"text": texts}), path, dictionary_pagesize_limit=2**30)


def write_feather(path: Path, *, stream: bool = False) -> None:
    """A text of zeros that lz4 or zstd packs."""
    table = pa.table({"text": ["\0" * (ZEROS * MIB)]})
    codec = "zstd" if stream else "lz4"
    options = pa.ipc.IpcWriteOptions(compression=codec)
    new = pa.ipc.new_stream if stream else pa.ipc.new_file
    with new(str(path), table.schema, options=options) as writer:
        writer.write_table(table)


def write_dictionary(path: Path) -> None:
    """The text in a dictionary, which has a message of its own."""
    column = pa.array(["\0" * (ZEROS * MIB)]).dictionary_encode()
    table = pa.table({"text": column})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(str(path), table.schema, options=options) as writer:
        writer.write_table(table)


def write_safetensors(path: Path) -> None:
    """A header that promises what the file does not have."""
    tensor = {"dtype": "F32", "shape": [2**30], "data_offsets": [0, 2**32]}
    header = json.dumps({"a": tensor}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def write_pt(path: Path) -> None:
    """An archive whose tensor is packed."""
    import torch

    torch.save({"a": torch.zeros(ZEROS * MIB // 4)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def write_wav(path: Path) -> None:
    """A header that promises hours in a thousand channels."""
    form = struct.pack("<HHIIHH", 1, 1000, 900_000, 900_000 * 2000, 2000, 16)
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", 2**32 - 64)
    path.write_bytes(b"RIFF" + struct.pack("<I", 2**32 - 1) + body + bytes(100_000))


def write_huge_id(path: Path) -> None:
    """A tokenizer of three pieces, of which one has the largest id."""
    model = {"type": "WordLevel", "vocab": {"a": 0, "[UNK]": 1, "b": 2**32 - 1}, "unk_token": "a"}
    path.write_text(json.dumps({"version": "1.0", "added_tokens": [], "model": model}))
