"""Recordings: every kind of file becomes the right samples, and what is wrong is named."""

import builtins
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from selfwise.core.types import RATE
from selfwise.data.audio import decode as decode
from selfwise.data.audio import decoded_cache
from selfwise.data.audio.dataset import FileStore, MapStore
from selfwise.data.audio.open import Recordings, open_recordings
from tests.helpers.audio_cases import expected, folder, noise, spoiled, write
from tests.helpers.hidden_packages import hide_packages

SPANS = [(0, 400), (1, 777), (16_001, 20_000), (30_000, 30_001), (40_000, None)]


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SELFWISE_CACHE", str(folder))
    return folder / "audio"


KINDS = [
    ("a.wav", {"rate": 8000}),
    ("a.wav", {"rate": 16_000, "subtype": "FLOAT"}),
    ("a.wav", {"rate": 192_000, "channels": 8, "subtype": "PCM_24"}),
    ("a.flac", {"rate": 44_100, "channels": 2}),
    ("a.ogg", {"rate": 44_100, "channels": 2}),
    ("a.OGG", {"rate": 16_000}),
    ("a.opus", {"rate": 48_000, "format": "OGG", "subtype": "OPUS"}),
    ("a.mp3", {"rate": 44_100, "channels": 2}),
    ("a.mp3", {"rate": 16_000}),
    ("a.aiff", {"rate": 11_025}),
]


@pytest.mark.parametrize("cache", ["no", "yes"])
@pytest.mark.parametrize(("name", "told"), KINDS, ids=lambda one: str(one))
def test_a_crop_is_a_part_of_the_whole(tmp_path, name, told, cache, monkeypatch):
    monkeypatch.setattr(
        decoded_cache, "SAMPLES_PER_BLOCK", 17_000
    )  # the cache is made of crops, too
    write(tmp_path / "f" / name, **told)
    whole = expected(tmp_path / "f" / name)
    recordings = open_recordings(tmp_path / "f", cache=cache)
    assert isinstance(recordings.store, MapStore if cache == "yes" else FileStore)
    assert abs(int(recordings.samples[0]) - 3 * RATE) <= 1
    for start, stop in SPANS:
        crop = recordings.read(0, start, stop)
        assert crop.dtype == np.float32
        assert len(crop) == (int(recordings.samples[0]) if stop is None else stop) - start
        assert np.abs(crop - whole[start:][: len(crop)]).max() < 2e-6
    assert len(recordings.read(0)) == recordings.samples[0]
    assert len(recordings.read(0, 47_000, 10**9)) == recordings.samples[0] - 47_000
    assert len(recordings.read(0, 5000, 4000)) == 0


@pytest.mark.parametrize("rate", [1000, 22_050, 44_099, 96_000])
def test_every_rate_is_resampled_in_step(tmp_path, rate):
    write(tmp_path / "a.wav", rate=rate, subtype="FLOAT")
    recordings = open_recordings(tmp_path / "a.wav", cache="no")
    assert recordings.samples.tolist() == [3 * RATE]
    whole = expected(tmp_path / "a.wav")
    for start in (0, 1, 15_999, 23_456, 47_000):
        crop = recordings.read(0, start, start + 700)
        assert np.abs(crop - whole[start : start + 700]).max() < 2e-6


def test_only_the_crop_is_decoded(tmp_path, monkeypatch):
    write(tmp_path / "a.flac", seconds=30, rate=44_100)
    recordings = open_recordings(tmp_path / "a.flac", cache="no")
    asked = []
    real = soundfile.SoundFile.read

    def counted(self, frames=-1, *args, **told):
        asked.append(frames)
        return real(self, frames, *args, **told)

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    recordings.read(0, 200_000, 216_000)
    assert len(asked) == 1
    assert 44_100 <= asked[0] < 44_100 * 1.3


def test_jumps_into_mp3_say_nothing(tmp_path, capfd):
    write(tmp_path / "a.mp3", seconds=10)
    recordings = open_recordings(tmp_path / "a.mp3", cache="no")
    for start in range(1000, 150_000, 3000):
        recordings.read(0, start, start + 1000)
    print("still here", file=sys.stderr, flush=True)
    assert capfd.readouterr().err == "still here\n"


def m4a(path: Path, *, seconds: float = 4.0, rate: int = 44_100, channels: int = 2) -> None:
    av = pytest.importorskip("av")
    path.parent.mkdir(exist_ok=True)
    layout = "stereo" if channels == 2 else "mono"
    sound = np.ascontiguousarray(noise(round(seconds * rate), channels).T)
    with av.open(str(path), "w") as container:
        # without noise that the decoder makes up, which is other after a jump
        stream = container.add_stream("aac", rate=rate, layout=layout, options={"aac_pns": "0"})
        for at in range(0, sound.shape[1], 1024):
            part = np.ascontiguousarray(sound[:, at : at + 1024])
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate, at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("suffix", ["m4a", "aac"])
@pytest.mark.parametrize(("rate", "channels"), [(44_100, 2), (16_000, 1)])
def test_m4a_and_aac(tmp_path, suffix, rate, channels):
    m4a(tmp_path / "f" / f"a.{suffix}", rate=rate, channels=channels)
    recordings = open_recordings(tmp_path / "f", cache="no")
    whole = recordings.read(0)
    truth = soxr.resample(noise(4 * rate, channels).mean(axis=1), rate, RATE)
    assert abs(len(whole) - len(truth)) <= 2100
    lag = np.argmax(np.correlate(whole[20_000:40_000], truth[22_000:38_000], "valid")) - 2000
    assert abs(lag) <= 2048 * RATE // rate  # what the encoder put before, if nothing cuts it off
    for start, stop in SPANS:
        crop = recordings.read(0, start, stop)
        assert np.abs(crop - whole[start:stop]).max() < 2e-6


def test_without_av_the_extra_is_named(tmp_path):
    root = folder(tmp_path, "a.wav")
    (root / "b.M4A").write_bytes(b"x")
    with hide_packages("av"):
        with pytest.raises(ValueError, match=r"b\.M4A needs the extra: .*selfwise\[m4a\]"):
            open_recordings(root)
        assert list(open_recordings(root, exclude="*.M4A").ids) == ["a.wav"]


REASONS = {
    "silent.wav": "silent",
    "cancelled.wav": "silent",
    "short.wav": "too short: 399 samples at 16 kHz, but one frame needs 400",
    "nan.wav": "has samples that are NaN or infinite",
    "inf.wav": "has samples that are NaN or infinite",
    "text.wav": "cannot be decoded: Format not recognised",
    "empty.mp3": "empty",
    "torn.flac": "cannot be decoded: flac decoder lost sync",
    "slow.wav": "has 900 samples a second, but at least 1000 are needed",
}


@pytest.mark.parametrize("suffix", ["wav", "mp3", "ogg"])
def test_a_file_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    write(path, 10.0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    for cache in ("yes", "no"):
        found = open_recordings(path, cache=cache)
        assert 4.5 < found.seconds < 7
        assert np.abs(found.read(0, 60_000, 70_000) - expected(path)[60_000:70_000]).max() < 2e-6
        assert len(found.read(0)) == found.samples[0]


def test_a_gap_in_an_ogg_is_no_end(tmp_path):
    path = tmp_path / "a.ogg"
    write(path, 30.0)
    whole, half = path.read_bytes(), path.stat().st_size // 2
    path.write_bytes(whole[:half] + bytes(3000) + whole[half + 3000 :])
    found = open_recordings(path, cache="no")
    assert len(found.read(0)) == found.samples[0] == 30 * RATE
    assert found.read(0, 400_000, 480_000)[-400:].any()


@pytest.mark.parametrize("cache", ["auto", "no"])
def test_what_is_left_out_is_named_with_its_reason(tmp_path, cache):
    root = spoiled(tmp_path)
    for _ in range(2):  # scanned, and read from the disk
        recordings = open_recordings(root, skip_broken=True, cache=cache)
        assert list(recordings.ids) == ["good.wav", "good2.flac"]
        found = dict(one.split(": ", 1) for one in recordings.broken)
        assert found == REASONS
        assert np.abs(recordings.read(1) - expected(root / "good2.flac")).max() < 1e-6


def test_broken_files_are_an_error_and_unfit_ones_are_not(tmp_path):
    root = spoiled(tmp_path)
    with pytest.raises(ValueError, match="6 of 11 files cannot be read as recordings") as found:
        open_recordings(root)
    text = str(found.value)
    assert "empty.mp3 (empty); inf.wav (has samples that are NaN or infinite); nan.wav" in text
    assert text.endswith("; ...; remove the files, or leave them out with --skip-broken")
    for name in ("nan.wav", "inf.wav", "text.wav", "empty.mp3", "torn.flac", "slow.wav"):
        (root / name).unlink()
    recordings = open_recordings(root)
    assert len(recordings) == 2
    assert [one.split(":")[0] for one in recordings.broken] == [
        "cancelled.wav",
        "short.wav",
        "silent.wav",
    ]


def test_errors_of_the_disk_are_no_broken_files(tmp_path, monkeypatch):
    root = folder(tmp_path, "a.wav")
    real = builtins.open

    def fails(path, *args, **told):
        if str(path).endswith("a.wav"):
            raise OSError(5, "Input/output error")
        return real(path, *args, **told)

    monkeypatch.setattr(decode, "open", fails, raising=False)
    with pytest.raises(OSError, match="Input/output"):
        open_recordings(root, skip_broken=True)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda root: None, "there is no recording in this folder or below it.*wav, flac"),
        (lambda root: (root / "a.txt").write_text("x"), "there is no recording in this folder"),
        (
            lambda root: (root / "a.wav").write_text("x"),
            r"the only recording cannot be used: a\.wav \(cannot be decoded",
        ),
        (
            lambda root: soundfile.write(root / "a.wav", np.zeros(9000), RATE),
            r"the only recording cannot be used: a\.wav \(silent\)",
        ),
    ],
)
def test_nothing_to_read(tmp_path, make, sentence):
    (tmp_path / "f").mkdir()
    make(tmp_path / "f")
    with pytest.raises(ValueError, match=sentence):
        open_recordings(tmp_path / "f", skip_broken=True)


def test_wrong_paths_and_options(tmp_path):
    root = folder(tmp_path, "a.wav")
    with pytest.raises(ValueError, match="clisp does not exist; did you mean 'clips'"):
        open_recordings(tmp_path / "clisp")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ValueError, match=r"expected a folder, a \.csv or a recording"):
        open_recordings(tmp_path / "a.txt")
    with pytest.raises(ValueError, match="unknown cache option 'maybe'"):
        open_recordings(root, cache="maybe")
    with pytest.raises(ValueError, match="workers must be 0 or more"):
        open_recordings(root, workers=-1)
    with pytest.raises(ValueError, match="have no labels; labels come with a folder"):
        open_recordings(root, labelled=True)


def test_exclude(tmp_path, capsys):
    root = folder(tmp_path, "0_theo_0.wav", "0_lucas_0.wav", "1_theo_0.wav", "x/2_george_1.wav")
    found = open_recordings(root, exclude="*_theo_*")
    assert list(found.ids) == ["0_lucas_0.wav", "x/2_george_1.wav"]
    assert "2 of 4 recordings left out" in capsys.readouterr().err
    assert np.abs(found.read(1) - expected(root / "x/2_george_1.wav")).max() < 1e-6
    assert list(open_recordings(root, exclude="0_theo_*, x/*").ids) == [
        "0_lucas_0.wav",
        "1_theo_0.wav",
    ]
    with pytest.raises(ValueError, match=r"no recording matches the pattern 'theo' of --exclude"):
        open_recordings(root, exclude="*_lucas_*,theo")
    with pytest.raises(ValueError, match="leaves no recording"):
        open_recordings(root, exclude="*")
    prints = {open_recordings(root, exclude=one).fingerprint for one in ("", "*_theo_*", "x/*")}
    assert len(prints) == 3


def test_labelled_folder(tmp_path):
    root = folder(tmp_path, "yes/a.wav", "no/a.wav", "yes/b.wav")
    found = open_recordings(root, labelled=True)
    assert list(found.ids) == ["no/a.wav", "yes/a.wav", "yes/b.wav"]
    assert found.classes == ["no", "yes"]
    assert found.labels.tolist() == [0, 1, 1]
    assert found.groups is None


def test_csv_with_labels_and_groups(tmp_path):
    folder(tmp_path, "a.wav", "b.wav", "c.wav")
    soundfile.write(tmp_path / "clips" / "s.wav", np.zeros(9000), RATE)
    table = tmp_path / "t.csv"
    rows = ["clips/c.wav,7,theo", "clips/s.wav,3,ann", "clips/a.wav,2,ann", "clips/b.wav,7,jim"]
    table.write_text("file,label,group\n" + "\n".join(rows) + "\n")
    found = open_recordings(table)
    assert list(found.ids) == ["clips/c.wav", "clips/a.wav", "clips/b.wav"]
    assert found.labels.tolist() == [7, 2, 7]
    assert found.groups.tolist() == [2, 0, 1]
    assert found.group_names == ["ann", "jim", "theo"]
    assert found.broken == ["clips/s.wav: silent"]
    part = found.take(np.array([2, 0]))
    assert (part.labels.tolist(), part.groups.tolist()) == ([7, 7], [1, 2])
    table.write_text("clips/c.wav,one\nclips/a.wav,two\n")
    assert open_recordings(table).classes == ["one", "two"]
    table.write_text("path,group\nclips/c.wav,\n")
    with pytest.raises(ValueError, match=r"t\.csv, line 2: the group is empty"):
        open_recordings(table)
    table.write_text("path\nclips/d.wav\n")
    with pytest.raises(ValueError, match=r"clips/d\.wav \(No such file or directory\)"):
        open_recordings(table)


def test_free_spoken_digits(real_data):
    root = real_data / "free-spoken-digit-dataset" / "recordings"
    others = ",".join(f"*_{name}_*" for name in ("george", "jackson", "lucas", "nicolas", "theo"))
    found = open_recordings(root, exclude=others)
    assert isinstance(found, Recordings)
    assert (len(found), found.broken) == (500, [])
    for i in (0, 234, 499):
        assert np.abs(found.read(i) - expected(root / found.ids[i])).max() < 2e-6
