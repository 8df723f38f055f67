"""Features of whole recordings: means over frames, of one layer or of all of them at once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from selfwise.core.errors import did_you_mean
from selfwise.core.types import HOP, RATE, WINDOW, AudioBatch, Encoder, Features, to_device
from selfwise.data.audio.open import RecordingChunks, Recordings
from selfwise.distributed.process_group import SINGLE_PROCESS, DistributedEnv
from selfwise.distributed.sharded_map import EMPTY, Arrays, gather_in_order
from selfwise.evaluation.features.compute import ON_CPU, ComputeOptions
from selfwise.evaluation.features.image import encode_to_layer, evaluation_mode
from selfwise.targets.mfcc import compute_mfcc

POOLINGS = ("mean", "mean+deviation")
CHUNK_SECONDS, BATCH_SECONDS = 30.0, 120.0  # of a piece, and of a batch with its padding
# MFCC are cheap, and pieces are long because deltas end at their edges
MFCC_CHUNK_SECONDS, MFCC_BATCH_SECONDS = 120.0, 240.0
MFCC_HOP = RATE // 100

Progress = Callable[[int, int], None]  # (batches done, batches in all)
ComputeFrames = Callable[[AudioBatch], list[Tensor]]  # frames (b t d) of one layer or more


@runtime_checkable
class StemEncoder(Encoder[AudioBatch], Protocol):
    """An encoder that also gives the input of its first layer."""

    def layers(self, batch: AudioBatch) -> list[Tensor]:
        """Return frames (b t d): the input of the first layer, and the output of each layer."""
        ...


@dataclass(frozen=True)
class _EncodeOptions:
    pooling: str
    seconds: float
    budget: float
    progress: Progress | None
    compute: ComputeOptions


def check_pooling(name: str) -> None:
    """Raise ValueError unless the name is empty or one of POOLINGS."""
    if name and name not in POOLINGS:
        raise ValueError(f"unknown pooling {name!r}{did_you_mean(name, POOLINGS)}")


def extract_features(
    encoder: Encoder[AudioBatch],
    recordings: Recordings,
    *,
    layer: int | None = None,
    pooling: str = "mean",
    seconds: float = CHUNK_SECONDS,
    budget: float = BATCH_SECONDS,
    progress: Progress | None = None,
    compute: ComputeOptions = ON_CPU,
) -> Float32[np.ndarray, "n d"]:
    """Return features of every recording, in the order of the data: the mean over its real frames.

    `mean+deviation` appends the deviation of every number over the frames, (n, 2 d). `layer` None
    is the encoder's output; a number selects from `encoder.hidden`, negative from the last. The
    encoder runs as `compute` specifies, in eval mode without gradients, and stays unchanged.

    Recordings of similar length share a batch of at most `budget` seconds, which limits the
    padding. Recordings longer than `seconds` are read in pieces, which do not see each other. The
    pieces contain each frame of the recording once, with equal weight. Several processes share the
    work: the first one returns the features, the other processes return empty arrays.

    Raises ValueError for no recordings, a recording shorter than a frame, or an unknown layer,
    pooling or precision.
    """

    def read(batch: AudioBatch) -> list[Tensor]:
        return [_require_frames(encode_to_layer(encoder, batch, layer))]

    options = _EncodeOptions(pooling, seconds, budget, progress, compute)
    features = _encode_recordings(encoder, recordings, read, options)
    return EMPTY if compute.env.rank else features[:, 0]


def extract_layers(
    encoder: Encoder[AudioBatch],
    recordings: Recordings,
    *,
    stem: bool = False,
    pooling: str = "mean",
    seconds: float = CHUNK_SECONDS,
    budget: float = BATCH_SECONDS,
    progress: Progress | None = None,
    compute: ComputeOptions = ON_CPU,
) -> Float32[np.ndarray, "n L d"]:
    """Return features of every recording from each layer of `encoder.hidden`, in one pass.

    `extract_layers(...)[:, k]` equals `extract_features(..., layer=k)`. A probe of every layer,
    and `fit_layer_mix` too, cost one pass over the data. With `stem` the input of the first layer
    comes first, from `encoder.layers`, as in SUPERB: layer k is then at k + 1. The other arguments
    and the errors are those of `extract_features`.
    """

    def read(batch: AudioBatch) -> list[Tensor]:
        if stem:
            assert isinstance(encoder, StemEncoder), type(encoder)
            return encoder.layers(batch)
        return [_require_frames(features) for features in encoder.hidden(batch)]

    options = _EncodeOptions(pooling, seconds, budget, progress, compute)
    return _encode_recordings(encoder, recordings, read, options)


def compute_mfcc_statistics(
    recordings: Recordings, *, progress: Progress | None = None
) -> Float32[np.ndarray, "n 78"]:
    """Return the raw baseline: mean and deviation of 39 MFCC over the frames of every recording.

    There are 100 frames a second. Recordings above two minutes are read in pieces: at each seam one
    frame is missing, and the deltas are computed as at an edge.

    Raises ValueError if there are no recordings, or one is shorter than a frame.
    """
    statistics = _compute_statistics(
        recordings,
        lambda batch: [compute_mfcc(batch.x, batch.extent)],
        hop=MFCC_HOP,
        deviation=True,
        seconds=MFCC_CHUNK_SECONDS,
        budget=MFCC_BATCH_SECONDS,
        progress=progress,
    )
    return statistics[:, 0]


def _encode_recordings(
    encoder: Encoder[AudioBatch],
    recordings: Recordings,
    read: ComputeFrames,
    options: _EncodeOptions,
) -> Float32[np.ndarray, "n L d"]:
    """Return statistics of the frames from `read`, with the encoder on the device, in evaluation
    mode."""
    if options.pooling not in POOLINGS:
        nearest = did_you_mean(options.pooling, POOLINGS)
        raise ValueError(f"unknown pooling {options.pooling!r}{nearest}")
    device = options.compute.device
    with evaluation_mode(encoder, device), options.compute.autocast():
        return _compute_statistics(
            recordings,
            lambda batch: read(to_device(batch, device)),
            hop=HOP,
            deviation=options.pooling == "mean+deviation",
            seconds=options.seconds,
            budget=options.budget,
            progress=options.progress,
            env=options.compute.env,
        )


def _compute_statistics(
    recordings: Recordings,
    read: ComputeFrames,
    *,
    hop: int,
    deviation: bool,
    seconds: float,
    budget: float,
    progress: Progress | None,
    env: DistributedEnv = SINGLE_PROCESS,
) -> Float32[np.ndarray, "n L d"]:
    """Return means over the frames of each recording, and their deviations behind them if asked
    for."""
    if not len(recordings):
        raise ValueError("there are no recordings to compute features of")
    short = np.flatnonzero(recordings.samples < WINDOW)[:1]
    for recording in short:
        raise ValueError(
            f"{recordings.ids[recording]} has {recordings.samples[recording]} samples at 16 kHz, "
            f"and a frame needs {WINDOW}"
        )
    chunks = RecordingChunks(recordings, seconds=seconds, budget=budget)
    moments: _Moments | None = None
    computed = (_read_batch(chunks[j], read, hop) for j in range(env.rank, len(chunks), env.size))
    for j, group in enumerate(gather_in_order(computed, len(chunks), env)):
        index, count, means, squares = group
        moments = moments or _Moments(len(recordings), means.shape[1:], deviation=deviation)
        moments.add_batch(index, count, means, squares)
        if progress is not None:
            progress(j + 1, len(chunks))
    if env.rank:
        return EMPTY[:, None]
    assert moments is not None
    assert (moments.count > 0).all(), "a recording was not read"
    return moments.compute_statistics()


def _read_batch(batch: AudioBatch, read: ComputeFrames, hop: int) -> Arrays:
    """Return which recordings a batch is of, how many frames of each, and their moments."""
    count = _count_frames(batch, hop)
    return (batch.index.numpy(), count.numpy(), *_compute_moments(read(batch), count))


class _Moments:
    """Means and sums of squared deviations of many recordings, whose pieces come in any order."""

    def __init__(self, n: int, shape: tuple[int, ...], *, deviation: bool):
        self.count = np.zeros(n, dtype=np.int64)
        self.mean = np.zeros((n, *shape), dtype=np.float32)
        self.squares = np.zeros_like(self.mean) if deviation else None

    def add_batch(
        self,
        places: Int64[np.ndarray, "b"],
        count: Int64[np.ndarray, "b"],
        means: Float[np.ndarray, "b L d"],
        squares: Float[np.ndarray, "b L d"],
    ) -> None:
        """Chan, Golub and LeVeque's update, one row after the other: a batch may have two pieces
        of one recording."""
        for row, recording in enumerate(places):
            if not count[row]:
                continue
            previous = self.count[recording]
            self.count[recording] += count[row]
            shift = means[row] - self.mean[recording]
            self.mean[recording] += shift * (count[row] / self.count[recording])
            if self.squares is not None:
                between = shift**2 * (previous * count[row] / self.count[recording])
                self.squares[recording] += squares[row] + between

    def compute_statistics(self) -> Float32[np.ndarray, "n L d"]:
        if self.squares is None:
            return self.mean
        deviation = np.sqrt(self.squares / self.count[:, None, None])
        return np.concatenate([self.mean, deviation.astype(np.float32)], axis=2)


def _count_frames(batch: AudioBatch, hop: int) -> Int64[Tensor, "b"]:
    """Real frames of each row."""
    b, width = batch.x.shape
    extent = torch.full((b,), width) if batch.extent is None else batch.extent
    return ((extent - WINDOW) // hop + 1).clamp(min=0)


def _compute_moments(
    layers: list[Tensor], count: Int64[Tensor, "b"]
) -> tuple[Float32[np.ndarray, "b L d"], Float32[np.ndarray, "b L d"]]:
    """Return means of real frames, and sums of their squared distances from them, of each layer."""
    t, device = layers[0].shape[1], layers[0].device
    assert t >= int(count.max()), (layers[0].shape, count)
    num_frames = count.to(device)[:, None, None].clamp(min=1)
    is_padding = (torch.arange(t)[None] >= count[:, None]).to(device)[..., None]
    means, squares = [], []
    for frames in layers:
        frames = frames.float()
        mean = frames.masked_fill(is_padding, 0).sum(dim=1, keepdim=True) / num_frames
        means.append(mean[:, 0])
        squares.append((frames - mean).masked_fill(is_padding, 0).square().sum(dim=1))
    return torch.stack(means, dim=1).cpu().numpy(), torch.stack(squares, dim=1).cpu().numpy()


def _require_frames(features: Features) -> Tensor:
    assert features.tokens is not None, "features of speech have frames"
    return features.tokens
