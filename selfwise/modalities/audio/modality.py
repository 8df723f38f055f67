"""Speech: recordings of any kind, HuBERT encoders, targets, and MFCC statistics as the baseline."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt
from jaxtyping import Float32
from torch import nn

from selfwise.core.config_class import Config, drop_none, make_overrides_class
from selfwise.core.data_info import AudioInfo
from selfwise.core.data_sources import refuse_sources
from selfwise.core.device import choose_evaluation
from selfwise.core.option_types import ENCODER_PREFIX
from selfwise.core.progress import format_count, print_progress, report_tenths
from selfwise.core.types import RATE, SpeechEncoder
from selfwise.data.audio.open import Recordings, open_recordings
from selfwise.data.broken_list import check_listed, read_listed
from selfwise.encoders import speech as encoders
from selfwise.encoders.custom import build_checked_encoder
from selfwise.encoders.speech_presets import SpeechShape
from selfwise.evaluation.features import audio as listening
from selfwise.evaluation.features import image as image_features
from selfwise.evaluation.features.compute import ComputeOptions
from selfwise.evaluation.probes.baselines import FeatureSplit
from selfwise.evaluation.scores.names import DEVIATION
from selfwise.methods import Method
from selfwise.methods.default_rules import Conditions
from selfwise.methods.needs import FrameTargetNeed
from selfwise.modalities.audio import targets
from selfwise.modalities.audio.data import (
    LEFT_OUT,
    TWO_FRAMES,
    OpenAudio,
    describe_recordings,
    drop_short,
)
from selfwise.modalities.audio.targets import SpeechTargets
from selfwise.modalities.earlier_run import OpenRun
from selfwise.modalities.feature_options import (
    Embed,
    EmbedPlaces,
    FeatureOptions,
    FeaturePlace,
    list_places,
)
from selfwise.modalities.modality import EncoderChoice, Facts, Opening, TrainedRun
from selfwise.modalities.reading_options import ReadingOptions

UNTRAINED = (0, 1, 2)  # seeds of the untrained encoders
PROGRESS_FROM = 5_000  # reading more recordings than this reports its progress


class AudioReading(Config):
    """How to read recordings."""

    batch_seconds: Annotated[float, Gt(0)] = 80.0
    """Seconds of audio in a step, including padding."""
    max_clip_seconds: Annotated[float, Gt(0)] = 15.6
    """Seconds of a recording that are read at once; longer recordings are cropped."""
    val_fraction: Annotated[float, Ge(0), Lt(1)] = 0.05
    """Fraction of the recordings held out of clustering and training, to measure the loss."""
    exclude: str = ""
    """Leave out files whose path matches, such as "*_theo_*"; separate patterns by commas."""
    cache: Literal["auto", "yes", "no"] = "auto"
    """Decode once into a file: `auto` (up to ten hours), `yes`, or `no`."""
    skip_broken: bool = False
    """Leave out unreadable files, and list them."""


@dataclass(frozen=True)
class AudioFacts:
    """The facts about recordings in a run folder."""

    info: AudioInfo
    targets: SpeechTargets | None  # an imported run has none


class AudioModality:
    """Speech."""

    name = "audio"
    info = AudioInfo
    reading = AudioReading
    probe_pooling = "mean+deviation"  # as for MFCC, the baseline of probes
    encoder_facts = ("seed",)
    encoder_help = """
  --encoder NAME        hubert-tiny, hubert-mini, hubert-small, hubert-base or hubert-large
  --encoder.NAME VALUE  any setting: depth, dim, heads, ff, stem (wave or logmel), dropout, ...
"""

    def find_encoder_options(self, name: str) -> type[Config]:
        return make_overrides_class(SpeechShape, prefix=ENCODER_PREFIX)

    def read_data(self, data: object, options: AudioReading, method: type[Method]) -> Recordings:
        _check_reading(options)
        return drop_short(
            open_recordings(
                refuse_sources(data, "recordings"),
                exclude=options.exclude,
                cache=options.cache,
                skip_broken=options.skip_broken,
                progress=report_tenths(_format_reading, min_total=PROGRESS_FROM),
            )
        )

    def survey(self, recordings: Recordings, options: AudioReading) -> Conditions:
        return Conditions(
            examples=len(recordings),
            hours=recordings.seconds / 3_600,
            clip_seconds=float(np.median(recordings.samples)) / RATE,
            longest_seconds=options.max_clip_seconds,
        )

    def open_data(
        self, recordings: Recordings, options: AudioReading, opening: Opening
    ) -> OpenAudio:
        self.find_depth(opening.encoder)  # before hours of clustering
        if options.val_fraction and len(recordings) == 1:
            raise ValueError(
                f"{recordings.ids[0]} is the only recording, and --val-fraction "
                f"{options.val_fraction:g} would leave none to train on: give --val-fraction 0, or "
                "split the recording"
            )
        trained, held_out = recordings, None
        if options.val_fraction:
            trained, held_out = recordings.split(options.val_fraction, seed=0)
        info = describe_recordings(recordings, trained, held_out)
        run_audio = OpenAudio(
            trained, held_out, info, options.batch_seconds, options.max_clip_seconds
        )
        _add_needs(run_audio, opening, recordings)
        return run_audio

    def load_facts(self, folder: Path, info: AudioInfo) -> AudioFacts:
        home = folder / targets.FOLDER
        return AudioFacts(info, targets.load_targets(home) if home.is_dir() else None)

    def load_inputs(
        self,
        method: type[Method],
        folder: Path,
        facts: AudioFacts,
        about: Mapping[str, Mapping[str, Any]],
        open_run: OpenRun,
    ) -> dict[str, object]:
        return {name: int(about[name]["num_clusters"]) for name in method.needs}

    def options_from_start(self, start: Path) -> dict[str, object]:
        return {}

    def build_encoder(self, choice: EncoderChoice, facts: Facts, seed: int) -> nn.Module:
        if choice.factory is not None:
            return build_checked_encoder(
                choice.factory, choice.options, SpeechEncoder, kind="speech", seed=seed
            )
        return encoders.build_speech_encoder(choice.name, seed=seed, **drop_none(choice.options))

    def without_pretrained_weights(self, choice: EncoderChoice) -> EncoderChoice:
        """Return the choice unchanged: published weights enter as a run, by `selfwise import`."""
        return choice

    def build_untrained(self, choice: EncoderChoice, facts: Facts, seed: int) -> nn.Module:
        return self.build_encoder(choice, facts, seed)

    def find_depth(self, choice: EncoderChoice) -> int | None:
        """Return the layers of a named encoder. Raises ValueError if it cannot be built."""
        if choice.factory is not None:
            return None
        return encoders.count_layers(choice.name, **drop_none(choice.options))

    def open_examples(self, run: TrainedRun, data: object, options: ReadingOptions) -> Recordings:
        options.check_columns("audio", ("label_column", "group_column"))
        trained = run.record.reading
        assert isinstance(trained, AudioReading), "a run on speech"
        listed = read_listed(run.folder / LEFT_OUT)
        recordings = open_recordings(
            data,
            labelled=options.labelled,
            label_column=options.label_column,
            group_column=options.group_column,
            cache=trained.cache,
            skip_broken=options.skip_broken or bool(listed),
            progress=report_tenths(_format_reading, min_total=PROGRESS_FROM),
        )
        if listed and not options.skip_broken:
            check_listed(recordings.broken, listed, run.folder / LEFT_OUT)
        return recordings

    def make_embed(self, run: TrainedRun, options: FeatureOptions) -> Embed:
        if options.window:
            raise ValueError("--window is for text; recordings are read whole")
        listening.check_pooling(options.pooling)
        if options.layer is None:
            pooling = options.pooling
            name = f"output {pooling}" if pooling not in ("", "mean") else "output"
            extract = partial(listening.extract_features, pooling=pooling or "mean")
            return _make_cached(run, extract, name, options)
        layer, depth = options.layer, run.encoder.depth
        embed_layers = self.make_layered_embed(run, options)
        if not -depth <= layer < depth:
            raise ValueError(
                f"layer {layer} does not exist: the encoder has layers 0 to {depth - 1}"
            )

        def embed_layer(
            encoder: SpeechEncoder, recordings: Recordings
        ) -> Float32[np.ndarray, "n d"]:
            features = embed_layers(encoder, recordings)
            return features[:, layer % depth + 1] if options.env.rank == 0 else features

        return embed_layer

    def list_feature_places(self, run: TrainedRun, pooling: str) -> list[FeaturePlace]:
        listening.check_pooling(pooling)
        poolings = [pooling] if pooling else list(reversed(listening.POOLINGS))
        return list_places(run.encoder.depth, poolings)

    def make_embed_places(
        self, run: TrainedRun, options: FeatureOptions, places: Sequence[FeaturePlace]
    ) -> EmbedPlaces:
        """Read every layer in one pass; the mean is the first half of mean and deviation."""
        pooling = DEVIATION if any(p.pooling == DEVIATION for p in places) else "mean"
        read = replace(options, layer=None, pooling=pooling)
        embed_output, embed_layers = self.make_embed(run, read), self.make_layered_embed(run, read)

        def embed(
            encoder: SpeechEncoder, recordings: Recordings
        ) -> list[Float32[np.ndarray, "n _"]]:
            output, layers = embed_output(encoder, recordings), embed_layers(encoder, recordings)
            arrays = [output if p.layer is None else layers[:, p.layer + 1] for p in places]
            return [
                array[:, : encoder.dim] if place.pooling == "mean" else array
                for array, place in zip(arrays, places)
            ]

        return embed

    def list_raw_choices(self, raw: FeatureSplit) -> dict[str, FeatureSplit]:
        """Return the statistics of MFCC, and their means alone, which are the first half."""
        half = raw.train.shape[1] // 2
        means = FeatureSplit(raw.train[:, :half], raw.test[:, :half])
        return {f"MFCC with {DEVIATION}": raw, "MFCC with mean": means}

    def make_layered_embed(self, run: TrainedRun, options: FeatureOptions) -> Embed:
        """Extract the first layer's input and every layer, (n, L + 1, d), in one pass."""
        pooling = options.pooling
        extract = partial(listening.extract_layers, stem=True, pooling=pooling or "mean")
        name = f"layers {pooling}" if pooling not in ("", "mean") else "layers"
        return _make_cached(run, extract, name, options)

    def untrained_encoders(
        self, run: TrainedRun, train: Recordings, *, device: str
    ) -> Iterator[nn.Module]:
        """Yield three untrained encoders."""
        yield from (run.build_untrained(seed) for seed in UNTRAINED)

    def raw_features(self, run: TrainedRun, train: Recordings, test: Recordings) -> FeatureSplit:
        """Return mean and deviation of MFCC."""
        return FeatureSplit(*(listening.compute_mfcc_statistics(part) for part in (train, test)))

    def describe_unread(self, run: TrainedRun, recordings: Recordings, window: str) -> list[str]:
        if not (lost := recordings.broken):
            return []
        left_out = format_count(len(lost), "recording", "are", "left out")
        return [f"{left_out}, such as {lost[0]}"]


def _check_reading(options: AudioReading) -> None:
    """Raise ValueError for incompatible numbers, before reading anything."""
    seconds, longest = options.batch_seconds, options.max_clip_seconds
    if longest > seconds:
        raise ValueError(
            f"--max-clip-seconds {longest:g} is above --batch-seconds {seconds:g}: the longest "
            f"crop must fit into a step; give a --max-clip-seconds of at most {seconds:g}"
        )
    if round(longest * RATE) < TWO_FRAMES:
        raise ValueError(
            f"--max-clip-seconds {longest:g} is less than two frames, which are "
            f"{TWO_FRAMES / RATE:g} s"
        )


def _add_needs(run_audio: OpenAudio, opening: Opening, recordings: Recordings) -> None:
    """Compute the method's needs from its recordings. Raises ValueError for an unsupported need."""
    if recordings.broken and opening.folder is None:
        left_out = format_count(len(recordings.broken), "file", "are", "left out")
        print_progress(f"{left_out}, such as {recordings.broken[0]}")
    for name, need in opening.method.needs.items():
        if not isinstance(need, FrameTargetNeed):
            raise ValueError(f"{opening.method.__name__} needs {name}, which speech does not have")
        options = getattr(opening.needs, name)
        frame_targets = targets.open_targets(
            run_audio.trained, run_audio.held_out, opening, options
        )
        if opening.folder is None:
            about = frame_targets.about
            print_progress(
                f"{about['num_clusters']} units of {about['of']}, {about['in use']} in use, "
                f"perplexity {about['perplexity']:.1f}"
            )
        run_audio.targets, run_audio.inputs[name], run_audio.about[name] = (
            frame_targets,
            frame_targets.size,
            frame_targets.about,
        )


def _make_cached(
    run: TrainedRun, extract: Callable[..., Any], name: str, options: FeatureOptions
) -> Embed:
    device, precision = choose_evaluation(run.record.training, options.device, options.precision)
    env = options.env

    def compute(
        encoder: SpeechEncoder, recordings: Recordings
    ) -> Float32[np.ndarray, "n *layers d"]:
        stamp = recordings.stamp  # a file may change without changing its size
        key = (
            image_features.digest_weights(encoder),
            recordings.fingerprint,
            stamp,
            name,
            precision,
        )
        compute_options = ComputeOptions(device, precision, env)
        work = partial(extract, encoder, recordings, compute=compute_options)
        return image_features.load_or_compute(run.folder / "features", key, work, env=env)

    return compute


def _format_reading(done: int, total: int) -> str:
    return f"reading: {done:,} of {total:,} recordings"


MODALITY = AudioModality()
