"""Sound files of any rate and number of channels -> mono, 16 kHz, only the part asked for."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import gcd
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from selfwise.core.extras import LazyModule
from selfwise.core.memory_limit import describe_excess
from selfwise.core.types import RATE
from selfwise.data.audio import m4a
from selfwise.data.audio.whole_files import open_whole_sound
from selfwise.data.listing import FileKind
from selfwise.data.unreadable import FILE_ERRNOS, UnreadableFile, check_not_special

if TYPE_CHECKING:
    import soundfile
    import soxr
else:
    soundfile, soxr = LazyModule("soundfile"), LazyModule("soxr")

AV_SUFFIXES = (".m4a", ".aac")  # read with the package av
SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", *AV_SUFFIXES)
AUDIO = FileKind("recording", SUFFIXES, ("path", "file", "audio", "filename"))
# Seconds that are read before and behind a crop and cut off again: more than the filter of soxr
# reaches, and than a decoder of mp3 or Vorbis needs after a jump.
MARGIN_SECONDS = 0.125
BLOCK_SECONDS = 10.0  # seconds that are decoded at once when a whole file is looked at
MP3_FORMAT = "MP3"  # what libsndfile calls it
MIN_RATE, MAX_RATE = 1000, 10**6  # Hz; a header with another rate is broken
MAX_SAMPLE = 2.0**31  # floats beyond whole numbers of 32 bits overflow in later sums of squares
SAMPLE_BYTES = 4  # of float32
BLOCK_VALUES = 2**24  # samples of all channels that are decoded at once, at most


class RecordingShape(NamedTuple):
    """The facts on a file that reading a part of it needs."""

    frames: int  # samples as stored, in each channel
    rate: int  # of them, in Hz

    @property
    def samples(self) -> int:
        """Samples at 16 kHz; those that the file covers whole."""
        return self.frames * RATE // self.rate


def scan_file(path: Path | str) -> tuple[RecordingShape, bool]:
    """Return the shape of a file that is decoded once to its end, and whether it is silent.

    A wav, ogg or mp3 that was cut off is read as far as it goes, which a header does not tell.

    Raises UnreadableFile for undecodable files and for samples that are NaN or infinite.
    """
    loudest, frames = 0.0, 0
    with _open_sound(path) as file:
        rate = file.rate
        if rate < MIN_RATE:
            raise UnreadableFile(f"has {rate} samples a second, but at least {MIN_RATE} are needed")
        if rate > MAX_RATE:
            raise UnreadableFile(f"has {rate} samples a second, but at most {MAX_RATE} are read")
        for block in file.blocks(int(BLOCK_SECONDS * rate)):
            peak = float(np.abs(block).max())
            if not np.isfinite(peak) and not np.isfinite(block).all():
                raise UnreadableFile("has samples that are NaN or infinite")
            if peak > MAX_SAMPLE:
                raise UnreadableFile(f"has samples up to {peak:g}; expected -1 to 1")
            loudest, frames = max(loudest, peak), frames + len(block)
    return RecordingShape(frames, rate), loudest == 0


def read_samples(
    path: Path | str, shape: RecordingShape, start: int, stop: int
) -> Float32[np.ndarray, "s"]:
    """Return samples `start` to `stop` of the file as it is at 16 kHz; no more than these are
    decoded.

    They are those of the whole resampled at once, to about 1e-6. Raises UnreadableFile.
    """
    start, stop = max(0, start), min(stop, shape.samples)
    if stop <= start:
        return np.zeros(0, dtype=np.float32)
    # the stored sample at which the part begins must lie at a whole number of samples at 16 kHz
    common = gcd(RATE, shape.rate)
    out, stored = RATE // common, shape.rate // common
    margin = int(MARGIN_SECONDS * RATE)
    first = max(0, start - margin) // out
    last = min(shape.frames, -(-(stop + margin) // out) * stored)
    with _open_sound(path) as file:
        if file.rate != shape.rate:
            raise UnreadableFile("changed while selfwise read it")
        sound = file.read(first * stored, last - first * stored)
    lacking = last - first * stored - len(sound)
    if lacking and file.frames != shape.frames:
        raise UnreadableFile("changed while selfwise read it")
    sound = np.pad(sound, (0, lacking))  # libsndfile leaves out what is damaged inside an ogg
    if shape.rate != RATE:
        sound = soxr.resample(sound, shape.rate, RATE)
    part = sound[start - first * out : stop - first * out]
    return np.ascontiguousarray(np.pad(part, (0, stop - start - len(part))))


@runtime_checkable
class SoundReader(Protocol):
    """A sound file that is open: mono, at the rate that it has."""

    rate: int  # Hz

    @property
    def frames(self) -> int | None:
        """Samples in each channel, where the header has their number."""
        ...

    def blocks(self, size: int) -> Iterator[Float32[np.ndarray, "s"]]:
        """Return the whole file, `size` samples at a time or as the decoder has them."""
        ...

    def read(self, start: int, frames: int) -> Float32[np.ndarray, "s"]:
        """Return up to `frames` samples from `start` on."""
        ...


class _SoundFile:
    """A file that libsndfile reads."""

    def __init__(self, file: "soundfile.SoundFile"):
        self.file, self.rate, self.frames = file, int(file.samplerate), int(file.frames)
        self.channels = int(file.channels)

    def blocks(self, size: int) -> Iterator[Float32[np.ndarray, "s"]]:
        while len(block := self._next(max(1, min(size, BLOCK_VALUES // self.channels)))):
            yield block

    def read(self, start: int, frames: int) -> Float32[np.ndarray, "s"]:
        with ExitStack() as stack:
            if start and self.file.format == MP3_FORMAT:
                stack.enter_context(_silence_stderr())
            self.file.seek(start)
            return self._next(frames)

    def _next(self, frames: int) -> Float32[np.ndarray, "s"]:
        if excess := describe_excess(SAMPLE_BYTES * min(frames, self.frames) * (self.channels + 2)):
            raise UnreadableFile(excess)
        sound = self.file.read(frames, dtype="float32", always_2d=True)
        if sound.shape[1] == 1:
            return sound[:, 0]
        with np.errstate(over="ignore", invalid="ignore"):  # the scan reports such samples
            return sound.mean(axis=1)


@contextmanager
def _open_sound(path: Path | str) -> Iterator[SoundReader]:
    """A sound file, open for reading. Raises UnreadableFile."""
    check_not_special(path)
    if str(path).lower().endswith(AV_SUFFIXES):
        with m4a.open_av(path) as file:
            yield file
        return
    try:
        with open(path, "rb") as stream:
            if not stream.read(1):
                raise UnreadableFile("empty")
        with ExitStack() as stack:
            source = open_whole_sound(path)
            if not isinstance(source, str):
                stack.enter_context(source)
                stack.enter_context(_silence_stderr())  # libmpg123 finds the new header's size odd
            file = stack.enter_context(soundfile.SoundFile(source))
            yield _SoundFile(file)
    except soundfile.LibsndfileError as error:
        raise UnreadableFile(_shorten_error(error)) from error
    except OSError as error:
        if error.errno not in FILE_ERRNOS:
            raise
        raise UnreadableFile(error.strerror or _shorten_error(error)) from error


@contextmanager
def _silence_stderr() -> Iterator[None]:
    """Without the complaints that libmpg123 writes to stderr when it jumps into an mp3.

    It decodes the frames before the place for nothing but to be in step, and finds the first of
    them incomplete; what is read is right.
    """
    sys.stderr.flush()
    with _lock, open(os.devnull, "wb") as nothing:
        stderr_copy = os.dup(2)
        try:
            os.dup2(nothing.fileno(), 2)
            yield
        finally:
            os.dup2(stderr_copy, 2)
            os.close(stderr_copy)


_lock = RLock()  # there is one stderr


def _shorten_error(error: Exception) -> str:
    text = " ".join(getattr(error, "error_string", str(error)).split())
    text = text.removeprefix("Error : ").rstrip(".")
    return f"cannot be decoded: {text}"[:120]
