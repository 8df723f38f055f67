"""Recordings that are arrays, and parts of a set."""

import numpy as np
import pytest
import torch

from selfwise.data.audio.open import open_recordings
from tests.helpers.audio_cases import noise


def test_arrays():
    sounds = [noise(n, seed=n)[:, 0] for n in (800, 1000, 399, 500)]
    sounds[3][:] = 0
    found = open_recordings((sounds, ["b", "a", "a", "b"]), labelled=True)
    assert (found.labels.tolist(), found.classes) == ([1, 0], ["a", "b"])
    assert found.samples.tolist() == [800, 1000]
    assert list(found.ids) == ["0", "1"]
    assert found.broken == ["2: too short: 399 samples, but one frame needs 400", "3: silent"]
    assert np.array_equal(found.read(1, 10, 20), sounds[1][10:20])
    assert len(open_recordings([torch.from_numpy(sounds[0]), sounds[1]])) == 2
    assert len(open_recordings(np.stack([sounds[0]] * 3))) == 3
    assert len(open_recordings((sounds[0], sounds[1]))) == 2


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ([], "the list is empty"),
        ([np.zeros(900, np.int16)], "recording 0: expected floats .* got int16"),
        ([np.ones((2, 900))], r"recording 0: expected floats .* of shape \(2, 900\)"),
        ([np.full(900, np.nan)], "recording 0 of the list has samples that are NaN"),
        ([np.zeros(900)], "no recording is usable: 0: silent"),
        (([np.ones(900)], [1, 2]), "1 recordings, but 2 labels"),
        (7, "the int is neither a path"),
    ],
)
def test_wrong_arrays(data, sentence):
    with pytest.raises(ValueError, match=sentence):
        open_recordings(data)
    with pytest.raises(ValueError, match="exclude needs files"):
        open_recordings(data, exclude="*")


def test_arrays_with_nan_can_be_left_out():
    found = open_recordings([np.full(900, np.nan), np.ones(900)], skip_broken=True)
    assert found.broken == ["0: has samples that are NaN or infinite"]
    assert list(found.ids) == ["1"]


def test_split_is_keyed_and_complete():
    found = open_recordings([noise(500, seed=i)[:, 0] for i in range(20)])
    train, held = found.split(0.25, seed=1)
    assert (len(train), len(held)) == (15, 5)
    assert sorted([*train.ids, *held.ids], key=int) == list(found.ids)
    assert list(held.ids) == list(found.split(0.25, seed=1)[1].ids)
    assert list(held.ids) != list(found.split(0.25, seed=2)[1].ids)
    assert list(held.ids) == sorted(held.ids, key=int)
    assert np.array_equal(held.read(2), found.read(int(held.ids[2])))
    assert len({found.fingerprint, train.fingerprint, held.fingerprint}) == 3
    assert len(found.split(0.001, seed=0)[1]) == 1
    for share in (0.0, 1.0, 0.99):
        with pytest.raises(ValueError, match="leaves one side empty"):
            found.split(share, seed=0)
