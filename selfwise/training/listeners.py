"""Listeners of a training run: loggers, and the user's functions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from selfwise.training.loggers import ViewPicture


@dataclass(frozen=True, repr=False)
class LogValues(Mapping[str, float]):
    """The values of one log line by name, such as `values["lr"]`."""

    values_by_name: Mapping[str, float]
    folder: Path | None
    """The run folder."""
    times: Mapping[str, float]
    """Rates and times, which differ from run to run."""

    def __getitem__(self, name: str) -> float:
        return self.values_by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_name)

    def __len__(self) -> int:
        return len(self.values_by_name)

    def __repr__(self) -> str:
        return f"LogValues({dict(self.values_by_name)})"


Callback = Callable[[int, LogValues], object]  # called with the step; the result is ignored


@dataclass(frozen=True)
class Listeners:
    """The listeners of a run in addition to its own files."""

    options: Mapping[str, object] = field(default_factory=dict)
    """Every option of the run, which loggers show as hyperparameters."""
    draw_pictures: Callable[[], Sequence[ViewPicture]] = tuple
    """Draws the first batch as the method sees it; called once per run, if there is a logger."""
    callbacks: Sequence[Callback] = ()
    """Called in this order at each log line, only by the first process."""

    def call(
        self,
        step: int,
        values: Mapping[str, float],
        times: Mapping[str, float],
        folder: Path | None,
    ) -> None:
        """Call every callback. Raises ValueError naming the first callback that fails."""
        if not self.callbacks:
            return
        frozen = LogValues(MappingProxyType(dict(values)), folder, MappingProxyType(dict(times)))
        for callback in self.callbacks:
            try:
                callback(step, frozen)
            except Exception as error:
                kept = f"; the checkpoints in {folder} are whole" if folder is not None else ""
                raise ValueError(
                    f"the callback {name_callback(callback)} failed at step {step}: "
                    f"{type(error).__name__}: {error}{kept}"
                ) from error


NO_LISTENERS = Listeners()


def name_callback(callback: Callback) -> str:
    """Return the name of a function; for another object, the name of its class."""
    return str(getattr(callback, "__qualname__", type(callback).__qualname__))


def check_callbacks(callbacks: object) -> None:
    """Raise ValueError for callbacks that cannot be called."""
    if not isinstance(callbacks, Sequence) or isinstance(callbacks, str):
        raise ValueError("callbacks must be a list of functions of (step, values)")
    for callback in callbacks:
        if not callable(callback):
            raise ValueError(
                f"callbacks must be functions of (step, values); {callback!r} cannot be called"
            )
