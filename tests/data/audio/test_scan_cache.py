"""What was found out about recordings is kept on the disk: found again, never half, never stale."""

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from selfwise.data.audio import decode as decode
from selfwise.data.audio import decoded_cache
from selfwise.data.audio import scan as scan
from selfwise.data.audio.dataset import FileStore, MapStore
from selfwise.data.audio.open import MAX_CACHE_SAMPLES, open_recordings
from selfwise.data.unreadable import ReadError, UnreadableFile
from tests.helpers.audio_cases import expected, folder, spoiled, write


class Killed(Exception):
    """Nobody catches it."""


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SELFWISE_CACHE", str(folder))
    return folder / "audio"


def test_a_file_that_became_readable_is_read(tmp_path, monkeypatch):
    root = folder(tmp_path, "a.wav", "b.wav")
    real = decode.scan_file

    def forbidden(path):
        if str(path).endswith("b.wav"):
            raise UnreadableFile("Permission denied")
        return real(path)

    monkeypatch.setattr(decode, "scan_file", forbidden)
    assert open_recordings(root, skip_broken=True).broken == ["b.wav: Permission denied"]
    monkeypatch.setattr(decode, "scan_file", real)
    recordings = open_recordings(root)
    assert recordings.broken == []
    assert np.abs(recordings.read(1) - expected(root / "b.wav")).max() < 1e-6


def test_opening_again_decodes_nothing(tmp_path, monkeypatch):
    root = folder(tmp_path, "a.wav", "b.wav")
    first = open_recordings(root)
    monkeypatch.setattr(decode, "_open_sound", None)
    again = open_recordings(root)
    assert again.fingerprint == first.fingerprint
    assert again.stamp == first.stamp
    assert np.array_equal(first.read(1), again.read(1))


def test_a_changed_file_is_scanned_again(tmp_path):
    root = folder(tmp_path, "a.wav", "b.wav")
    first = open_recordings(root)
    write(root / "b.wav", 1.5, seed=9)
    again = open_recordings(root)
    assert again.samples.tolist() == [8000, 24_000]
    assert again.fingerprint != first.fingerprint
    assert again.stamp != first.stamp
    assert np.abs(again.read(1) - expected(root / "b.wav")).max() < 1e-6


def test_auto_caches_up_to_ten_hours(tmp_path, monkeypatch):
    assert MAX_CACHE_SAMPLES == 10 * 3600 * 16_000
    root = folder(tmp_path, "a.wav", "b.wav")  # 8,000 and 9,600 samples
    monkeypatch.setattr("selfwise.data.audio.open.MAX_CACHE_SAMPLES", 17_599)
    assert isinstance(open_recordings(root).store, FileStore)
    monkeypatch.setattr("selfwise.data.audio.open.MAX_CACHE_SAMPLES", 17_600)
    assert isinstance(open_recordings(root).store, MapStore)


def test_a_file_that_changes_after_opening_is_an_error(tmp_path):
    root = folder(tmp_path, "a.wav", "b.wav")
    found = open_recordings(root, cache="no")
    write(root / "b.wav", 0.2)
    with pytest.raises(ReadError, match=r"b\.wav: cannot be read: changed while selfwise read it"):
        found.read(1)
    write(root / "b.wav", 0.6, rate=8000)
    with pytest.raises(ReadError, match="changed while selfwise read it"):
        found.read(1)


def test_recordings_travel_small(tmp_path):
    root = folder(tmp_path, *(f"{i}.wav" for i in range(20)))
    for cache in ("yes", "no"):
        found = open_recordings(root, cache=cache)
        packed = pickle.dumps(found)
        assert len(packed) < 3500
        assert np.array_equal(pickle.loads(packed).read(7, 100, 900), found.read(7, 100, 900))


def test_processes_find_what_one_finds(tmp_path, monkeypatch, home):
    root = spoiled(tmp_path)
    one = open_recordings(root, skip_broken=True, workers=1)
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr(scan, "BYTES_PER_CHUNK", 1)  # a part for each file
    told = []
    two = open_recordings(root, skip_broken=True, workers=2, progress=lambda *at: told.append(at))
    assert two.broken == one.broken
    assert two.samples.tolist() == one.samples.tolist()
    assert all(np.array_equal(one.read(i), two.read(i)) for i in range(2))
    assert told[10] == (11, 11)
    assert told[:10] == [(i, 11) for i in range(1, 11)]


def test_a_killed_scan_goes_on(tmp_path, monkeypatch, home):
    root = folder(tmp_path, *(f"{i}.wav" for i in range(6)))
    monkeypatch.setattr(scan, "BYTES_PER_CHUNK", 1)
    real, seen = decode.scan_file, []

    def dies(path):
        if len(seen) == 4:
            raise Killed
        seen.append(os.path.basename(path))
        return real(path)

    monkeypatch.setattr(decode, "scan_file", dies)
    with pytest.raises(Killed):
        open_recordings(root, workers=1)
    (half,) = home.glob("*/scan.half")
    with half.open("a") as stream:
        stream.write("[4, 80")  # a line that was being written
    seen.clear()
    found = open_recordings(root, workers=1)
    assert seen == ["4.wav", "5.wav"]
    assert found.samples.tolist() == [8000 + 1600 * i for i in range(6)]


def test_a_killed_cache_goes_on(tmp_path, monkeypatch, home):
    root = folder(tmp_path, *(f"{i}.wav" for i in range(6)))
    truth = [open_recordings(root, cache="no").read(i) for i in range(6)]
    monkeypatch.setattr(scan, "BYTES_PER_CHUNK", 1)
    monkeypatch.setattr(
        decoded_cache, "SAMPLES_PER_SAVE", 15_000
    )  # a journal after every second file
    real, seen = FileStore.read, []

    def dies(self, row, start, stop):
        if len(seen) == 5:
            raise Killed
        seen.append(row)
        return real(self, row, start, stop)

    monkeypatch.setattr(FileStore, "read", dies)
    with pytest.raises(Killed):
        open_recordings(root, workers=1)
    assert not list(home.glob("*.samples/x.npy"))
    seen.clear()
    monkeypatch.setattr(FileStore, "read", dies)
    found = open_recordings(root, workers=1)
    assert seen == [4, 5]
    assert all(np.array_equal(found.read(i), truth[i]) for i in range(6))
    assert [path.name for path in home.glob(".*.half")] == []


@pytest.mark.run  # a process
def test_a_cache_killed_by_force_is_never_half(tmp_path, home):
    root = folder(tmp_path, *(f"{i:03d}.wav" for i in range(60)), seconds=1.0)
    one = str(root / "000.wav")
    code = (
        "from selfwise.data.audio import scan, decoded_cache; scan.BYTES_PER_CHUNK = 1; "
        "decoded_cache.SAMPLES_PER_SAVE = 1; import sys; "
        "from selfwise.data.audio.open import open_recordings; "
        f"open_recordings({one!r}, cache='no'); assert 'av' not in sys.modules; "
        f"print('go', flush=True); open_recordings({str(root)!r}, workers=1)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"go\n"
    for _ in range(2000):
        if list(home.glob(".*.half/journal.json")) or child.poll() is not None:
            break
        time.sleep(0.002)
    child.kill()
    child.wait()
    child.stdout.close()
    assert not list(home.glob("*.samples"))
    found, direct = open_recordings(root), open_recordings(root, cache="no")
    assert isinstance(found.store, MapStore)
    assert all(np.array_equal(found.read(i), direct.read(i)) for i in range(60))


@pytest.mark.parametrize("harm", ["short", "gone"])
def test_a_torn_cache_is_made_again(tmp_path, home, harm):
    root = folder(tmp_path, "a.wav", "b.wav")
    first = open_recordings(root).read(1)
    (path,) = home.glob("*.samples/x.npy")
    if harm == "short":
        path.write_bytes(path.read_bytes()[:-8])
    else:
        path.unlink()
    assert np.array_equal(open_recordings(root).read(1), first)


def test_a_full_disk_is_a_sentence(tmp_path, monkeypatch):
    root = folder(tmp_path, "a.wav")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ValueError, match=r"the cache of recordings needs 0 MiB.*--cache no"):
        open_recordings(root)
