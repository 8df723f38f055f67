"""Discrete targets of recordings: clusters of MFCC, or of a layer of an earlier run.

HuBERT, Hsu et al. 2021 (arXiv:2106.07447), section II-B and IV-B: first clusters of MFCC, then, in
each iteration, clusters of the previous model's features.

Clusters are learned only from the training recordings; the held-out recordings are assigned to
them.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from selfwise.core import make_once
from selfwise.core.device import float64_device
from selfwise.core.files import cache_dir, digest
from selfwise.core.memory import keep_freed_memory
from selfwise.core.own_files import read_own
from selfwise.core.progress import print_progress
from selfwise.core.types import HOP, WINDOW, AudioBatch, to_device
from selfwise.data.audio.open import RecordingChunks, Recordings
from selfwise.methods.needs import FrameTargetOptions
from selfwise.modalities.earlier_run import OpenRun
from selfwise.modalities.modality import Opening
from selfwise.targets.codebook import Codebook, learn_codebook
from selfwise.targets.frame_labels import FrameLabels, count_written, write_labels
from selfwise.targets.kmeans_streaming import KMeansSettings
from selfwise.targets.mfcc import mfcc_frames

FORMAT = 2  # raise it whenever equal options give other units or other facts about them
FOLDER = "targets"  # in the run folder
MFCC = "mfcc"
SEED = 0  # units depend only on the data: runs with several seeds share them

_report_units = partial(print_progress, prefix="units: ")

# of a batch: features (b t d), and a mask of the real ones (b t)
Extract = Callable[[AudioBatch], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class SpeechTargets:
    """The units of a run: the codebook, and the units of every frame that it reads."""

    codebook: Codebook
    trained: FrameLabels
    held_out: FrameLabels | None
    about: dict[str, Any]
    folder: Path  # where they are stored

    @property
    def size(self) -> int:
        return self.codebook.size


def open_targets(
    trained: Recordings,
    held_out: Recordings | None,
    opening: Opening,
    options: FrameTargetOptions,
) -> SpeechTargets:
    """Return the targets of these recordings: from the run folder or the cache, otherwise
    learned."""
    if opening.folder is not None:
        return load_targets(opening.folder / FOLDER)
    return learn_targets(
        trained,
        held_out,
        options,
        open_run=opening.open_run,
        device=str(float64_device(opening.device)),
    )


def learn_targets(
    trained: Recordings,
    held_out: Recordings | None,
    options: FrameTargetOptions,
    *,
    open_run: OpenRun,
    device: str = "cpu",
) -> SpeechTargets:
    """Return the targets of these recordings, learned if they are not in the cache.

    If the process is killed, the next call continues there, with an equal result.

    Raises ValueError if there are more clusters than frames, or `targets` is neither mfcc nor a
    run.
    """
    source = _open_source(options.targets, options.target_layer, open_run)
    parts = [trained, *([held_out] if held_out is not None else [])]
    prints = [(part.fingerprint, part.stamp) for part in parts]
    home = cache_dir("targets") / digest(repr((FORMAT, prints, source.key, options.num_clusters)))
    make_once.make_once(
        home,
        lambda: _build_targets(home, parts, source, clusters=options.num_clusters, device=device),
    )
    return load_targets(home)


def load_targets(folder: Path) -> SpeechTargets:
    """Load the units in a folder."""
    about = json.loads(read_own(folder / make_once.DONE))
    held = folder / "held_out"
    return SpeechTargets(
        Codebook.load(folder),
        FrameLabels.open(folder / "trained"),
        FrameLabels.open(held) if held.is_dir() else None,
        about,
        folder,
    )


def save_targets(units: SpeechTargets, folder: Path) -> None:
    """Copy the units into a run folder, where they stay when caches are deleted."""
    make_once.copy_finished(units.folder, folder / FOLDER)


def compute_unseen_targets(
    units: SpeechTargets | None,
    options: FrameTargetOptions,
    batch: AudioBatch,
    *,
    open_run: OpenRun,
    device: str,
) -> Int64[Tensor, "b t"]:
    """Return the units of recordings outside the training data, on the CPU; -1 without a frame.

    `options` are those of the run. Raises ValueError if the units cannot be computed: for an
    imported run, or if the run whose layer was clustered is gone or was trained further.
    """
    if units is None:
        raise ValueError("this run was imported without its units")
    earlier = options.targets
    if earlier != MFCC and not Path(earlier).is_dir():
        raise ValueError(f"its units come from an earlier run, {earlier}, which no longer exists")
    source = _open_source(earlier, options.target_layer, open_run)
    if source.about != units.about["of"]:
        raise ValueError(f"its units come from {units.about['of']}, not from {source.about}")
    frames, valid = source.extract(device)(batch)
    ids = units.codebook(frames.flatten(0, 1)).view(valid.shape)
    return ids.masked_fill(~valid, -1).cpu()


@dataclass(frozen=True)
class _ClusterSource:
    """The features that are clustered."""

    key: str
    about: str
    extract: Callable[[str], Extract]  # given the device


def _open_source(units: str, layer: int, open_run: OpenRun) -> _ClusterSource:
    if units == MFCC:
        return _ClusterSource(
            MFCC, "MFCC", lambda device: lambda batch: mfcc_frames(to_device(batch, device))
        )
    folder = Path(units)
    if not folder.is_dir():
        raise ValueError(f"--targets must be {MFCC} or the folder of an earlier run, not {units!r}")
    run = open_run(folder)
    if run.method.modality != "audio":
        raise ValueError(f"--targets {units} is a run on {run.method.modality}, not on audio")
    depth = run.method.encoder.depth
    if not -depth <= layer < depth:
        raise ValueError(
            f"--target-layer {layer} does not exist: the encoder of {units} has layers 0 to "
            f"{depth - 1}"
        )
    # heads and norms do not show in the weights
    shape = sorted({"name": run.record.encoder_name, **run.record.encoder_options}.items())
    key = f"{run.weights} {shape} {layer % depth}"
    name = f"layer {layer % depth} of {folder.name} (step {run.step})"
    return _ClusterSource(key, name, partial(_build_layer_extract, run.method.encoder, layer))


def _build_layer_extract(encoder: Any, layer: int, device: str) -> Extract:
    encoder = encoder.eval().to(device)  # in place: it was opened only for this

    @torch.no_grad()
    def extract(batch: AudioBatch) -> tuple[Tensor, Tensor]:
        batch = to_device(batch, device)
        tokens = encoder.hidden(batch)[layer].tokens.float()
        return tokens, _find_real_frames(batch, tokens.shape[1])

    return extract


def _find_real_frames(batch: AudioBatch, n: int) -> Tensor:
    """Return a mask of the real frames among n frames, for each row."""
    frame = torch.arange(n, device=batch.x.device)
    if batch.extent is None:
        return torch.ones_like(frame, dtype=torch.bool).expand(len(batch.x), n)
    return frame < ((batch.extent - WINDOW) // HOP + 1)[:, None]


def _build_targets(
    home: Path, parts: list[Recordings], source: _ClusterSource, *, clusters: int, device: str
) -> None:
    extract = source.extract(device)
    shuffled = RecordingChunks(parts[0], order=SEED)

    def features(j: int) -> Tensor:
        frames, valid = extract(shuffled[j])
        return frames[valid]

    settings = KMeansSettings(len(shuffled), clusters, SEED)
    with keep_freed_memory():
        codebook = learn_codebook(
            features, settings, folder=home / make_once.SCRATCH, progress=_report_units
        )
    codebook.save(home)
    labels = []
    for name, part in zip(("trained", "held_out"), parts):
        (home / name).mkdir(exist_ok=True)
        done = count_written(home / name)
        frames = _assign_units(RecordingChunks(part), done, extract, codebook)
        labels.append(
            write_labels(
                home / name,
                part.samples,
                frames,
                size=codebook.size,
                first=done,
                progress=_report_units,
            )
        )
    about = {
        "of": source.about,
        "num_clusters": codebook.size,
        "in use": int((labels[0].count_labels() > 0).sum()),
        "perplexity": round(float(labels[0].perplexity), 2),
        "frames": int(labels[0].count_labels().sum()),
    }
    make_once.mark_finished(home, json.dumps(about))


def _assign_units(
    chunks: RecordingChunks, first: int, extract: Extract, codebook: Codebook
) -> Iterator[tuple[Any, ...]]:
    for j in range(first, len(chunks)):
        batch = chunks[j]
        frames, valid = extract(batch)
        ids = codebook(frames.flatten(0, 1)).view(valid.shape)
        yield batch.index, batch.offset, ids.cpu(), valid.cpu()
