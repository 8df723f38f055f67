"""mp3s whose header tells too few frames, or that have none: a header that counts all of them."""

import mmap
import struct
from itertools import pairwise
from typing import NamedTuple

from selfwise.data.unreadable import UnreadableFile

# kbit/s of layer III: MPEG 1, and MPEG 2 and 2.5
BIT_RATES = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
HERTZ = (44100, 48000, 32000)

# the bit rate of the frame that holds the new header, which has room in each version
HEADER_BIT_RATE = 9


class Mp3Frame(NamedTuple):
    at: int
    size: int  # bytes
    header: int


def list_mp3_pieces(data: mmap.mmap) -> list[bytes | range] | None:
    """A header that tells the number of frames, and all frames; None where the file is right.

    The header is Xing's, which decoders look for in the first frame. Raises UnreadableFile for
    parts with other rates or channels.
    """
    frames = list_frames(data)
    if not frames:
        return None
    tags = [i for i, frame in enumerate(frames) if _count_in_tag(data, frame) is not None]
    header_count = _count_in_tag(data, frames[0])
    count = len(frames) - len(tags)
    if header_count is not None and header_count >= count:
        return None
    whole = frames[-1].at + frames[-1].size >= len(data) - 128 and _is_contiguous(frames)
    if header_count is None and whole and _has_constant_rate(frames):
        return None  # the guess from bit rate and size is right
    if len({read_stream_kind(frame.header) for frame in frames}) > 1:
        raise UnreadableFile(
            "changes its sample rate or channels, as joined files do: convert the parts separately"
        )
    stretches: list[bytes | range] = []
    for frame in (candidate for i, candidate in enumerate(frames) if i not in set(tags)):
        before = stretches[-1] if stretches else None
        if isinstance(before, range) and before.stop == frame.at:
            stretches[-1] = range(before.start, frame.at + frame.size)
        else:
            stretches.append(range(frame.at, frame.at + frame.size))
    return [_build_header_frame(frames[0].header, count, sum(map(len, stretches))), *stretches]


def list_frames(data: mmap.mmap) -> list[Mp3Frame]:
    """Return every frame of layer III that is there as a whole; tags between them are jumped
    over."""
    frames: list[Mp3Frame] = []
    at, end, sizes = 0, len(data), dict[bytes, int]()
    while at + 4 <= end:
        word = data[at : at + 4]
        size = sizes.get(word)
        if size is None:
            size = sizes.setdefault(word, compute_frame_size(struct.unpack(">I", word)[0]))
        if size and at + size <= end and (frames or _frame_follows(data, at + size)):
            frames.append(Mp3Frame(at, size, struct.unpack(">I", word)[0]))
            at += size
        else:
            at = _next_frame(data, at)
    return frames


def _next_frame(data: mmap.mmap, at: int) -> int:
    """Return where a frame may begin behind a tag or behind what is none."""
    if (end := find_tag_end(data, at)) > at:
        return end
    if data[at : at + 3] == b"TAG":
        return at + 128
    while (at := data.find(b"\xff", at + 1)) >= 0:
        word = data[at : at + 4]
        size = compute_frame_size(struct.unpack(">I", word)[0]) if len(word) == 4 else 0
        if size and _frame_follows(data, at + size):
            return at
    return len(data)


def find_tag_end(data: mmap.mmap, at: int = 0) -> int:
    """Return where the tag ID3 that begins at `at` ends; `at` itself where there is none."""
    if data[at : at + 3] != b"ID3" or at + 10 > len(data):
        return at
    a, b, c, d = data[at + 6 : at + 10]
    return at + 10 + (a << 21 | b << 14 | c << 7 | d)


def is_frame(start: bytes) -> bool:
    """Return whether a file that begins so begins with a frame of layer III, whatever its name."""
    return compute_frame_size(struct.unpack(">I", start[:4])[0]) > 0


def _frame_follows(data: mmap.mmap, at: int) -> bool:
    """Return whether a frame, a tag or the end is there: what looks like a frame by chance has
    neither."""
    word = data[at : at + 4]
    if len(word) < 4:
        return at == len(data)
    return (
        word[:3] in (b"ID3", b"TAG", b"APE") or compute_frame_size(struct.unpack(">I", word)[0]) > 0
    )


def compute_frame_size(header: int) -> int:
    """Return bytes of a frame of layer III; 0 if this is not the header of a frame."""
    version, layer = header >> 19 & 3, header >> 17 & 3
    rate, hertz = header >> 12 & 15, header >> 10 & 3
    if header >> 21 != 0x7FF or version == 1 or layer != 1 or rate in (0, 15) or hertz == 3:
        return 0
    first = version == 3
    each = HERTZ[hertz] >> {3: 0, 2: 1, 0: 2}[version]
    return (144 if first else 72) * BIT_RATES[not first][rate] * 1000 // each + (header >> 9 & 1)


def read_stream_kind(header: int) -> tuple[int, int, bool]:
    """Version, rate, and whether there is one channel: what a decoder expects to stay."""
    return header >> 19 & 3, header >> 10 & 3, header >> 6 & 3 == 3


def _side_info_size(header: int) -> int:
    """Return bytes between the header of a frame and where a tag is."""
    is_mono = header >> 6 & 3 == 3
    return (17 if is_mono else 32) if header >> 19 & 3 == 3 else (9 if is_mono else 17)


def _count_in_tag(data: mmap.mmap, frame: Mp3Frame) -> int | None:
    """The number of frames that a frame tells in place of sound; None where it is sound.

    0 where the tag has no number.
    """
    at = frame.at + 4 + _side_info_size(frame.header)
    if data[at : at + 4] in (b"Xing", b"Info"):
        flags, count = struct.unpack(">II", data[at + 4 : at + 12])
        return count if flags & 1 else 0
    at = frame.at + 36
    if data[at : at + 4] == b"VBRI":
        return int(struct.unpack(">I", data[at + 14 : at + 18])[0])
    return None


def _is_contiguous(frames: list[Mp3Frame]) -> bool:
    """Return whether nothing is between the frames."""
    return all(frame.at + frame.size == other.at for frame, other in pairwise(frames))


def _has_constant_rate(frames: list[Mp3Frame]) -> bool:
    """Return whether all frames have one bit rate, so that the size of the file tells their
    number."""
    return len({frame.header >> 12 & 15 for frame in frames}) == 1


def _build_header_frame(header: int, frames: int, size: int) -> bytes:
    """Return a frame without sound, with a tag: flags, number of frames, bytes."""
    header = header & ~(15 << 12) & ~(1 << 9) | HEADER_BIT_RATE << 12 | 1 << 16
    frame = bytearray(compute_frame_size(header))
    frame[:4] = struct.pack(">I", header)
    at = 4 + _side_info_size(header)
    frame[at : at + 16] = b"Xing" + struct.pack(">III", 3, frames, size + len(frame))
    return bytes(frame)
