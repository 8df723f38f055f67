"""Speech: recordings of any kind, HuBERT encoders, units, MFCC statistics as the baseline."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from selfwise.core.types import HOP, RATE, WINDOW
from selfwise.data.audio.dataset import FileStore
from selfwise.data.audio.open import AudioSource, Recordings, open_recordings
from selfwise.distributed.process_group import SINGLE_PROCESS, DistributedEnv
from selfwise.encoders import speech as encoders
from selfwise.evaluation.features import audio as listening
from selfwise.evaluation.features import image as image_features
from selfwise.evaluation.monitors.held_out_loss import HeldOutLoss
from selfwise.evaluation.probes.baselines import FeatureSplit
from selfwise.methods import Method
from selfwise.modalities import audio_units
from selfwise.modalities.audio_units import SpeechUnits
from selfwise.modalities.image import where
from selfwise.modalities.modality import OpenRun, Trained
from selfwise.training.config import Resolved
from selfwise.training.loop import Probe

ENCODER_HELP = """
  --encoder NAME        hubert-tiny, hubert-mini, hubert-small, hubert-base or hubert-large
  --encoder.NAME VALUE  any number of it: depth, dim, heads, ff, stem (wave or logmel), dropout, ...
"""

Embed = Callable[[Any, Recordings], Float32[np.ndarray, "n *layers d"]]
UNTRAINED = (0, 1, 2)  # seeds of the twins
PROBE_POOLING = "mean+deviation"  # as of MFCC, the baseline beside it
TELL_FROM = 5_000  # recordings from which on reading reports its progress
TWO_FRAMES = WINDOW + HOP  # samples
READERS = min(4, os.cpu_count() or 1)  # processes that decode crops where nothing is cached
HELD_OUT_BATCHES = 8  # at most that many are looked at while a run goes on


@dataclass
class AudioData:
    """The recordings of a run, with the units of their frames."""

    trained: Recordings
    held_out: Recordings | None
    kept: SpeechUnits
    told: dict[str, Any]
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def workers(self) -> int:
        """0 where crops are slices of an array, faster than a process is asked."""
        return READERS if isinstance(self.trained.store, FileStore) else 0

    @cached_property
    def batch(self) -> int | None:
        """Recordings in a step, on average: the budget of seconds decides."""
        return max(1, round(self._source(self.trained, self.kept.trained, seed=0).rows))

    def follow(self, found: Mapping[str, Any]) -> None:
        """Units are made anew; nothing is taken from the run that a run starts from."""

    def source(self, method: Method, *, batch: int, seed: int) -> AudioSource:
        return self._source(self.trained, self.kept.trained, seed=seed)

    def probes(self, method: Method, training: Resolved, *, seed: int) -> list[Probe]:
        if training.probe_every:
            raise ValueError(
                "--probe-every is for images with labels; speech is watched on held-out recordings "
                "every --health-every steps"
            )
        if not training.health_every or self.held_out is None:
            return []
        source = self._source(self.held_out, self.kept.held_out, seed=seed)
        count = min(source.steps_per_epoch, HELD_OUT_BATCHES)
        read = source.__getitem__
        return [HeldOutLoss((read, count), seed=seed, every=training.health_every)]

    def join(self, folder: Path) -> None:
        """Nothing is written while recordings are read."""

    def keep(self, folder: Path) -> None:
        """The units, and a list of the files that were left out."""
        audio_units.keep(self.kept, folder)
        if self.trained.broken:
            text = "".join(f"{name}\n" for name in self.trained.broken)
            (folder / "left_out.txt").write_text(text)

    def _source(self, recordings: Recordings, units: Any, *, seed: int) -> AudioSource:
        told = {name: self.told[name] for name in ("seconds", "longest")}
        return AudioSource(recordings, seed=seed, units=units, **told)


def opened(
    data: Any,
    kind: type[Method],
    *,
    open_run: OpenRun,
    folder: Path | None = None,
    encoder: Mapping[str, Any] | None = None,
    device: str = "cpu",
    units: str = audio_units.MFCC,
    clusters: int = 100,
    units_layer: int = -1,
    seconds: float = 80.0,
    longest: float = 15.6,
    held_out: float = 0.05,
    exclude: str = "",
    cache: str = "auto",
    skip_broken: bool = False,
) -> AudioData:
    """The recordings to train on.

    Args:
        data: folder of wav, flac, ogg, mp3 (m4a with the extra of that name), a csv, one file; in
            Python also a list of arrays at 16 kHz.
        device: where units are learned.
        units: what is predicted: mfcc, clusters of MFCC; or the folder of an earlier run, clusters
            of what it has learned.
        clusters: how many units there are.
        units_layer: of the earlier run, whose layer is clustered, counted from 0; negative counts
            from the last.
        seconds: of sound in a step, padding included.
        longest: seconds of a recording that are read at once; longer ones are cropped.
        held_out: share of the recordings that is kept out of clusters and training, to measure the
            loss.
        exclude: leave out the files whose path fits, such as "*_theo_*"; several with commas.
        cache: decode once into a file: `auto` up to ten hours, `yes`, or `no`.
        skip_broken: leave out files that cannot be read, and list them.
    """
    _check(seconds, longest, held_out)
    if encoder is not None:  # before hours of clustering, and not after them
        depth(encoder)
    options: dict[str, Any] = {"exclude": exclude, "cache": cache, "skip_broken": skip_broken}
    recordings = _of_two_frames(open_recordings(data, **options, progress=_progress()))
    if held_out and len(recordings) == 1:
        raise ValueError(
            f"{recordings.ids[0]} is the only recording, and --held-out {held_out:g} would leave "
            "none to train on: give --held-out 0, or the recording in parts"
        )
    trained, held = recordings.split(held_out, seed=0) if held_out else (recordings, None)
    if folder is None:
        told_units: dict[str, Any] = {"units": units, "clusters": clusters, "layer": units_layer}
        kept_units = audio_units.find(trained, held, open_run=open_run, device=device, **told_units)
        _tell(recordings, kept_units)
    else:
        kept_units = audio_units.load(folder / audio_units.FOLDER)
    where = units if units == audio_units.MFCC else str(Path(units).resolve())
    told: dict[str, Any] = {"units": where, "clusters": clusters, "units_layer": units_layer}
    told |= {"seconds": seconds, "longest": longest, "held_out": held_out, **options}
    found = _found(recordings, trained, held, kept_units)
    return AudioData(trained, held, kept_units, told, found)


def _check(seconds: float, longest: float, held_out: float) -> None:
    """Raises ValueError for numbers that cannot be, before anything is read."""
    if not 0 <= held_out < 1:
        raise ValueError(f"--held-out must be at least 0 and below 1, got {held_out:g}")
    if longest > seconds:
        raise ValueError(
            f"--longest {longest:g} is above --seconds {seconds:g}: the longest crop must fit "
            f"into a step; give a --longest of at most {seconds:g}"
        )
    if round(longest * RATE) < TWO_FRAMES:
        raise ValueError(
            f"--longest {longest:g} is less than two frames, which are {TWO_FRAMES / RATE:g} s"
        )


def _of_two_frames(recordings: Recordings) -> Recordings:
    """Those that have a frame to hide and one to see. Raises ValueError if there are none."""
    short = recordings.samples < TWO_FRAMES
    if not short.any():
        return recordings
    if short.all():
        raise ValueError(
            f"all {len(short):,} recordings are shorter than two frames, which are "
            f"{TWO_FRAMES / RATE:g} s: one is hidden and one is seen"
        )
    lost = [
        f"{recordings.ids[i]}: too short: {recordings.samples[i]} samples at 16 kHz, "
        f"{TWO_FRAMES} are two frames"
        for i in np.flatnonzero(short).tolist()
    ]
    kept = recordings.take(np.flatnonzero(~short))
    return replace(kept, broken=[*recordings.broken, *lost])


def _found(
    recordings: Recordings, trained: Recordings, held: Recordings | None, units: SpeechUnits
) -> dict[str, Any]:
    """What the data turned out to be, as run.yaml records it."""
    return {
        "examples": len(trained),
        "hours": round(trained.seconds / 3_600, 4),
        "held_out_examples": len(held) if held is not None else 0,
        "left_out": len(recordings.broken),
        "clusters": units.size,
        "units": units.about,
        "fingerprint": recordings.fingerprint,
    }


def kept(folder: Path, open_run: OpenRun) -> SpeechUnits | None:
    """The units of a run folder; an imported run has none."""
    home = folder / audio_units.FOLDER
    return audio_units.load(home) if home.is_dir() else None


def supplied(found: Mapping[str, Any], kept: Any) -> dict[str, Any]:
    """What a method on speech may ask for."""
    return {"clusters": found["clusters"]}


def depth(encoder: Mapping[str, Any]) -> int:
    """Layers of an encoder that is only named. Raises ValueError if it cannot be built."""
    return encoders.count_layers(**encoder)


def encoder(settings: Mapping[str, Any], kept: Any, seed: int) -> Any:
    """The encoder with random weights that are a function of the seed."""
    told = dict(settings["options"]["encoder"])
    return encoders.build_speech_encoder(told.pop("name"), seed=seed, **told)


def inherited(start: Path) -> dict[str, Any]:
    """Options of reading that go with the weights of an earlier run: none."""
    return {}


def unpublished(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings: published weights come in by `selfwise import`, as a run."""
    return dict(settings)


def fresh(settings: Mapping[str, Any], kept: Any, seed: int) -> Any:
    """The untrained twin."""
    return encoder(settings, kept, seed)


def examples(run: Trained, data: Any, *, labelled: bool = False, **options: Any) -> Recordings:
    """Recordings for a probe or to be embedded; `skip_broken` may be given."""
    for name in options.keys() - {"skip_broken"}:
        raise ValueError(f"--{name} is for text, and this run is on audio")
    cached = run.config["options"]["cache"]
    return open_recordings(data, labelled=labelled, cache=cached, progress=_progress(), **options)


def embedder(
    run: Trained,
    *,
    layer: int | None,
    device: str,
    pooling: str = "",
    window: str = "",
    env: DistributedEnv = SINGLE_PROCESS,
) -> Embed:
    """Features of any encoder of this shape, kept in the run folder by what they depend on."""
    if window:
        raise ValueError("--window is for text; recordings are read whole")
    listening.check_pooling(pooling)
    if layer is None:
        name = f"output {pooling}" if pooling not in ("", "mean") else "output"
        extract = partial(listening.extract_features, pooling=pooling or "mean")
        return _filed(run, extract, name, device=device, env=env)
    depth = run.encoder.depth
    each = layered(run, device=device, pooling=pooling, env=env)
    if not -depth <= layer < depth:
        raise ValueError(f"layer {layer} does not exist: the encoder has layers 0 to {depth - 1}")

    def chosen(encoder: Any, recordings: Recordings) -> Float32[np.ndarray, "n d"]:
        found = each(encoder, recordings)
        return found[:, layer % depth + 1] if env.rank == 0 else found

    return chosen


def layered(
    run: Trained, *, device: str, pooling: str = "", env: DistributedEnv = SINGLE_PROCESS
) -> Embed:
    """Features of what the first layer gets, and of every layer, (n, L + 1, d), in one pass."""
    extract = partial(listening.extract_layers, stem=True, pooling=pooling or "mean")
    name = f"layers {pooling}" if pooling not in ("", "mean") else "layers"
    return _filed(run, extract, name, device=device, env=env)


def _filed(
    run: Trained, extract: Callable[..., Any], name: str, *, device: str, env: DistributedEnv
) -> Embed:
    place, precision = where(run, device)

    def compute(encoder: Any, recordings: Recordings) -> Float32[np.ndarray, "n *layers d"]:
        stamp = recordings.stamp  # a file may change and keep its size
        key = (
            image_features.compute_checksum(encoder),
            recordings.fingerprint,
            stamp,
            name,
            precision,
        )
        work = partial(extract, encoder, recordings, device=place, precision=precision)
        work = partial(work, env=env)
        return image_features.load_or_compute(run.folder / "features", key, work, env=env)

    return compute


def unread(run: Trained, recordings: Recordings, window: str) -> list[str]:
    """A sentence on the recordings that are left out; none if all are read."""
    if not (lost := recordings.broken):
        return []
    return [f"{len(lost):,} recordings are left out, such as {lost[0]}"]


def twins(
    run: Trained, known: Recordings, asked: Recordings, *, embed: Embed, device: str
) -> list[FeatureSplit]:
    """Features of three untrained encoders."""
    fresh = [run.fresh(seed) for seed in UNTRAINED]
    return [FeatureSplit(embed(one, known), embed(one, asked)) for one in fresh]


def raw(run: Trained, known: Recordings, asked: Recordings) -> FeatureSplit:
    """Mean and deviation of MFCC."""
    return FeatureSplit(*(listening.compute_mfcc_statistics(part) for part in (known, asked)))


def _tell(recordings: Recordings, units: SpeechUnits) -> None:
    if recordings.broken:
        _say(f"{len(recordings.broken)} files are left out, such as {recordings.broken[0]}")
    about = units.about
    _say(
        f"{about['clusters']} units of {about['of']}, {about['in use']} in use, perplexity "
        f"{about['perplexity']:.1f}"
    )


def _progress() -> Callable[[int, int], None]:
    """Tells every tenth of a long reading."""
    told = [0]

    def tell(done: int, total: int) -> None:
        tenth = 10 * done // max(total, 1)
        if tenth > told[0] and total > TELL_FROM:
            told[0] = tenth
            _say(f"reading: {done:,} of {total:,} recordings")

    return tell


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
