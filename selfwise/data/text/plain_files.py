"""Text files as a stream of characters: any length, compressed or not, UTF-8 or UTF-16."""

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from sys import getsizeof
from typing import IO

import pyarrow as pa

from selfwise.core.memory_limit import MemoryBudget
from selfwise.data.regular_files import check_regular

BLOCK_BYTES = 2**20  # bytes that are read at a time
PIECE_CHARACTERS = 2**20  # characters; a longer document comes in several pieces
BORDER_REACH = PIECE_CHARACTERS // 4  # of a piece, where its end is looked for
COMPRESSED = (".gz", ".zst", ".zstd")
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
JOIN_FACTOR = 2  # a line is joined from its blocks, which are in memory until then
BLANK_LINES = re.compile(r"\n[ \t]*\n\s*")

TextPiece = tuple[str, bool]  # some text, and whether its document ends with it


def inner_suffix(path: Path) -> str:
    """Return the suffix that says how a file is read, without that of its compression: `.txt`."""
    inner = path.name.lower()
    for suffix in COMPRESSED:
        inner = inner.removesuffix(suffix)
    return Path(inner).suffix


def read_characters(path: Path, report_bytes: Callable[[int], None]) -> Iterator[str]:
    """Yield the text of a file in blocks; newlines are `\\n`, and a byte-order mark is left out.

    `seen` gets the number of bytes that were read. Raises ValueError that names file and byte for
    a file that is not text, and for a damaged compressed file.
    """
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    encoding, rest, at = "", b"", 0
    for block in _read_blocks(path, report_bytes):
        data = rest + block
        if not encoding:
            mark, encoding = _detect_encoding(path, data)
            data, at = data[mark:], mark
        if encoding == "utf-8" and b"\0" in data:
            where = f"{_name_byte(path, at + data.index(0))} is zero"
            raise ValueError(f"{path}: a binary file, not text ({where})")
        text, used = _decode(path, data, encoding, at, final=False)
        rest, at = data[used:], at + used
        yield newlines.decode(text)
    text, _ = _decode(path, rest, encoding or "utf-8", at, final=True)
    yield newlines.decode(text, final=True)


def read_whole(path: Path, report_bytes: Callable[[int], None]) -> Iterator[TextPiece]:
    """Yield the file as one document."""
    yield from _cut_blocks(read_characters(path, report_bytes))


def read_paragraphs(path: Path, report_bytes: Callable[[int], None]) -> Iterator[TextPiece]:
    """Yield a document for each run of lines between blank ones."""
    rest, inside = "", False
    for block in read_characters(path, report_bytes):
        *done, rest = BLANK_LINES.split(rest + block)
        for text in done:
            text = text.rstrip() if inside else text.strip()
            if text or inside:
                yield from _cut_blocks(iter([text]))
            inside = False
        if len(rest) > 2 * PIECE_CHARACTERS:
            rest = rest if inside else rest.lstrip()
            end = find_border(rest)
            yield rest[:end], False
            rest, inside = rest[end:], True
    rest = rest.rstrip() if inside else rest.strip()
    if rest or inside:
        yield from _cut_blocks(iter([rest]))


def read_line_documents(path: Path, report_bytes: Callable[[int], None]) -> Iterator[TextPiece]:
    """Yield a document for each line that is not blank."""
    for line in read_lines(path, report_bytes):
        if line and not line.isspace():
            yield from _cut_blocks(iter([line]))


def read_lines(path: Path, report_bytes: Callable[[int], None]) -> Iterator[str]:
    """Yield the lines of a file, without their ends."""
    rest: list[str] = []
    budget = MemoryBudget(f"{path}, a line")
    for block in read_characters(path, report_bytes):
        head, newline, tail = block.partition("\n")
        if not newline:
            rest.append(block)
            budget.add(JOIN_FACTOR * getsizeof(block))
            continue
        budget = MemoryBudget(f"{path}, a line")
        yield "".join([*rest, head])
        *middle, last = tail.split("\n")
        yield from middle
        rest = [last]
    last = "".join(rest)
    if last:
        yield last


def cut_pieces(text: str) -> Iterator[TextPiece]:
    """Yield a document that is in memory, in pieces."""
    yield from _cut_blocks(iter([text]))


def find_border(text: str, start: int = 0) -> int:
    """Return where the piece of a long text from `start` on ends: before white space, if possible.

    Best between paragraphs, else between lines, else between words, in the last quarter of a
    piece. Depends on the text alone, not on the blocks in which it was read.
    """
    for mark in ("\n\n", "\n", " "):
        end = start + PIECE_CHARACTERS
        border = text.rfind(mark, end - BORDER_REACH, end)
        if border >= 0:
            return border
    return start + PIECE_CHARACTERS


def _cut_blocks(blocks: Iterator[str]) -> Iterator[TextPiece]:
    """Yield pieces of one document; the last says so."""
    text = ""
    for block in blocks:
        text, start = text + block, 0
        while len(text) - start > PIECE_CHARACTERS:
            end = find_border(text, start)
            yield text[start:end], False
            start = end
        text = text[start:]  # once for a block: a copy for each piece would be quadratic
    yield text, True


def _read_blocks(path: Path, report_bytes: Callable[[int], None]) -> Iterator[bytes]:
    check_regular(path)
    with path.open("rb") as raw:
        try:
            with open_uncompressed(path, raw) as stream:
                while block := stream.read(BLOCK_BYTES):
                    report_bytes(raw.tell())
                    yield block
        except (OSError, EOFError, zlib.error) as error:
            if path.suffix.lower() not in COMPRESSED or getattr(error, "errno", None):
                raise
            why = " ".join(str(error).split())
            raise ValueError(f"{path}: the compressed file is damaged ({why})") from error


def open_uncompressed(path: Path, raw: IO[bytes]) -> gzip.GzipFile | IO[bytes] | pa.NativeFile:
    """Return the stream that a file's name says is compressed in it."""
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return gzip.GzipFile(fileobj=raw)
    return pa.CompressedInputStream(raw, "zstd") if suffix in COMPRESSED else raw


def _detect_encoding(path: Path, start: bytes) -> tuple[int, str]:
    """Length of the byte-order mark, and the encoding that it tells; UTF-8 without one.

    Raises ValueError for UTF-32, whose mark begins with that of UTF-16.
    """
    if start.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        raise ValueError(f"{path}: UTF-32 is not supported; convert the file to UTF-8")
    for mark, encoding in BYTE_ORDER_MARKS:
        if start.startswith(mark):
            return len(mark), encoding
    return 0, "utf-8"


def _decode(path: Path, data: bytes, encoding: str, at: int, *, final: bool) -> tuple[str, int]:
    decode = {
        "utf-8": codecs.utf_8_decode,
        "utf-16-le": codecs.utf_16_le_decode,
        "utf-16-be": codecs.utf_16_be_decode,
    }[encoding]
    try:
        return decode(data, "strict", final)
    except UnicodeDecodeError as error:
        where = _name_byte(path, at + error.start)
        line = f", line {_find_line(path, at + error.start):,}" if encoding == "utf-8" else ""
        raise ValueError(
            f"{path}: not {encoding.upper()[:6].rstrip('-')} at {where} ({error.reason}{line}); "
            "convert the file to UTF-8"
        ) from error


def _name_byte(path: Path, number: int) -> str:
    inside = " of the uncompressed text" if path.suffix.lower() in COMPRESSED else ""
    return f"byte {number:,}{inside}"


def _find_line(path: Path, byte: int) -> int:
    """Return the number of the line in which a byte of a UTF-8 file is; reads the file again."""
    newlines = 0
    for block in _read_blocks(path, lambda read: None):
        newlines += block[:byte].count(b"\n")
        byte -= len(block)
        if byte <= 0:
            break
    return newlines + 1
