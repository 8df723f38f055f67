"""The interface of a modality: an object that opens data, builds encoders and extracts features."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Int64
from torch import nn

from selfwise.core.config_class import Config
from selfwise.core.data_info import DataInfo
from selfwise.core.types import Batch
from selfwise.evaluation.probes.baselines import FeatureSplit
from selfwise.methods import Method
from selfwise.methods.default_rules import Conditions
from selfwise.modalities.earlier_run import OpenRun, Record
from selfwise.modalities.feature_options import (
    Embed,
    EmbedPlaces,
    FeatureOptions,
    FeaturePlace,
)
from selfwise.modalities.reading_options import ReadingOptions
from selfwise.modalities.trial_data import TrialData
from selfwise.training.config import ResolvedTraining
from selfwise.training.loop import Probe

EncoderFactory = Callable[..., nn.Module]


@dataclass(frozen=True)
class EncoderChoice:
    """The encoder of a run."""

    name: str
    """Name of an encoder, or the import path of an external factory."""
    options: Config
    """The chosen options; None means the encoder's own value."""
    factory: EncoderFactory | None = None
    """The factory that was passed in Python, or that the import path names."""


@dataclass(frozen=True)
class Opening:
    """The facts that a run has when it opens its data."""

    method: type[Method]
    encoder: EncoderChoice
    open_run: OpenRun
    """Opens the earlier run from which discrete targets are made."""
    device: str = "cpu"
    """The device on which discrete targets are learned."""
    folder: Path | None = None
    """The run folder with the stored tokenizer or targets; None for a new run."""
    needs: Config = field(default_factory=Config)
    """The options of the method's needs, one section each."""


@runtime_checkable
class Steps(Protocol):
    """Batches by step, and their number in a pass over the data."""

    @property
    def steps_per_epoch(self) -> int: ...

    def __getitem__(self, step: int) -> Batch: ...


@runtime_checkable
class Facts(Protocol):
    """Facts about a run's data, available even without the data."""

    @property
    def info(self) -> DataInfo: ...


@runtime_checkable
class OpenData(Facts, Protocol):
    """The examples of a run, and everything that depends on them."""

    @property
    def inputs(self) -> Mapping[str, object]:
        """The keyword arguments that the method needs from the data."""
        ...

    @property
    def about(self) -> Mapping[str, Mapping[str, object]]:
        """The facts to record about each need."""
        ...

    @property
    def resolved(self) -> Mapping[str, object]:
        """Options of reading that the user left open and the data have decided."""
        ...

    @property
    def batch(self) -> int | None:
        """Examples in a step if the data decide, otherwise None."""
        ...

    @property
    def workers(self) -> int:
        """The number of loader processes that suits the data, unless the user sets it."""
        ...

    def describe(self) -> list[str]:
        """Return lines on the data to print before the first step: number, size, what was left out.

        Complete after `source`.
        """
        ...

    def adopt(self, earlier: Record) -> None:
        """Copy from an earlier run the facts that its weights depend on."""
        ...

    def set_first_weights(self, encoder: nn.Module) -> None:
        """Set the weights of a new encoder that an option of reading takes from an earlier run.

        Raises ValueError if they do not fit.
        """
        ...

    def source(self, method: Method, *, batch_size: int, seed: int) -> Steps:
        """Return the batches that the loop reads; `info` is complete afterwards.

        Raises ValueError if the data yield no batch.
        """
        ...

    def probes(self, method: Method, training: ResolvedTraining, *, seed: int) -> list[Probe]:
        """Return the probes that monitor the run."""
        ...

    def split_for_trials(
        self, source: Steps, method: Method, *, batch_size: int, seed: int
    ) -> TrialData:
        """Return the examples for short trials, before a run that reads `source`.

        Raises ValueError if there are too few examples to hold some out.
        """
        ...

    def join(self, folder: Path) -> None:
        """Prepare another process of the run, where the first process calls `save`."""
        ...

    def save(self, folder: Path) -> None:
        """Write the files that a reopened run needs into the run folder."""
        ...


@runtime_checkable
class TrainedRun(Protocol):
    """The part of a run that a modality needs."""

    @property
    def folder(self) -> Path: ...

    @property
    def record(self) -> Record: ...

    @property
    def facts(self) -> Facts: ...

    @property
    def encoder(self) -> Any: ...

    def build_untrained(self, seed: int) -> Any: ...


@runtime_checkable
class Examples(Protocol):
    """Examples to probe or to embed."""

    fingerprint: str
    labels: Int64[np.ndarray, "n"] | None
    classes: list[str] | None

    @property
    def ids(self) -> Sequence[str]: ...

    def __len__(self) -> int: ...

    def take(self, rows: Int64[np.ndarray, "m"]) -> "Examples": ...


InfoT = TypeVar("InfoT", bound=DataInfo)
ReadingT = TypeVar("ReadingT", bound=Config)
FactsT = TypeVar("FactsT", bound=Facts)
ExamplesT = TypeVar("ExamplesT", bound=Examples)
ReadT = TypeVar("ReadT")


@runtime_checkable
class Modality(Protocol[InfoT, ReadingT, FactsT, ExamplesT, ReadT]):
    """Images, text or audio, each with its own classes for facts, options, and examples."""

    name: str
    info: type[InfoT]
    """The class of the recorded facts about its data."""
    reading: type[ReadingT]
    """The options of reading, which become flags."""
    probe_pooling: str
    """The pooling of frozen features in probes, if it differs from that of embeddings."""
    encoder_facts: tuple[str, ...]
    """Parameters of an encoder that the data decide; they are not options."""
    encoder_help: str
    """The lines on `--encoder` in `--help`."""

    def find_encoder_options(self, name: str) -> type[Config]:
        """Return the config class of an encoder of this package."""
        ...

    def read_data(self, data: object, options: ReadingT, method: type[Method]) -> ReadT:
        """Return the examples of a run, before anything is learned from them.

        Raises ValueError with one sentence for data that cannot be opened.
        """
        ...

    def survey(self, examples: ReadT, options: ReadingT) -> Conditions:
        """Return facts about the examples from which the defaults of a run are chosen."""
        ...

    def open_data(self, examples: ReadT, options: ReadingT, opening: Opening) -> OpenData:
        """Return the examples to train on, with the inputs that the method needs."""
        ...

    def load_facts(self, folder: Path, info: InfoT) -> FactsT:
        """Return the facts about the data in a run folder."""
        ...

    def load_inputs(
        self,
        method: type[Method],
        folder: Path,
        facts: FactsT,
        about: Mapping[str, Mapping[str, Any]],
        open_run: OpenRun,
    ) -> dict[str, object]:
        """Return the keyword arguments that a method needs from the data, read from its run
        folder."""
        ...

    def options_from_start(self, start: Path) -> dict[str, object]:
        """Return options of reading that belong to the weights of an earlier run."""
        ...

    def build_encoder(self, choice: EncoderChoice, facts: FactsT, seed: int) -> nn.Module:
        """Return the encoder with random weights that depend on the seed, or published weights."""
        ...

    def without_pretrained_weights(self, choice: EncoderChoice) -> EncoderChoice:
        """Return the choice with random weights."""
        ...

    def build_untrained(self, choice: EncoderChoice, facts: FactsT, seed: int) -> nn.Module:
        """Return the untrained version of an encoder."""
        ...

    def find_depth(self, choice: EncoderChoice) -> int | None:
        """Return the number of layers of a named encoder, or None if the name does not determine
        it."""
        ...

    def open_examples(self, run: TrainedRun, data: object, options: ReadingOptions) -> ExamplesT:
        """Open examples to probe or to embed."""
        ...

    def make_embed(self, run: TrainedRun, options: FeatureOptions) -> Embed:
        """Return a function that extracts features of any encoder of the run's shape, with a
        cache."""
        ...

    def list_feature_places(self, run: TrainedRun, pooling: str) -> list[FeaturePlace]:
        """Return the layers and poolings to choose among, the default first.

        Args:
            run: the run whose encoder determines the layers.
            pooling: the only pooling; "" for all that make sense.
        """
        ...

    def make_embed_places(
        self, run: TrainedRun, options: FeatureOptions, places: Sequence[FeaturePlace]
    ) -> EmbedPlaces:
        """Return a function that extracts features at several places in one pass, with a cache."""
        ...

    def list_raw_choices(self, raw: FeatureSplit) -> dict[str, FeatureSplit]:
        """Return the kinds of raw features to choose among, by name, the default first."""
        ...

    def make_layered_embed(self, run: TrainedRun, options: FeatureOptions) -> Embed | None:
        """Return a function for features of all layers (n, L, d); None if layers cannot be
        probed."""
        ...

    def untrained_encoders(
        self, run: TrainedRun, train: ExamplesT, *, device: str
    ) -> Iterator[nn.Module]:
        """Yield three untrained encoders, with statistics of the training examples where needed."""
        ...

    def raw_features(self, run: TrainedRun, train: ExamplesT, test: ExamplesT) -> FeatureSplit:
        """Return the raw input as features."""
        ...

    def describe_unread(self, run: TrainedRun, examples: ExamplesT, window: str) -> list[str]:
        """Return sentences on parts of the examples that are not read; none if all is read."""
        ...


AnyModality = Modality[Any, Any, Any, Any, Any]
