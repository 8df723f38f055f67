"""Batches by duration: every recording once, within the budget, a pure function of the step."""

import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from selfwise.core.types import HOP, RATE, WINDOW, count_frames
from selfwise.data.audio.open import AudioSource, RecordingChunks, open_recordings


def ramps(lengths) -> list[np.ndarray]:
    """Sample k of recording i is i + k / 2^20, so that a crop says where it is from."""
    return [i + 1 + np.arange(n, dtype=np.float64) / 2**20 for i, n in enumerate(lengths)]


class Exact:
    """Units that say where they are from: 1000 i + frame."""

    def read_labels(self, i: int, first: int, count: int) -> np.ndarray:
        return 1000 * i + first + np.arange(count)


@pytest.fixture
def recordings():
    lengths = np.random.default_rng(0).integers(WINDOW, 4 * RATE, 150)
    return open_recordings(ramps(lengths))


def check(batch, recordings) -> None:
    """Every row holds what its index, offset and extent say, and zeros behind it."""
    assert batch.x.shape[1] == batch.extent.max()
    for row, i, extent, offset in zip(batch.x, batch.index, batch.extent, batch.offset):
        piece = recordings.read(int(i), int(offset), int(offset + extent))
        assert np.array_equal(row[: int(extent)].numpy(), piece)
        assert (row[int(extent) :] == 0).all()


@pytest.mark.parametrize("seconds", [4, 7.5, 30])
@pytest.mark.parametrize("longest", [1.0, 4.0])
def test_every_recording_once_an_epoch_within_the_budget(recordings, seconds, longest):
    source = AudioSource(recordings, seconds=seconds, longest=longest, seed=3)
    steps = source.steps_per_epoch
    assert len(source) == steps
    parts = np.maximum(recordings.samples // round(longest * RATE), 1)
    for epoch in range(3):
        batches = [source[epoch * steps + step] for step in range(steps)]
        seen = torch.cat([batch.index for batch in batches])
        assert np.bincount(seen).tolist() == parts.tolist()
        assert max(batch.x.numel() for batch in batches) <= seconds * RATE
        for batch in batches:
            check(batch, recordings)
            whole = recordings.samples[batch.index.numpy()]
            assert np.array_equal(batch.extent, np.minimum(whole, longest * RATE))
    assert source.rows == parts.sum() / steps
    crops = np.repeat(np.minimum(recordings.samples, longest * RATE), parts)
    assert source.scale == pytest.approx(crops.mean() / RATE)


def test_little_is_padded_and_the_budget_is_used(recordings):
    source = AudioSource(recordings, seconds=40, longest=4, seed=0)
    batches = [source[step] for step in range(source.steps_per_epoch)]
    real = sum(int(batch.extent.sum()) for batch in batches)
    assert real / sum(batch.x.numel() for batch in batches) > 0.85
    assert real / RATE / (40 * len(batches)) > 0.7


def test_a_budget_that_fits_exactly_is_used_whole():
    source = AudioSource(open_recordings(ramps([RATE] * 12)), seconds=4, longest=1, seed=0)
    assert [len(source[step].x) for step in range(3)] == [4, 4, 4]
    assert source.steps_per_epoch == 3


def test_epochs_differ_in_neighbours_and_in_order(recordings):
    source = AudioSource(recordings, seconds=20, longest=4, seed=0)
    steps = source.steps_per_epoch
    epochs = [[source[e * steps + s].index.tolist() for s in range(steps)] for e in range(2)]
    groups = [{frozenset(batch) for batch in epoch} for epoch in epochs]
    assert len(groups[0] & groups[1]) < steps / 2
    lengths = [[recordings.samples[batch].mean() for batch in epoch] for epoch in epochs]
    ranks = [np.argsort(np.argsort(one)).tolist() for one in lengths]
    assert ranks[0] != ranks[1]
    assert abs(np.corrcoef(np.arange(steps), ranks[0])[0, 1]) < 0.8
    other = AudioSource(recordings, seconds=20, longest=4, seed=1)
    assert other[0].index.tolist() != source[0].index.tolist()


def test_a_batch_depends_on_nothing_but_seed_and_step(recordings):
    told = {"seconds": 20, "longest": 1.5, "seed": 5, "units": Exact()}
    one, two = AudioSource(recordings, **told), AudioSource(recordings, **told)
    ahead = one[10 * one.steps_per_epoch]  # plans are thrown away in between
    steps = [3, 0, 2 * one.steps_per_epoch + 1]
    first = [one[step] for step in steps]
    again = [pickle.loads(pickle.dumps(two))[step] for step in reversed(steps)][::-1]
    for a, b in zip(first, again):
        assert all(torch.equal(x, y) for x, y in zip(a, b))
    assert torch.equal(two[10 * one.steps_per_epoch].x, ahead.x)


def test_workers_read_the_same(recordings, tmp_path):
    source = AudioSource(recordings, seconds=20, longest=2, seed=5, units=Exact())
    steps = range(source.steps_per_epoch - 2, source.steps_per_epoch + 3)
    loader = DataLoader(source, batch_size=None, sampler=steps, num_workers=2)
    for step, batch in zip(steps, loader):
        assert all(torch.equal(x, y) for x, y in zip(batch, source[step]))


def test_crops_begin_anywhere_at_a_hop_and_stay_inside():
    recordings = open_recordings(ramps([RATE + 3 * HOP + 5, RATE, 700]))
    source = AudioSource(recordings, seconds=3, longest=1.0, seed=0)
    found = {0: set(), 1: set(), 2: set()}
    for step in range(80 * source.steps_per_epoch):
        batch = source[step]
        for i, extent, offset in zip(batch.index, batch.extent, batch.offset):
            found[int(i)].add(int(offset))
            assert offset + extent <= recordings.samples[i]
    assert found == {0: {0, HOP, 2 * HOP, 3 * HOP}, 1: {0}, 2: {0}}


def test_long_recordings_are_read_in_as_many_parts_as_fit():
    lengths = [10 * RATE, 2 * RATE - 1, RATE, 700]
    recordings = open_recordings(ramps(lengths))
    source = AudioSource(recordings, seconds=4, longest=1.0, seed=0, units=Exact())
    assert source.rows * source.steps_per_epoch == 13
    begun = set()
    for epoch in range(20):
        steps = range(epoch * source.steps_per_epoch, (epoch + 1) * source.steps_per_epoch)
        batches = [source[step] for step in steps]
        assert np.bincount(torch.cat([b.index for b in batches])).tolist() == [10, 1, 1, 1]
        offsets = torch.cat([b.offset[b.index == 0] for b in batches]).sort().values
        assert (offsets % HOP == 0).all()
        place = offsets // HOP * 10 / (9 * RATE // HOP + 1)  # in tenths: spread over it
        assert ((place - torch.arange(10) - 0.4).abs() < 0.7).all()
        begun |= set(offsets.tolist())
        for batch in batches:
            check(batch, recordings)
            assert batch.units[0, 0] == 1000 * batch.index[0] + batch.offset[0] // HOP
    assert len(begun) > 100


def test_units_are_those_of_the_crop(recordings):
    source = AudioSource(recordings, seconds=20, longest=1.0, seed=0, units=Exact())
    assert source[0].units.dtype == torch.int64
    moved = 0
    for step in range(source.steps_per_epoch):
        batch = source[step]
        assert batch.units.shape == (len(batch.x), count_frames(batch.x.shape[1]))
        for ids, i, extent, offset in zip(batch.units, batch.index, batch.extent, batch.offset):
            count = count_frames(int(extent))
            moved += int(offset > 0)
            assert ids[:count].tolist() == [1000 * i + offset // HOP + t for t in range(count)]
            assert (ids[count:] == -1).all()
    assert moved > 10


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"seconds": 3, "longest": 4}, "a crop of 4 s does not fit a batch of 3 s"),
        ({"seconds": 3, "longest": 0.02}, "a crop of 0.02 s is less than a frame"),
    ],
)
def test_wrong_lengths(recordings, told, sentence):
    with pytest.raises(ValueError, match=sentence):
        AudioSource(recordings, seed=0, **told)


@pytest.mark.parametrize("order", [None, 0, 1])
@pytest.mark.parametrize("seconds", [0.7, 1.0, 30.0])
def test_the_frames_of_the_pieces_are_those_of_the_whole(order, seconds):
    lengths = [400, 719, 720, 16_000, 16_001, 16_319, 16_320, 33_333, 48_000, 50_000]
    recordings = open_recordings(ramps(lengths))
    chunks = RecordingChunks(recordings, seconds=seconds, budget=3.0, order=order)
    found: dict[int, list[int]] = {i: [] for i in range(len(lengths))}
    for j in range(len(chunks)):
        batch = chunks[j]
        check(batch, recordings)
        assert len(batch.x) == 1 or batch.x.numel() <= 3 * RATE
        assert batch.extent.max() <= seconds * RATE
        for i, extent, offset in zip(batch.index, batch.extent, batch.offset):
            assert offset % HOP == 0
            found[int(i)] += range(offset // HOP, offset // HOP + count_frames(int(extent)))
            if lengths[i] <= seconds * RATE:
                assert extent == lengths[i]
    assert [sorted(one) for one in found.values()] == [
        list(range(count_frames(n))) for n in lengths
    ]


def test_pieces_of_a_recording_are_about_equally_long():
    chunks = RecordingChunks(open_recordings(ramps([RATE * 31])), seconds=30)
    assert sorted(chunks[0].extent.tolist()) == [774 * HOP + 80, 775 * HOP + 80]
    assert len(chunks) == 1


def test_order_of_chunks(recordings):
    def rows(order) -> list[list[int]]:
        chunks = RecordingChunks(recordings, budget=20, order=order)
        return [chunks[j].index.tolist() for j in range(len(chunks))]

    longest = [recordings.samples[batch].max() for batch in rows(None)]
    assert longest == sorted(longest, reverse=True)
    assert rows(1) == rows(1)
    assert rows(1) != rows(2)
    means = [recordings.samples[batch].mean() for batch in rows(1)]
    assert means != sorted(means, reverse=True)
    assert RecordingChunks(recordings, budget=20)[0].units is None


def test_chunks_that_are_less_than_a_frame(recordings):
    with pytest.raises(ValueError, match=r"a piece of 0\.02 s is less than a frame"):
        RecordingChunks(recordings, seconds=0.02)
