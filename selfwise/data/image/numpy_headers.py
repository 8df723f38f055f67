"""Sizes that the headers of .npy and .npz files announce, checked before anything is allocated."""

import lzma
import struct
import tokenize
import zipfile
import zlib
from io import BufferedIOBase
from math import prod
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from selfwise.core.memory_limit import check_size
from selfwise.data.regular_files import check_regular

# What numpy and zipfile raise for damaged files; their documentation has no list. RuntimeError and
# NotImplementedError are those of encrypted archives and of unknown compression.
NUMPY_ERRORS = (
    *(ValueError, OSError, EOFError, SyntaxError, KeyError, TypeError, IndexError, AttributeError),
    *(OverflowError, RecursionError, MemoryError, RuntimeError, AssertionError),
    *(tokenize.TokenError, struct.error, zlib.error, lzma.LZMAError, zipfile.BadZipFile),
)
READ_HEADER = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
FLOAT_FACTOR = 2  # floats of an archive are copied as bytes, some images at a time
CONVERTED = 1_024  # images of a file that are converted to bytes at a time, at most
WIDEST_ITEM = 2**20  # bytes of a number or text; numpy gives every text the room of the longest


def check_npy(path: Path) -> None:
    """Raise ValueError for an array that is larger than its file, or than the memory limit.

    A file of uint8 is mapped, so it takes no memory.
    """
    check_regular(path)
    try:
        with path.open("rb") as stream:
            shape, dtype = _read_header(stream)
            rest = path.stat().st_size - stream.tell()
    except NUMPY_ERRORS as error:
        raise ValueError(f"{path}: not a plain numpy file ({shorten_error(error)})") from error
    needed = prod(shape) * dtype.itemsize
    if needed > rest:
        raise ValueError(
            f"{path}: its header promises {needed:,} bytes, but only {rest:,} follow; the file is "
            "incomplete"
        )
    if dtype != np.uint8:  # the file is mapped, and its numbers become bytes
        check_size(path, prod(shape) + CONVERTED * prod(shape[1:]) * 8)


def check_npz(path: Path) -> None:
    """Raise ValueError for an archive whose arrays are larger than they say, or than the limit."""
    check_regular(path)
    try:
        with zipfile.ZipFile(path) as archive:
            needed = sum(_measure_member(archive, member) for member in archive.infolist())
    except NUMPY_ERRORS as error:
        raise ValueError(f"{path}: not a plain numpy file ({shorten_error(error)})") from error
    check_size(path, needed)


def _measure_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    """Return the bytes that reading a member takes at most; its header must fit its size."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{member.filename} is compressed in a way that np.savez does not use")
    if not member.filename.endswith(".npy"):
        return 0  # only arrays are read
    with archive.open(member) as stream:
        shape, dtype = _read_header(stream)
        size = prod(shape) * dtype.itemsize
        if size > member.file_size and not dtype.hasobject:  # objects may repeat, and are not read
            raise ValueError(f"the header of {member.filename} promises more than it holds")
    return size if dtype == np.uint8 else FLOAT_FACTOR * size


def _read_header(stream: BufferedIOBase | IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Return shape and type, and leave the stream at the first number."""
    version = npy.read_magic(stream)
    read = READ_HEADER.get(version, npy.read_array_header_2_0)  # 3.0 only allows other letters
    shape, _, dtype = read(stream)
    if dtype.itemsize > WIDEST_ITEM and prod(shape) > 1:
        raise ValueError(f"each of its values takes {dtype.itemsize:,} bytes")
    if any(size < 0 for size in shape):
        raise ValueError(f"its shape is {shape}")
    return shape, dtype


def shorten_error(error: BaseException) -> str:
    """Return the reason in one line of at most 120 characters."""
    return " ".join(str(error).split())[:120] or type(error).__name__
