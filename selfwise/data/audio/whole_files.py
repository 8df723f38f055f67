"""Sound files whose headers tell less than there is: what has to be read in their place.

A decoder stops where the header says that the sound ends. A recorder that was killed leaves a wav
of length 0, a pipe a flac of unknown length, `cat` an mp3 with the header of its first part, and
many encoders write mp3s of variable bit rate without any.
"""

import io
import mmap
import os
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from selfwise.data.audio.flac_checksums import crc8, crc16
from selfwise.data.audio.mp3 import find_tag_end, is_frame, list_mp3_pieces
from selfwise.data.unreadable import UnreadableFile

Pieces = list[bytes | range]  # new bytes, and stretches of the file, one after the other
UNKNOWN_SIZE = 2**63  # sizes from here on were never filled in
TO_THE_END = b"\xff\xff\xff\xff"  # as a size in a header: as far as the file goes
CONVERT_ADVICE = "convert it, for example with ffmpeg -i FILE FILE.wav"


def open_whole_sound(path: str | os.PathLike[str]) -> "str | PiecesFile":
    """Return the file itself, or what holds all of its sound where its header tells less.

    Raises UnreadableFile for a file of which only a part would be read.
    """
    status = os.stat(path)
    pieces = _find_pieces(os.fspath(path), status.st_size, status.st_mtime_ns)
    return os.fspath(path) if pieces is None else PiecesFile(path, pieces)


@lru_cache(maxsize=1024)
def _find_pieces(path: str, size: int, time: int) -> Pieces | None:
    try:
        return _find_pieces_by_kind(path)
    except (struct.error, IndexError) as error:
        raise UnreadableFile("is cut off inside of its header") from error


def _find_pieces_by_kind(path: str) -> Pieces | None:
    with open(path, "rb") as file:
        start = file.read(16)
        if len(start) < 16:
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            kind = start[:4]
            if kind in PIECE_FINDERS:
                return PIECE_FINDERS[kind](data)
            if start[4:8] == b"ftyp":
                return _mp4_pieces(data)
            tag = find_tag_end(data)
            if data[tag : tag + 4] == b"fLaC":
                return _flac_pieces(data, tag)
            named = path.lower().endswith("mp3")
            return list_mp3_pieces(data) if tag or named or is_frame(start) else None


class PiecesFile(io.RawIOBase):
    """Some new bytes and stretches of a file, read as if they were one file."""

    def __init__(self, path: str | os.PathLike[str], pieces: Pieces):
        self.file, self.pieces, self.at = open(path, "rb"), pieces, 0  # noqa: SIM115 # closed below
        self.starts = [0]
        for piece in pieces:
            self.starts.append(self.starts[-1] + len(piece))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self.at, os.SEEK_END: self.starts[-1]}[whence]
        self.at = max(0, base + offset)
        return self.at

    def readinto(self, buffer: Any) -> int:
        """Return bytes of as many pieces as the buffer has room for."""
        room, done = memoryview(buffer).cast("B"), 0
        for piece, start in zip(self.pieces, self.starts):
            inside = self.at - start
            if 0 <= inside < len(piece) and done < len(room):
                part = self._part(piece, inside, len(room) - done)
                room[done : done + len(part)] = part
                done, self.at = done + len(part), self.at + len(part)
        return done

    def _part(self, piece: bytes | range, inside: int, max_bytes: int) -> bytes:
        if isinstance(piece, bytes):
            return piece[inside : inside + max_bytes]
        self.file.seek(piece.start + inside)
        return self.file.read(min(max_bytes, len(piece) - inside))

    def close(self) -> None:
        self.file.close()
        super().close()


class _Chunk(NamedTuple):
    name: bytes
    at: int  # of its content
    size: int


def _list_chunks(data: mmap.mmap, order: str, start: int) -> tuple[list[_Chunk], bool]:
    """Return the chunks from `start` on, and whether they fill the file as they should."""
    chunks: list[_Chunk] = []
    at = start
    while at + 8 <= len(data):
        name, size = data[at : at + 4], struct.unpack(f"{order}I", data[at + 4 : at + 8])[0]
        if not all(32 <= sign < 127 for sign in name):
            return chunks, _is_silence(data, at)
        chunks.append(_Chunk(name, at + 8, size))
        at += 8 + size + size % 2
    return chunks, at <= len(data) + 1 and _is_silence(data, at)


def _is_silence(data: mmap.mmap, at: int) -> bool:
    """Return whether nothing but zeros follows: padding, and no sound that would be missed."""
    blocks = (data[i : i + 2**20] for i in range(at, len(data), 2**20))
    return all(block.count(0) == len(block) for block in blocks)


def _wav_pieces(data: mmap.mmap) -> Pieces | None:
    if data[8:12] != b"WAVE":
        return None
    return _extend_to_end(data, "<", b"data", 12)


def _big_endian_wav_pieces(data: mmap.mmap) -> Pieces | None:
    return _extend_to_end(data, ">", b"data", 12) if data[8:12] == b"WAVE" else None


def _aiff_pieces(data: mmap.mmap) -> Pieces | None:
    if data[8:12] not in (b"AIFF", b"AIFC"):
        return None
    return _extend_to_end(data, ">", b"SSND", 12)


def _extend_to_end(data: mmap.mmap, order: str, name: bytes, start: int) -> Pieces | None:
    """The sound to the end of the file; None where other chunks follow its chunk."""
    chunks, _ = _list_chunks(data, order, start)
    sound = next((chunk for chunk in chunks if chunk.name == name), None)
    if sound is None:
        return None
    end = sound.at + sound.size + sound.size % 2
    if end >= len(data) or _list_chunks(data, order, end)[1]:
        return None
    return [range(sound.at - 4), TO_THE_END, range(sound.at, len(data))]


def _rf64_pieces(data: mmap.mmap) -> Pieces | None:
    """A wav beyond 4 GiB: its sizes are in the chunk ds64."""
    chunks, _ = _list_chunks(data, "<", 12)
    sizes = next((chunk for chunk in chunks if chunk.name == b"ds64"), None)
    sound = next((chunk for chunk in chunks if chunk.name == b"data"), None)
    if sizes is None or sound is None:
        return None
    at = sizes.at + 8
    size = struct.unpack("<Q", data[at : at + 8])[0]
    end = sound.at + size + size % 2
    if size < UNKNOWN_SIZE and (end >= len(data) or _list_chunks(data, "<", end)[1]):
        return None
    new = struct.pack("<Q", len(data) - sound.at)
    return [range(at), new, range(at + 8, len(data))]


def _flac_pieces(data: mmap.mmap, start: int = 0) -> Pieces | None:
    """With the number of samples that its last frame tells, where the header has fewer or none.

    `start` is where the tag of an mp3 ends, which some programs put in front.
    """
    count = start + 18
    packed = struct.unpack(">Q", data[count : count + 8])[0]
    header, samples = packed >> 36 << 36, packed & (2**36 - 1)
    if any(data.find(b"fLaC" + kind + b"\0\0\x22", start + 4) > 0 for kind in (b"\0", b"\x80")):
        raise UnreadableFile(f"holds several recordings one after the other: {CONVERT_ADVICE}")
    last = _flac_end(data, start)
    if last is None and not samples:
        raise UnreadableFile(
            f"is damaged at its end and does not contain its length: {CONVERT_ADVICE}"
        )
    if last is None or last <= samples:
        return None
    return [range(start, count), struct.pack(">Q", header | last), range(count + 8, len(data))]


def _flac_end(data: mmap.mmap, start: int, max_search: int = 2**20) -> int | None:
    """Samples up to the end of the last frame; None where no frame ends with the file.

    RFC 9639: a frame begins with 14 bits of ones and a zero, its header ends with a CRC-8 and the
    frame with a CRC-16.
    """
    blocksize = struct.unpack(">H", data[start + 10 : start + 12])[0]
    end = len(data) - (128 if data[-128:-125] == b"TAG" else 0)  # the other tag of mp3s
    at, earliest = end, max(start + 42, end - max_search)
    checksum = struct.unpack(">H", data[end - 2 : end])[0]
    while (at := data.rfind(b"\xff", earliest, at)) >= 0:
        if at + 6 < end and data[at + 1] in (0xF8, 0xF9):
            header = _flac_header(data, at, blocksize)
            if header is not None and crc16(data[at : end - 2]) == checksum:
                return header
    return None


def _flac_header(data: mmap.mmap, at: int, blocksize: int) -> int | None:
    """Samples up to the end of the frame at `at`, if there is one (RFC 9639, 9.1)."""
    code, ones, number = data[at + 2] >> 4, 0, data[at + 4]
    while ones < 7 and number & (0x80 >> ones):
        ones += 1
    length, value = max(1, ones), number & (0x7F >> ones)
    for sign in data[at + 5 : at + 4 + length]:
        value = value << 6 | sign & 0x3F
    header_end = at + 4 + length
    if code == 6:
        size, header_end = data[header_end] + 1, header_end + 1
    elif code == 7:
        (size,) = struct.unpack(">H", data[header_end : header_end + 2])
        size, header_end = size + 1, header_end + 2
    else:
        size = {1: 192}.get(code) or (576 << (code - 2) if 2 <= code <= 5 else 256 << (code - 8))
    header_end += {12: 1, 13: 2, 14: 2}.get(data[at + 2] & 15, 0)
    if code == 0 or header_end >= len(data) or crc8(data[at:header_end]) != data[header_end]:
        return None
    return (value if data[at + 1] == 0xF9 else value * blocksize) + size


def _ogg_pieces(data: mmap.mmap) -> Pieces | None:
    """None. Raises UnreadableFile for a chain of streams, of which only the first would be read.

    RFC 3533: pages that begin a stream come first, and again where another recording begins.
    """
    at, begun = 0, False
    while (at := data.find(b"OggS", at)) >= 0 and at + 27 <= len(data):
        first, segments = bool(data[at + 5] & 2), data[at + 26]
        if first and begun:
            raise UnreadableFile(f"holds several recordings one after the other: {CONVERT_ADVICE}")
        begun = begun or not first
        at += 27 + segments + sum(data[at + 27 : at + 27 + segments])
    return None


def _mp4_pieces(data: mmap.mmap) -> Pieces | None:
    """None. Raises UnreadableFile for several files in one: only the first would be read."""
    at, movies = 0, 0
    while at + 16 <= len(data):
        size, name = struct.unpack(">I", data[at : at + 4])[0], data[at + 4 : at + 8]
        movies += name == b"moov"
        size = struct.unpack(">Q", data[at + 8 : at + 16])[0] if size == 1 else size
        if size < 8:
            break
        at += size
    if movies > 1:
        raise UnreadableFile(f"holds several recordings one after the other: {CONVERT_ADVICE}")
    return None


PIECE_FINDERS: dict[bytes, Callable[[mmap.mmap], Pieces | None]] = {
    b"RIFF": _wav_pieces,
    b"RIFX": _big_endian_wav_pieces,
    b"RF64": _rf64_pieces,
    b"FORM": _aiff_pieces,
    b"fLaC": _flac_pieces,
    b"OggS": _ogg_pieces,
}
