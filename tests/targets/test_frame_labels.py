"""Units on disk: every frame of every recording, once."""

import json
import math

import numpy as np
import pytest
import torch

from selfwise.core.types import HOP, count_frames
from selfwise.targets import frame_labels as frame_labels
from selfwise.targets.frame_labels import (
    ARRAY_FILE,
    FACTS_FILE,
    HALF_FILE,
    FrameLabels,
    count_written,
    write_labels,
)

SAMPLES = np.array([1000, 399, 8000, 400, 5000], dtype=np.int64)  # 2, 0, 24, 1 and 15 frames
COUNTS = [count_frames(int(n)) for n in SAMPLES]


def unit(i: int, t: int, size: int = 50) -> int:
    return (i * 17 + t * 3) % size


def pieces(size: int = 50):
    """Recordings in another order, the third one in pieces of ten frames, padded with rubbish."""
    for rows in ([(4, 0), (2, 0)], [(2, 10)], [(0, 0), (2, 20), (3, 0), (1, 0)]):
        ids, valid = torch.full((len(rows), 17), -7), torch.zeros(len(rows), 17, dtype=torch.bool)
        for row, (i, first) in enumerate(rows):
            n = min(COUNTS[i] - first, 10 if i == 2 else 99)
            ids[row, :n] = torch.tensor([unit(i, first + t, size) for t in range(n)])
            valid[row, :n] = True
        index, first = torch.tensor(rows).T
        yield index, first * HOP, ids, valid


def test_every_frame_of_every_recording(tmp_path):
    found = write_labels(tmp_path, SAMPLES, pieces(), size=50)
    again = FrameLabels.open(tmp_path)
    assert len(again) == 5
    for i, n in enumerate(COUNTS):
        expected = [unit(i, t) for t in range(n)]
        assert found.read_labels(i, 0, n).tolist() == expected
        assert again.read_labels(i, 0, n).tolist() == expected
    assert again.read_labels(2, 7, 5).tolist() == [unit(2, t) for t in range(7, 12)]
    assert again.read_labels(2, 7, 5).dtype == np.int64
    assert sorted(path.name for path in tmp_path.iterdir()) == [FACTS_FILE, ARRAY_FILE]


@pytest.mark.parametrize(("size", "bytes_each"), [(50, 2), (65_535, 2), (65_536, 4), (200_000, 4)])
def test_two_bytes_a_frame_and_four_above_65_535(size, bytes_each, tmp_path):
    every = torch.tensor([[size - 1, 0]])
    told = (torch.tensor([0]), None, every, torch.ones(1, 2, dtype=torch.bool))
    found = write_labels(tmp_path, SAMPLES[:1], [told], size=size)
    assert found.units.dtype.itemsize == bytes_each
    assert found.read_labels(0, 0, 2).tolist() == [size - 1, 0]


def test_usage_and_perplexity(tmp_path):
    found = write_labels(tmp_path, SAMPLES, pieces(), size=50)
    every = [unit(i, t) for i, n in enumerate(COUNTS) for t in range(n)]
    assert found.count_labels().tolist() == [every.count(k) for k in range(50)]
    entropy = -sum(every.count(k) / 42 * math.log(every.count(k) / 42) for k in set(every))
    assert found.perplexity == pytest.approx(math.exp(entropy))
    even = FrameLabels(np.arange(40, dtype=np.uint16) % 8, np.array([0, 40]), 10)
    assert even.perplexity == pytest.approx(8)


@pytest.mark.parametrize("batches", [1, 2, 3])
def test_killed_and_gone_on(batches, tmp_path, monkeypatch):
    monkeypatch.setattr(frame_labels, "SAVE_SECONDS", 0.0)
    expected = np.asarray(write_labels(tmp_path / "whole", SAMPLES, pieces(), size=50).units)

    def killed():
        yield from list(pieces())[:batches]
        raise KeyboardInterrupt

    assert count_written(tmp_path / "other") == 0
    with pytest.raises(KeyboardInterrupt):
        write_labels(tmp_path / "other", SAMPLES, killed(), size=50)
    with pytest.raises(ValueError, match="has no units, or"):
        FrameLabels.open(tmp_path / "other")
    first = count_written(tmp_path / "other")
    assert first == batches
    rest = list(pieces())[first:]
    found = write_labels(tmp_path / "other", SAMPLES, rest, size=50, first=first)
    assert np.array_equal(found.units, expected)
    assert count_written(tmp_path / "other") == 0


def test_begun_anew_nothing_old_is_left(tmp_path):
    first, second, third = pieces()
    with pytest.raises(ValueError, match="7 of 42 frames have no unit"):
        write_labels(tmp_path, SAMPLES, [first, second], size=50)
    with pytest.raises(ValueError, match="25 of 42 frames have no unit"):
        write_labels(tmp_path, SAMPLES, [second, third], size=50)
    assert not (tmp_path / ARRAY_FILE).exists()


def test_going_on_with_other_recordings(tmp_path, monkeypatch):
    monkeypatch.setattr(frame_labels, "SAVE_SECONDS", 0.0)
    with pytest.raises(ValueError, match="have no unit"):
        write_labels(tmp_path, SAMPLES, list(pieces())[:2], size=50)
    with pytest.raises(ValueError, match="was started with other recordings or units"):
        write_labels(tmp_path, SAMPLES[::-1].copy(), [], size=50, first=2)
    with pytest.raises(ValueError, match="was started with other recordings or units"):
        write_labels(tmp_path, SAMPLES, [], size=51, first=2)


@pytest.mark.parametrize("wrong", [-1, 50])
def test_a_unit_that_there_is_not(wrong, tmp_path):
    index, offset, ids, valid = next(pieces())
    ids[0, 3] = wrong
    with pytest.raises(ValueError, match=f"units must be 0 to 49, got .*{wrong}"):
        write_labels(tmp_path, SAMPLES, [(index, offset, ids, valid)], size=50)


def test_more_frames_than_the_recording_has(tmp_path):
    told = (torch.tensor([2, 3]), None, torch.zeros(2, 2).long(), torch.ones(2, 2).bool())
    with pytest.raises(ValueError, match="more frames of recording 3 than the 1 in its samples"):
        write_labels(tmp_path, SAMPLES, [told], size=50)


def test_recordings_without_frames(tmp_path):
    with pytest.raises(ValueError, match="every recording is below 25 ms"):
        write_labels(tmp_path, np.array([399, 0]), [], size=50)


def test_frames_that_are_not_there(tmp_path):
    found = write_labels(tmp_path, SAMPLES, pieces(), size=50)
    with pytest.raises(
        ValueError, match="recording 0 has units for 2 frames, not for frames 1 to 3"
    ):
        found.read_labels(0, 1, 2)
    assert found.read_labels(1, 0, 0).tolist() == []


def test_a_file_that_was_cut_or_is_missing(tmp_path):
    write_labels(tmp_path, SAMPLES, pieces(), size=50)
    np.save(tmp_path / ARRAY_FILE, np.zeros(41, dtype=np.uint16))
    with pytest.raises(ValueError, match=r"has 41 units of uint16, but units\.json records 42"):
        FrameLabels.open(tmp_path)
    (tmp_path / ARRAY_FILE).unlink()
    with pytest.raises(ValueError, match="is missing, or not an array"):
        FrameLabels.open(tmp_path)
    (tmp_path / FACTS_FILE).write_text(json.dumps({"format": 99}))
    with pytest.raises(ValueError, match="units of another version"):
        FrameLabels.open(tmp_path)
    assert not (tmp_path / HALF_FILE).exists()
