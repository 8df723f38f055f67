"""The parts of an earlier run that modalities read."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from selfwise.core.config_class import Config
from selfwise.core.data_info import DataInfo
from selfwise.methods import Method
from selfwise.training.config import ResolvedTraining


@runtime_checkable
class Record(Protocol):
    """The part of run.yaml that modalities read."""

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
