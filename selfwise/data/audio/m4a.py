"""m4a and aac, which libsndfile does not read: through the package `av`, where it is installed."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from selfwise.core.extras import import_extra, missing_modules
from selfwise.data.audio.whole_files import open_whole_sound
from selfwise.data.unreadable import UnreadableFile

# FFmpeg guesses the form of a file from its content, and a list such as ffconcat in a file named
# .m4a would make it read other files. Only forms that hold the sound themselves are read.
CONTAINERS = "mov,mp4,m4a,aac,loas,mp3,wav,flac,ogg,caf,matroska,webm"
ONLY_ITSELF = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
PREROLL = 0.25  # seconds that are decoded before what is wanted, for the decoder to be in step


def is_av_installed() -> bool:
    """Return whether m4a and aac can be read."""
    return not missing_modules("m4a")


@contextmanager
def open_av(path: Path | str) -> Iterator["AvFile"]:
    """A file that FFmpeg decodes. Raises UnreadableFile."""
    av = import_extra("av")
    try:
        open_whole_sound(path)  # refuses what would be read in part
        with av.open(str(path), options=ONLY_ITSELF) as container:
            if not container.streams.audio:
                raise UnreadableFile("contains no audio")
            stream = container.streams.audio[0]
            if not getattr(stream, "rate", None) or not stream.time_base:  # an unknown codec
                raise UnreadableFile("does not tell how many samples a second has")
            yield AvFile(container)
    except UnreadableFile:
        raise
    except (av.FFmpegError, OSError) as error:
        if error.errno == errno.EINVAL:  # FFmpeg's answer for a form that is not on the list
            raise UnreadableFile("is not a sound file but a list of files or the like") from error
        raise UnreadableFile(f"cannot be decoded: {error.strerror or error}"[:120]) from error
    except (ValueError, OverflowError) as error:  # times beyond all numbers, unknown formats
        raise UnreadableFile(f"cannot be decoded: {error}"[:120]) from error


class AvFile:
    """Reads from a container; positions are counted from the first sample that is decoded."""

    def __init__(self, container: Any):
        self.container, self.stream = container, container.streams.audio[0]
        self.rate, self.frames = int(self.stream.rate), None  # how many is not known before
        self.origin: int | None = None

    def blocks(self, size: int) -> Iterator[Float32[np.ndarray, "s"]]:
        """Yield all samples in blocks, whose size is that of the file."""
        for _, sound in self._decode_from(0):
            yield sound

    def read(self, start: int, frames: int) -> Float32[np.ndarray, "s"]:
        """Return up to that many samples from `start` on, the mean of the channels; none at the
        end."""
        parts, stop = [np.zeros(0, dtype=np.float32)], start + frames
        for at, sound in self._decode_from(start):
            if at < stop and at + len(sound) > start:
                parts.append(sound[max(0, start - at) : stop - at])
            if at + len(sound) >= stop:
                break
        return np.concatenate(parts)

    def _decode_from(self, start: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield blocks of sound and where each begins, from some place before `start` on."""
        origin = self._find_origin()
        seek_sample = max(0, origin + start - int(PREROLL * self.rate))
        self.container.seek(
            int(seek_sample / self.rate / self.stream.time_base), stream=self.stream
        )
        at = None
        for frame in self.container.decode(self.stream):
            if at is None:
                at = self._position(frame) - origin
            sound = _to_mono(frame)
            yield at, sound
            at += len(sound)

    def _find_origin(self) -> int:
        """Return the time of the first sample on the clock of the file."""
        if self.origin is None:
            frame = next(self.container.decode(self.stream), None)
            self.origin = 0 if frame is None else self._position(frame)
        return self.origin

    def _position(self, frame: Any) -> int:
        return round((frame.pts or 0) * frame.time_base * self.rate)


def _to_mono(frame: Any) -> Float32[np.ndarray, "s"]:
    """Return the mean of the channels of a decoded block, as -1..1."""
    sound = frame.to_ndarray()
    if not frame.format.is_planar:
        sound = sound.reshape(-1, len(frame.layout.channels)).T
    if sound.dtype.kind == "i":
        sound = sound / -float(np.iinfo(sound.dtype).min)
    return sound.astype(np.float32).mean(axis=0)
