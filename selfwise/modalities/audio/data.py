"""The recordings of a run, with discrete targets of their frames if the method needs them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import nn

from selfwise.core.config_class import spell_option
from selfwise.core.data_info import AudioInfo
from selfwise.core.files import write_file
from selfwise.core.progress import format_all, format_count
from selfwise.core.types import HOP, RATE, WINDOW
from selfwise.data.audio.dataset import FileStore
from selfwise.data.audio.open import AudioSource, Recordings
from selfwise.evaluation.monitors.held_out_loss import HeldOutBatches, HeldOutLoss
from selfwise.methods import Method
from selfwise.modalities.audio.targets import SpeechTargets, save_targets
from selfwise.modalities.earlier_run import Record
from selfwise.modalities.modality import Steps
from selfwise.modalities.trial_data import TrialData
from selfwise.targets.frame_labels import FrameLabels
from selfwise.training.config import ResolvedTraining
from selfwise.training.loop import Probe

TWO_FRAMES = WINDOW + HOP  # samples
READERS = min(4, os.cpu_count() or 1)  # processes that decode crops if nothing is cached
HELD_OUT_BATCHES = 8  # at most this many are measured during a run
LEFT_OUT = "left_out.txt"  # in the run folder


@dataclass
class OpenAudio:
    """The recordings of a run."""

    trained: Recordings
    held_out: Recordings | None
    info: AudioInfo
    seconds: float  # of audio in a step
    longest: float  # seconds of a recording that are read at once
    targets: SpeechTargets | None = None
    inputs: dict[str, object] = field(default_factory=dict)
    about: dict[str, Mapping[str, object]] = field(default_factory=dict)

    @property
    def resolved(self) -> Mapping[str, object]:
        return {}

    @property
    def workers(self) -> int:
        """0 if crops are slices of an array, where a process would be slower."""
        return READERS if isinstance(self.trained.store, FileStore) else 0

    @cached_property
    def batch(self) -> int | None:
        """Mean number of recordings in a step, from the budget of seconds."""
        return max(1, round(self._source(self.trained, self._labels(), seed=0).rows))

    def describe(self) -> list[str]:
        info = self.info
        held = f", {info.held_out_examples:,} held out" if info.held_out_examples else ""
        lines = [
            f"{format_count(info.examples, 'recording')} of {_format_hours(info.hours)}{held}; "
            f"{self.seconds:g} s of audio in a step, clips of at most {self.longest:g} s"
        ]
        lines += [f"skipped: {self.trained.skipped}"] if self.trained.skipped else []
        if info.left_out:
            files = format_count(info.left_out, "file")
            lines.append(f"skipped: {files} broken or too short, in {LEFT_OUT}")
        return lines

    def adopt(self, earlier: Record) -> None:
        """Take nothing from the run in `init_from`; targets are learned again."""

    def set_first_weights(self, encoder: nn.Module) -> None:
        """Set none: no option of reading has weights."""

    def source(self, method: Method, *, batch_size: int, seed: int) -> AudioSource:
        return self._source(self.trained, self._labels(), seed=seed)

    def probes(self, method: Method, training: ResolvedTraining, *, seed: int) -> list[Probe]:
        if training.knn_every:
            raise ValueError(
                "--knn-every is for images with labels; a run on speech measures held-out "
                "recordings every --monitor-every steps"
            )
        if not training.monitor_every or self.held_out is None:
            return []
        batches = self._held_out_batches(seed)
        return [HeldOutLoss(batches, seed=seed, every=training.monitor_every)]

    def split_for_trials(
        self, source: Steps, method: Method, *, batch_size: int, seed: int
    ) -> TrialData:
        """Use the held-out recordings of the run, in batches of a step's length."""
        if self.held_out is None:
            raise ValueError(
                f"{spell_option('tune')} judges settings on held-out recordings, and this run has "
                f"none: give {spell_option('val_fraction')} a value above 0"
            )
        held_out = self._held_out_batches(seed)
        return TrialData(source, held_out, cost=held_out[1])

    def _held_out_batches(self, seed: int) -> HeldOutBatches:
        assert self.held_out is not None, "the callers have checked this"
        labels = None if self.targets is None else self.targets.held_out
        source = self._source(self.held_out, labels, seed=seed)
        return source.__getitem__, min(source.steps_per_epoch, HELD_OUT_BATCHES)

    def join(self, folder: Path) -> None:
        """Nothing to prepare: reading recordings writes nothing."""

    def save(self, folder: Path) -> None:
        """Write the targets, and a list of the files that were left out."""
        if self.targets is not None:
            save_targets(self.targets, folder)
        if self.trained.broken:
            text = "".join(f"{name}\n" for name in self.trained.broken)
            write_file(folder / LEFT_OUT, text)

    def _labels(self) -> FrameLabels | None:
        return None if self.targets is None else self.targets.trained

    def _source(
        self, recordings: Recordings, labels: FrameLabels | None, *, seed: int
    ) -> AudioSource:
        return AudioSource(
            recordings, seed=seed, units=labels, seconds=self.seconds, longest=self.longest
        )


def _format_hours(hours: float) -> str:
    """Return a length in a suitable unit."""
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"


def describe_recordings(
    recordings: Recordings, trained: Recordings, held_out: Recordings | None
) -> AudioInfo:
    """Return the facts about recordings that run.yaml records."""
    return AudioInfo(
        examples=len(trained),
        fingerprint=recordings.fingerprint,
        hours=round(trained.seconds / 3_600, 4),
        held_out_examples=len(held_out) if held_out is not None else 0,
        left_out=len(recordings.broken),
    )


def drop_short(recordings: Recordings) -> Recordings:
    """Return recordings with a frame to mask and one to see. Raises ValueError without any."""
    short = recordings.samples < TWO_FRAMES
    if not short.any():
        return recordings
    if short.all():
        raise ValueError(
            f"{format_all(len(short), 'recording', 'are')} shorter than two frames, which are "
            f"{TWO_FRAMES / RATE:g} s: one frame is masked and one is seen"
        )
    lost = [
        f"{recordings.ids[i]}: too short: {recordings.samples[i]} samples at 16 kHz, "
        f"{TWO_FRAMES} are two frames"
        for i in np.flatnonzero(short).tolist()
    ]
    long_enough = recordings.take(np.flatnonzero(~short))
    return replace(long_enough, broken=[*recordings.broken, *lost])
