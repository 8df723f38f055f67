"""Loggers: every file is one service that receives a run's values, found by its file name.

A file has a function `open_logger`, which opens the service for a RunFacts and returns a Logger.
The extra that installs the service's package has the name of the file.

Only the first process of a run opens loggers.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from selfwise.core.config_class import spell_option
from selfwise.core.errors import did_you_mean
from selfwise.core.extras import check_extra
from selfwise.core.files import write_file
from selfwise.core.own_files import check_folder, read_own

T = TypeVar("T")

NONE = "none"  # the word for no logger
IDS = "loggers.json"  # in a run folder: each service's id of the run


class ViewPicture(NamedTuple):
    """A picture or a text of the first batch, as the method sees it."""

    name: str
    caption: str
    image: UInt8[np.ndarray, "h w 3"] | None = None
    text: str = ""


@dataclass(frozen=True)
class RunFacts:
    """The facts about a run that a logger needs."""

    folder: Path
    project: str
    step: int = 0
    """Steps done when this process opened the run; 0 for a new run."""
    logged: int = 0
    """The last step that an earlier process logged, which may be above `step`."""
    options: Mapping[str, object] = field(default_factory=dict)
    """Every option of the run, by name."""
    quiet: bool = False
    """Print nothing."""

    @property
    def name(self) -> str:
        """The name of the run folder."""
        return self.folder.resolve().name

    def read_id(self, service: str) -> str | None:
        """Return a service's id of this run; None if the service does not have the run yet."""
        path = self.folder / IDS
        ids: dict[str, str] = json.loads(read_own(path)) if path.is_file() else {}
        return ids.get(service)

    def save_id(self, service: str, name: str) -> None:
        """Store a service's id of this run, for a resumed run."""
        path = self.folder / IDS
        ids = json.loads(read_own(path)) if path.is_file() else {}
        write_file(path, json.dumps(ids | {service: name}, indent=1))


@runtime_checkable
class Logger(Protocol):
    """An open service. Any exception ends the run with an error that names the logger."""

    continues: bool
    """True if the service continues a run, and has all values logged before."""

    def log_values(self, step: int, values: Mapping[str, float]) -> None:
        """Send the values after `step` steps."""
        ...

    def log_pictures(self, pictures: Sequence[ViewPicture]) -> None:
        """Send the pictures of the first batch; called once per run."""
        ...

    def finish(self, *, failed: bool) -> None:
        """Send the remaining values and close the service."""
        ...


def logger_names() -> list[str]:
    """Return the names of all loggers, by file name."""
    return sorted(f.stem for f in Path(__file__).parent.glob("*.py") if f.stem != "__init__")


def join_names(names: str | Iterable[str]) -> str:
    """Return logger names in the form of run.yaml: `tensorboard,mlflow`, or "" for none.

    Raises ValueError with the nearest name for an unknown logger.
    """
    words = names.split(",") if isinstance(names, str) else names
    chosen = list(dict.fromkeys(w for word in words if (w := word.strip()) not in ("", NONE)))
    for name in chosen:
        if name not in logger_names():
            near = did_you_mean(name, logger_names())
            raise ValueError(f"{spell_option('logger')} {name} is unknown{near}")
    return ",".join(chosen)


def split_names(names: str | Iterable[str]) -> list[str]:
    """Return the names of loggers as a list."""
    return [name for name in join_names(names).split(",") if name]


def check_installed(names: str | Iterable[str]) -> None:
    """Raise ValueError naming the extra of a logger whose package is missing."""
    for name in split_names(names):
        check_extra(name)


class Loggers:
    """The open loggers of a run."""

    def __init__(self, run: RunFacts, names: str | Iterable[str]):
        """Open each service. Raises ValueError naming a logger that does not open."""
        self.run, self.open = run, dict[str, Logger]()
        try:
            for name in split_names(names):
                check_folder(run.folder / name)  # in which most services store something
                self.open[name] = _name_failure(
                    name, partial(_import_logger(name).open_logger, run)
                )
        except ValueError:
            with suppress(ValueError):
                self.finish(failed=True)
            raise

    def log_values(self, step: int, values: Mapping[str, float]) -> None:
        """Send values to each service that did not receive them before a kill."""
        for name, logger in self.open.items():
            if step > self.run.logged or not logger.continues:
                _name_failure(name, partial(logger.log_values, step, values), step)

    def log_pictures(self, pictures: Sequence[ViewPicture]) -> None:
        """Send the pictures of the first batch."""
        for name, logger in self.open.items():
            _name_failure(name, partial(logger.log_pictures, pictures))

    def finish(self, *, failed: bool) -> None:
        """Close every service."""
        for name, logger in self.open.items():
            _name_failure(name, partial(logger.finish, failed=failed))


@contextmanager
def open_loggers(run: RunFacts, names: str | Iterable[str]) -> Iterator[Loggers]:
    """Open the loggers of a run; close them at its end, reporting whether the run failed."""
    loggers = Loggers(run, names)
    try:
        yield loggers
    except BaseException:
        with suppress(ValueError):  # the first failure is the one to report
            loggers.finish(failed=True)
        raise
    loggers.finish(failed=False)


def _import_logger(name: str) -> ModuleType:
    return import_module(f"selfwise.training.loggers.{name}")


def _name_failure(name: str, action: Callable[[], T], step: int | None = None) -> T:
    """Call a service. Raises ValueError that names it for any exception of the service."""
    try:
        return action()
    except Exception as error:
        when = "" if step is None else f" at step {step}"
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(
            f"{spell_option('logger')} {name} failed{when} ({reason}); a run with a checkpoint "
            f"can be resumed without it: selfwise resume RUN --logger {NONE}"
        ) from error
