"""Sound behind the end that a header tells is read, or is an error; for every format."""

import struct

import numpy as np
import pytest
import soundfile

from selfwise.data.audio import decode as decode
from selfwise.data.audio.flac_checksums import crc8, crc16
from selfwise.data.audio.open import open_recordings
from selfwise.data.audio.whole_files import PiecesFile, open_whole_sound
from selfwise.data.unreadable import UnreadableFile

RATE, SECONDS = 16000, 3
N = RATE * SECONDS
SEVERAL = "holds several recordings one after the other"


def sound(seed=0, n=N):
    """Quiet, then loud: frames of several sizes."""
    x = np.random.default_rng(seed).standard_normal(n).astype("f4") * 0.1
    x[: n // 2] *= 0.01
    return x


def written(path, seed=0, *, n=N, **told):
    soundfile.write(path, sound(seed, n), RATE, **told)
    return bytearray(path.read_bytes())


def mp3(path, seed=0, mode="VARIABLE"):
    told = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": mode}
    return written(path, seed, **told, compression_level=0.5)


def length(path):
    return decode.scan_file(path)[0].samples


def reads_anywhere(path):
    """Crops are parts of the whole, wherever they begin."""
    shape, _ = decode.scan_file(path)
    whole = decode.read_samples(path, shape, 0, shape.samples)
    for start in (0, 1000, shape.samples // 2 + 7, shape.samples - 3000):
        part = decode.read_samples(path, shape, start, start + 2000)
        assert np.abs(part - whole[start : start + 2000]).max() < 1e-6, start
    return whole


def frame_starts(data):
    """Where the first two frames of an mp3 are."""
    return 0, data.index(data[:2], 200)


@pytest.mark.parametrize("mode", ["VARIABLE", "CONSTANT", "AVERAGE"])
def test_an_mp3_that_is_right_is_read_as_it_is(tmp_path, mode):
    mp3(tmp_path / "a.mp3", mode=mode)
    assert open_whole_sound(tmp_path / "a.mp3") == str(tmp_path / "a.mp3")
    assert length(tmp_path / "a.mp3") == N


@pytest.mark.parametrize("between", [b"", b"TAG" + bytes(125), b"ID3\4\0\0\0\0\1\0" + bytes(128)])
def test_joined_mp3s_are_read_to_their_end(tmp_path, between):
    a, b = mp3(tmp_path / "a.mp3"), mp3(tmp_path / "b.mp3", 1)
    (tmp_path / "joined.mp3").write_bytes(a + between + b)
    whole = reads_anywhere(tmp_path / "joined.mp3")
    assert 2 * N <= len(whole) < 2 * N + 4000
    second = decode.read_samples(tmp_path / "b.mp3", decode.scan_file(tmp_path / "b.mp3")[0], 0, N)
    apart = [np.abs(whole[at : at + N // 2] - second[: N // 2]).max() for at in range(N, N + 2500)]
    assert min(apart) < 0.02  # the second recording is in it, a little later for the frames' delay


def test_a_variable_mp3_without_a_header_is_read_to_its_end(tmp_path):
    data = mp3(tmp_path / "a.mp3")
    (tmp_path / "b.mp3").write_bytes(data[frame_starts(data)[1] :])
    assert soundfile.info(tmp_path / "b.mp3").frames != N  # what the library guesses
    whole = reads_anywhere(tmp_path / "b.mp3")
    assert N - 1200 < len(whole) < N + 3000


def test_joined_mp3s_of_two_rates_are_refused(tmp_path):
    told = {"format": "MP3", "subtype": "MPEG_LAYER_III"}
    a = mp3(tmp_path / "a.mp3")
    soundfile.write(tmp_path / "b.mp3", sound(1), 24000, **told)
    (tmp_path / "c.mp3").write_bytes(a + (tmp_path / "b.mp3").read_bytes())
    with pytest.raises(UnreadableFile, match="changes its sample rate"):
        length(tmp_path / "c.mp3")


@pytest.mark.parametrize("size", [0, 2000, 2**32 - 1, 2 * N, 3 * N])
def test_a_wav_whose_header_was_never_finished_is_read_to_its_end(tmp_path, size):
    data = written(tmp_path / "a.wav")
    data[4:8], data[40:44] = bytes(4), size.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(data)
    assert np.abs(reads_anywhere(tmp_path / "a.wav") - sound()).max() < 1e-4


@pytest.mark.parametrize("after", [b"LIST\4\0\0\0abcd", b"id3 \3\0\0\0abc\0", b"\0\0"])
def test_chunks_behind_the_sound_are_no_sound(tmp_path, after):
    (tmp_path / "a.wav").write_bytes(written(tmp_path / "a.wav") + after)
    assert length(tmp_path / "a.wav") == N


def test_other_unfinished_headers(tmp_path):
    data = written(tmp_path / "a.aiff", format="AIFF")
    at = data.index(b"SSND") + 4
    data[at : at + 4] = (2008).to_bytes(4, "big")
    (tmp_path / "a.aiff").write_bytes(data)
    assert length(tmp_path / "a.aiff") == N
    data = written(tmp_path / "b.wav", format="RF64")
    at = data.index(b"ds64") + 16
    data[at : at + 8] = bytes(8)
    (tmp_path / "b.wav").write_bytes(data)
    assert length(tmp_path / "b.wav") == N


@pytest.mark.parametrize("samples", [0, 1000, N - 1])
def test_a_flac_of_unknown_length_is_as_long_as_its_frames(tmp_path, samples):
    data = written(tmp_path / "a.flac")
    header = int.from_bytes(data[18:26], "big") >> 36 << 36
    data[18:26] = (header | samples).to_bytes(8, "big")
    (tmp_path / "a.flac").write_bytes(data)
    assert np.abs(reads_anywhere(tmp_path / "a.flac") - sound()).max() < 1e-4
    if not samples:
        (tmp_path / "a.flac").write_bytes(data[:-7])
        with pytest.raises(UnreadableFile, match="does not contain its length"):
            length(tmp_path / "a.flac")


@pytest.mark.parametrize("n", [1, 15, 16, 4095, 4096, 4097, 12288, 200_000])
def test_the_end_of_a_flac_is_found(tmp_path, n):
    data = written(tmp_path / "a.flac", n=n)
    header = int.from_bytes(data[18:26], "big") >> 36 << 36
    data[18:26] = header.to_bytes(8, "big")
    (tmp_path / "a.flac").write_bytes(data)
    file = open_whole_sound(tmp_path / "a.flac")
    assert isinstance(file, PiecesFile)
    assert struct.unpack(">Q", file.read()[18:26])[0] & (2**36 - 1) == n


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("a.flac", {}),
        ("a.ogg", {"format": "OGG", "subtype": "VORBIS"}),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}),
    ],
)
def test_joined_streams_are_refused(tmp_path, name, told):
    data = written(tmp_path / name, **told)
    assert abs(length(tmp_path / name) - N) < 1000
    (tmp_path / name).write_bytes(data + data)
    with pytest.raises(UnreadableFile, match=SEVERAL):
        length(tmp_path / name)
    assert open_recordings(_with_another(tmp_path), skip_broken=True, cache="no", workers=0).broken


def _with_another(folder):
    written(folder / "good.wav")
    return folder


def test_joined_mp4s_are_refused(tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "a.m4a"), "w") as out:
        stream = out.add_stream("aac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(sound()[None], format="fltp", layout="mono")
        frame.sample_rate = RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            out.mux(packet)
    assert length(tmp_path / "a.m4a") >= N
    (tmp_path / "a.m4a").write_bytes((tmp_path / "a.m4a").read_bytes() * 2)
    with pytest.raises(UnreadableFile, match=SEVERAL):
        length(tmp_path / "a.m4a")


def test_pieces_are_one_file(tmp_path):
    (tmp_path / "a").write_bytes(bytes(range(100)))
    pieces = [range(10), b"new", range(20, 25), b"", range(90, 100)]
    expected = bytes(range(10)) + b"new" + bytes(range(20, 25)) + bytes(range(90, 100))
    with PiecesFile(tmp_path / "a", pieces) as file:
        assert file.read() == expected
        for at in range(len(expected)):
            file.seek(at)
            assert file.read(6) == expected[at : at + 6]
        assert file.seek(0, 2) == len(expected)
        assert file.read(1) == b""


def test_checksums_are_those_of_the_standard():
    """The check values of CRC-8/SMBUS and CRC-16/UMTS."""
    assert crc8(b"123456789") == 0xF4
    assert crc16(b"123456789") == 0xFEE8
