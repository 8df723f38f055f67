"""What a modality is: an object that opens data, builds encoders and extracts features."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Int64, Shaped
from torch import nn

from selfwise.core.config_class import Config
from selfwise.core.data_info import DataInfo
from selfwise.core.types import Batch
from selfwise.distributed.process_group import SINGLE_PROCESS, DistributedEnv
from selfwise.evaluation.probes.baselines import FeatureSplit
from selfwise.methods import Method
from selfwise.training.config import ResolvedTraining
from selfwise.training.loop import Probe

EncoderFactory = Callable[..., nn.Module]


@dataclass(frozen=True)
class EncoderChoice:
    """Which encoder a run has."""

    name: str
    """Of an encoder, or the place of a factory outside the package."""
    options: Config
    """Those that were chosen; None stands for the encoder's own value."""
    factory: EncoderFactory | None = None
    """What was handed over in Python, or what the place names."""


@runtime_checkable
class Record(Protocol):
    """What run.yaml says of a run, as far as modalities read it."""

    @property
    def method(self) -> str: ...

    @property
    def info(self) -> DataInfo: ...

    @property
    def reading(self) -> Config: ...

    @property
    def training(self) -> ResolvedTraining: ...

    @property
    def encoder_name(self) -> str: ...

    @property
    def encoder_options(self) -> Mapping[str, object]: ...


@runtime_checkable
class EarlierRun(Protocol):
    """A run in a folder, with its method in eval mode on the CPU."""

    @property
    def record(self) -> Record: ...

    @property
    def method(self) -> Method: ...

    @property
    def weights(self) -> str:
        """SHA-256 of the weights."""
        ...

    @property
    def step(self) -> int: ...


OpenRun = Callable[[Path], EarlierRun]  # raises ValueError if the folder is not a run


@dataclass(frozen=True)
class Opening:
    """What a run knows when it opens its data."""

    method: type[Method]
    encoder: EncoderChoice
    open_run: OpenRun
    """Opens the earlier run that discrete targets are made of."""
    device: str = "cpu"
    """Where discrete targets are learned."""
    folder: Path | None = None
    """The run folder that has what opening made (a tokenizer, targets); None for a new run."""
    needs: Config = field(default_factory=Config)
    """The options of the method's needs, a section for each."""


@runtime_checkable
class Steps(Protocol):
    """Batches by step, and how many there are in a pass over the data."""

    @property
    def steps_per_epoch(self) -> int: ...

    def __getitem__(self, step: int) -> Batch: ...


@runtime_checkable
class Facts(Protocol):
    """What is known of a run's data, also when it is loaded without them."""

    @property
    def info(self) -> DataInfo: ...


@runtime_checkable
class OpenData(Facts, Protocol):
    """The examples of a run, and what depends on them."""

    @property
    def inputs(self) -> Mapping[str, object]:
        """The keyword arguments that the method needs of the data."""
        ...

    @property
    def about(self) -> Mapping[str, Mapping[str, object]]:
        """What to record of each need."""
        ...

    @property
    def resolved(self) -> Mapping[str, object]:
        """Options of reading that were left open and that the data have decided."""
        ...

    @property
    def batch(self) -> int | None:
        """Examples in a step, where the data decide on it, or None."""
        ...

    @property
    def workers(self) -> int:
        """Processes that reading is worth, unless the user says otherwise."""
        ...

    def describe(self) -> list[str]:
        """What a run says of its data before the first step: number, size, what was left out.

        Complete after `source`.
        """
        ...

    def adopt(self, earlier: Record) -> None:
        """Take over from an earlier run what its weights depend on."""
        ...

    def source(self, method: Method, *, batch_size: int, seed: int) -> Steps:
        """The batches that the loop reads; `info` is complete afterwards.

        Raises ValueError if the data make none.
        """
        ...

    def probes(self, method: Method, training: ResolvedTraining, *, seed: int) -> list[Probe]:
        """What watches the run."""
        ...

    def join(self, folder: Path) -> None:
        """What another process of the run does, where the first one has called `save`."""
        ...

    def save(self, folder: Path) -> None:
        """Write what reading needs again into the run folder."""
        ...


@runtime_checkable
class TrainedRun(Protocol):
    """What a modality needs of a run."""

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
    """Examples for a probe or to be embedded."""

    fingerprint: str
    labels: Int64[np.ndarray, "n"] | None
    classes: list[str] | None

    @property
    def ids(self) -> Sequence[str]: ...

    def __len__(self) -> int: ...

    def take(self, rows: Int64[np.ndarray, "m"]) -> "Examples": ...


@dataclass(frozen=True)
class ReadingOptions:
    """How the examples of a probe are read."""

    labelled: bool = False
    skip_broken: bool = False
    text_column: str = ""
    """Of text: the column that holds it."""
    label_column: str = ""
    """Of text: the column that holds the label."""


@dataclass(frozen=True)
class FeatureOptions:
    """Which features, and where they are computed."""

    layer: int | None = None
    """A layer instead of the encoder's output; negative counts from the last."""
    pooling: str = ""
    window: str = ""
    device: str = "auto"
    env: DistributedEnv = SINGLE_PROCESS
    precision: str = ""
    """float32 or bf16; by default that of training, as `core.device.choose_evaluation` has it."""


Embed = Callable[[Any, Any], Shaped[np.ndarray, "n *d"]]  # (encoder, examples) -> features


InfoT = TypeVar("InfoT", bound=DataInfo)
ReadingT = TypeVar("ReadingT", bound=Config)
FactsT = TypeVar("FactsT", bound=Facts)
ExamplesT = TypeVar("ExamplesT", bound=Examples)


@runtime_checkable
class Modality(Protocol[InfoT, ReadingT, FactsT, ExamplesT]):
    """Images, text or audio, with classes of their own for facts, options, and examples."""

    name: str
    info: type[InfoT]
    """What is recorded of its data."""
    reading: type[ReadingT]
    """The options of reading, which become flags."""
    probe_pooling: str
    """How probes of frozen features pool, where they do in another way than embeddings."""
    encoder_facts: tuple[str, ...]
    """Parameters of an encoder that the data decide, which are not options."""
    encoder_help: str
    """What `--help` says of `--encoder`."""

    def find_encoder_options(self, name: str) -> type[Config]:
        """The config class of an encoder of this package."""
        ...

    def open_data(self, data: object, options: ReadingT, opening: Opening) -> OpenData:
        """The examples to train on, with what the method needs of them.

        Raises ValueError with one sentence for data that cannot be opened.
        """
        ...

    def load_facts(self, folder: Path, info: InfoT) -> FactsT:
        """What a run folder says of its data."""
        ...

    def load_inputs(
        self,
        method: type[Method],
        folder: Path,
        facts: FactsT,
        about: Mapping[str, Mapping[str, Any]],
        open_run: OpenRun,
    ) -> dict[str, object]:
        """The keyword arguments that a method needs of the data, from its run folder."""
        ...

    def options_from_start(self, start: Path) -> dict[str, object]:
        """Options of reading that go with the weights of an earlier run."""
        ...

    def build_encoder(self, choice: EncoderChoice, facts: FactsT, seed: int) -> nn.Module:
        """The encoder with random weights that are a function of the seed, or published ones."""
        ...

    def without_pretrained_weights(self, choice: EncoderChoice) -> EncoderChoice:
        """The same encoder with random weights."""
        ...

    def build_untrained(self, choice: EncoderChoice, facts: FactsT, seed: int) -> nn.Module:
        """The untrained twin of an encoder."""
        ...

    def find_depth(self, choice: EncoderChoice) -> int | None:
        """Layers of an encoder that is only named, or None where a name does not say it."""
        ...

    def open_examples(self, run: TrainedRun, data: object, options: ReadingOptions) -> ExamplesT:
        """Examples for a probe or to be embedded."""
        ...

    def make_embed(self, run: TrainedRun, options: FeatureOptions) -> Embed:
        """Features of any encoder of the run's shape, cached in the run folder."""
        ...

    def make_layered_embed(self, run: TrainedRun, options: FeatureOptions) -> Embed | None:
        """Features of all layers (n, L, d); None where there is no probe of them."""
        ...

    def untrained_features(
        self, run: TrainedRun, train: ExamplesT, test: ExamplesT, *, embed: Embed, device: str
    ) -> list[FeatureSplit]:
        """Features of untrained twins."""
        ...

    def raw_features(self, run: TrainedRun, train: ExamplesT, test: ExamplesT) -> FeatureSplit:
        """The raw input as features."""
        ...

    def describe_unread(self, run: TrainedRun, examples: ExamplesT, window: str) -> list[str]:
        """Sentences on what of the examples is not read; none if all is."""
        ...


AnyModality = Modality[Any, Any, Any, Any]
