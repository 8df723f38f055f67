"""Batches of sound by duration: for training by step, for clustering and features in pieces."""

from functools import lru_cache
from itertools import pairwise
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch

from selfwise.core.rng import hash_keys, shuffle_indices
from selfwise.core.types import HOP, RATE, WINDOW, AudioBatch, count_frames, shard_slice
from selfwise.data.audio.dataset import Recordings

LENGTH_NOISE = (
    0.1  # lengths are sorted as if each were up to so much longer: other neighbors each epoch
)
CLUSTERING_NOISE = 0.5  # the same for clustering, where batches shall be alike


class CropPlan(NamedTuple):
    """The plan of an epoch: batch k has the crops order[edges[k]] to order[edges[k + 1]]."""

    order: np.ndarray  # int64 (c,), crops
    offsets: np.ndarray  # int64 (c,), by crop: first sample
    batches: np.ndarray  # int64 (k,), the batches in the order in which they are read


@runtime_checkable
class FrameTargets(Protocol):
    """Whole numbers to be predicted, one a frame, by recording."""

    def read_labels(self, i: int, first: int, count: int, /) -> np.ndarray:
        """Those of the frames `first` to `first + count` of recording i, int64 (count,)."""
        ...


class AudioSource:
    """Batches of crops for training. Batch `step` is a pure function of recordings, seed and step.

    Every recording is read once an epoch. Recordings of similar length form a batch; the batches
    and their order differ between epochs. Of a recording longer than `longest` a random part is
    read, which begins at a multiple of 320 samples; of a recording at least twice as long, as many
    parts as fit, spread over it.

    Args:
        recordings: what is read.
        seconds: of padded sound in a batch, at most.
        longest: seconds of a crop, at most.
        seed: of the run.
        units: the targets of each frame, or None.

    Raises ValueError if `longest` is more than `seconds` or less than a frame.
    """

    modality: ClassVar[str] = "audio"
    unit: ClassVar[str] = "s of audio"

    def __init__(
        self,
        recordings: Recordings,
        *,
        seconds: float,
        longest: float,
        seed: int,
        units: FrameTargets | None = None,
    ):
        if longest > seconds:
            raise ValueError(
                f"a crop of {longest:g} s does not fit a batch of {seconds:g} s of audio; "
                "raise --batch-seconds or lower --max-clip-seconds"
            )
        self.longest = round(longest * RATE)
        if self.longest < WINDOW:
            raise ValueError(f"a crop of {longest:g} s is less than a frame, which is 0.025 s")
        self.recordings, self.seed, self.units = recordings, seed, units
        parts = np.maximum(recordings.samples // self.longest, 1)
        self.owner = np.repeat(np.arange(len(parts)), parts)  # the recording of each crop
        # which crop of how many of its recording
        self.place = np.arange(len(self.owner)) - np.repeat(np.cumsum(parts) - parts, parts)
        self.parts = parts[self.owner]
        self.lengths = np.minimum(recordings.samples, self.longest)[self.owner]
        # the noise can put a recording in the place of one up to 1.1 times as short, so the edges
        # leave as much room: then they hold in every epoch
        bound = np.minimum(np.sort(self.lengths) * (1 + LENGTH_NOISE), self.lengths.max())
        self.edges = _batch_edges(bound, seconds * RATE)
        self.plan = lru_cache(maxsize=2)(self._draw_plan)

    @property
    def steps_per_epoch(self) -> int:
        """Batches in a pass over the recordings."""
        return len(self.edges) - 1

    @property
    def rows(self) -> float:
        """Crops in a batch, on average."""
        return len(self.lengths) / self.steps_per_epoch

    @property
    def scale(self) -> float:
        """Seconds of sound in a row, on average."""
        return float(self.lengths.mean()) / RATE

    def batch(self, step: int) -> AudioBatch:
        """Return the batch of a step, counted from 0 over all epochs."""
        return self.read_part(step, 0, 1)[0]

    def read_part(self, step: int, index: int, count: int) -> tuple[AudioBatch, int, int]:
        """Return the part `index` of `count` of a step's batch, its first row, and rows of the
        batch.

        Its rows are padded as in the whole batch, so that the random draws are equal.
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        plan = self.plan(epoch)
        k = int(plan.batches[position])
        whole = plan.order[self.edges[k] : self.edges[k + 1]]
        shard = shard_slice(len(whole), index, count)
        crops, width = whole[shard], int(self.lengths[whole].max())
        start = plan.offsets[crops]
        stop = start + self.lengths[crops]
        crops_batch = read_batch(self.recordings, self.owner[crops], start, stop, width=width)
        if self.units is not None:
            crops_batch = crops_batch._replace(units=self._units(crops_batch))
        return crops_batch, shard.start, len(whole)

    def __getitem__(self, step: int) -> AudioBatch:
        return self.batch(step)

    def __len__(self) -> int:
        return self.steps_per_epoch

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "plan"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self.plan = lru_cache(maxsize=2)(self._draw_plan)

    def _draw_plan(self, epoch: int) -> CropPlan:
        n = len(self.lengths)
        random = np.random.Generator(np.random.Philox(hash_keys(self.seed, "crops", epoch)))
        noise, shift = random.random((2, n))
        order = _sort_by_length(self.lengths, LENGTH_NOISE * noise)
        spare = (self.recordings.samples[self.owner] - self.lengths) // HOP
        where = (self.place + shift) / self.parts
        offsets = HOP * np.minimum(np.floor(where * (spare + 1)).astype(np.int64), spare)
        return CropPlan(
            order, offsets, shuffle_indices(self.steps_per_epoch, self.seed, "batches", epoch)
        )

    def _units(self, batch: AudioBatch) -> torch.Tensor:
        """Return the unit of each frame (b t), -1 behind a row's last one."""
        assert self.units is not None
        assert batch.extent is not None
        assert batch.offset is not None
        ids = np.full((len(batch.x), count_frames(batch.x.shape[1])), -1, dtype=np.int64)
        for row, i, samples, first in zip(ids, batch.index, batch.extent, batch.offset):
            count = count_frames(int(samples))
            row[:count] = self.units.read_labels(int(i), int(first) // HOP, count)
        return torch.from_numpy(ids)


class RecordingChunks:
    """Whole recordings in batches by duration, long ones in pieces: for clustering and features.

    The pieces contain each frame of the recording once: a piece begins at a multiple of 320
    samples, and the previous piece reaches 80 samples beyond that, since a frame is 80 samples
    longer than a step. The pieces of a recording are about equally long.

    Args:
        recordings: what is read.
        seconds: of a piece, at most.
        budget: padded seconds in a batch, at most; a single piece may be longer.
        order: None for the longest first; or a seed, for batches of mixed lengths in any order.

    Raises ValueError if a piece is less than a frame.
    """

    def __init__(
        self,
        recordings: Recordings,
        *,
        seconds: float = 30.0,
        budget: float = 120.0,
        order: int | None = None,
    ):
        if count_frames(round(seconds * RATE)) < 1:
            raise ValueError(f"a piece of {seconds:g} s is less than a frame, which is 0.025 s")
        self.recordings = recordings
        self.pieces = _cut_pieces(recordings.samples, round(seconds * RATE))
        lengths = self.pieces[:, 2] - self.pieces[:, 1]
        if order is None:
            by_length = np.argsort(-lengths, kind="stable")
        else:
            random = np.random.Generator(np.random.Philox(hash_keys(order, "pieces")))
            by_length = _sort_by_length(lengths, CLUSTERING_NOISE * random.random(len(lengths)))[
                ::-1
            ]
        self.pieces = self.pieces[by_length]
        self.edges = _batch_edges(lengths[by_length], budget * RATE)
        count = len(self.edges) - 1
        self.batches = (
            np.arange(count) if order is None else shuffle_indices(count, order, "batches")
        )

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, j: int) -> AudioBatch:
        k = int(self.batches[j])
        part = self.pieces[self.edges[k] : self.edges[k + 1]]
        return read_batch(self.recordings, *part.T)


def read_batch(
    recordings: Recordings,
    index: np.ndarray,
    start: np.ndarray,
    stop: np.ndarray,
    *,
    width: int = 0,
) -> AudioBatch:
    """Return parts of recordings, all int64 (b,), as a batch; shorter ones end in zeros, and all of
    them where the `width` is more samples than the longest has."""
    extent = stop - start
    x = np.zeros((len(index), max(width, int(extent.max()))), dtype=np.float32)
    for row, i, first, last in zip(x, index, start, stop):
        row[: last - first] = recordings.read(int(i), int(first), int(last))
    numbers = (
        torch.from_numpy(np.array(column, dtype=np.int64)) for column in (index, extent, start)
    )
    return AudioBatch(torch.from_numpy(x), *numbers)


def _sort_by_length(lengths: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Return rows by their length, each as if it were longer by a share `noise`."""
    return np.argsort(lengths * (1 + noise), kind="stable")


def _batch_edges(lengths: np.ndarray, budget: float) -> np.ndarray:
    """Return where batches begin, int64 (k + 1,): as many rows as fit `budget` when padded to the
    longest.

    A row that does not fit is a separate batch.
    """
    edges, longest = [0], 0.0
    for row, length in enumerate(lengths):
        longest = max(longest, float(length))
        if row > edges[-1] and (row + 1 - edges[-1]) * longest > budget:
            edges.append(row)
            longest = float(length)
    return np.array([*edges, len(lengths)], dtype=np.int64)


def _cut_pieces(samples: np.ndarray, max_samples: int) -> np.ndarray:
    """int64 (p, 3): recording, first sample, end of each piece of at most `most` samples."""
    pieces = []
    for i, whole in enumerate(samples.tolist()):
        if whole <= max_samples:
            pieces.append((i, 0, whole))
            continue
        total = count_frames(whole)
        count = -(-total // count_frames(max_samples))
        marks = np.linspace(0, total, count + 1).round().astype(np.int64).tolist()
        for first, last in pairwise(marks):
            pieces.append((i, HOP * first, HOP * last + WINDOW - HOP))
    return np.array(pieces, dtype=np.int64).reshape(-1, 3)
