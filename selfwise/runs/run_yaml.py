"""run.yaml: the user's options, the values chosen for the rest, the data, and the environment.

Reading the file does not import code that it names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml

from selfwise.core.config_class import Config, list_sections, make_config
from selfwise.core.data_sources import DataSources, unwrap_sources
from selfwise.core.files import write_file
from selfwise.core.option_types import ENCODER_PREFIX
from selfwise.core.plain_data import read_toml_file, read_yaml_file, require_mapping
from selfwise.modalities import find_modality
from selfwise.runs.run_file import RunFile, parse_run_file
from selfwise.training.config import ResolvedTraining

C = TypeVar("C", bound=Config)

FILE = "run.yaml"
BEFORE_THE_RUN = ("tune.json", "init_tokens.json")  # there before run.yaml is
FORMAT = 3  # raised when a reader of older folders would misunderstand newer ones
_KEYS = ("format", "method", "modality", "config", "resolved", "data_info", "environment")


class Choice(NamedTuple):
    """The value of an option, and its source."""

    value: Any
    source: str  # user, init_from, tune, data, budget, machine, method, paper or default


@dataclass(frozen=True)
class RunRecord:
    """The contents of run.yaml."""

    method: str
    modality: str
    config: Mapping[str, Any]
    """The user's options, by name."""
    resolved: Mapping[str, Choice]
    """Every option; those of the encoder as encoder.NAME."""
    info: Any  # DataInfo of the modality
    environment: Mapping[str, Any] = field(default_factory=dict)
    needs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Facts on how each need of the method was made."""
    about: Mapping[str, float] = field(default_factory=dict)
    """The method's facts about its task."""
    code: Mapping[str, str] = field(default_factory=dict)
    """Digests of the method and the encoder, if they are from outside the package."""
    imported: Mapping[str, Any] = field(default_factory=dict)
    """The source of imported weights."""
    continuations: Sequence[Mapping[str, Any]] = ()
    """Each change of the number of steps: at which step, before and after, and its meaning."""

    def option(self, name: str) -> Any:
        """Return the value of an option. Raises KeyError for an option that the run does not
        have."""
        return self.resolved[name].value

    def get(self, name: str, default: object = None) -> Any:
        """Return the value of an option, or `default` if the run does not have it."""
        return self.resolved[name].value if name in self.resolved else default

    @property
    def options(self) -> dict[str, Any]:
        """The value of every option."""
        return {name: choice.value for name, choice in self.resolved.items()}

    @property
    def data(self) -> str:
        """The location of the data: a path, a name, or a note that they were passed in Python.

        Several sources are joined by " + ".
        """
        return " + ".join(self.sources)

    @property
    def sources(self) -> list[str]:
        """The location of each source of the data."""
        data = self.option("data")
        return [str(one) for one in data] if isinstance(data, list) else [str(data)]

    @property
    def place(self) -> object:
        """The location of the data in a form that opens them."""
        return unwrap_sources(DataSources(self.sources))

    @property
    def seed(self) -> int:
        return int(self.option("seed"))

    @property
    def steps(self) -> int:
        """The number of optimizer steps of the whole run."""
        return int(self.option("steps"))

    @cached_property
    def training(self) -> ResolvedTraining:
        return self._section(ResolvedTraining)

    @cached_property
    def reading(self) -> Any:
        """The modality's options of reading."""
        return self._section(find_modality(self.modality).reading)

    @property
    def encoder_name(self) -> str:
        return str(self.option("encoder"))

    @property
    def encoder_options(self) -> Mapping[str, Any]:
        """The chosen options of the encoder."""
        return {
            n.removeprefix(ENCODER_PREFIX): v
            for n, v in self.options.items()
            if n.startswith(ENCODER_PREFIX)
        }

    @property
    def chosen_encoder_options(self) -> Mapping[str, Any]:
        """The options of the encoder that differ from their defaults."""
        options = self.encoder_options
        return {
            n: v
            for n, v in options.items()
            if self.resolved[ENCODER_PREFIX + n].source != "default"
        }

    def with_options(self, values: Mapping[str, Any]) -> "RunRecord":
        """Return the record of a run that the user resumes with other values of these options."""
        chosen = {name: Choice(value, "user") for name, value in values.items()}
        config = {**self.config, **values}
        return replace(self, resolved={**self.resolved, **chosen}, config=config)

    def needs_options(self, kind: type[Config]) -> Config:
        """Return the options of a method's needs, given their config class."""
        values = {name: self._values(section) for name, section in list_sections(kind).items()}
        return make_config(kind, values)

    def _values(self, kind: type[Config]) -> dict[str, object]:
        return {name: self.option(name) for name in kind.model_fields if name in self.resolved}

    def _section(self, kind: type[C]) -> C:
        return make_config(kind, self._values(kind))

    def to_dict(self) -> dict[str, object]:
        """Return the record in the form of run.yaml."""
        resolved = {
            name: {"value": c.value, "source": c.source} for name, c in self.resolved.items()
        }
        changes = [dict(change) for change in self.continuations]
        rest = {name: dict(getattr(self, name)) for name in ("needs", "about", "code", "imported")}
        return {
            "format": FORMAT,
            "method": self.method,
            "modality": self.modality,
            "config": dict(self.config),
            "resolved": resolved,
            "data_info": self.info.model_dump(mode="json"),
            **{name: value for name, value in rest.items() if value},
            **({"continuations": changes} if changes else {}),
            "environment": dict(self.environment),
        }


class _Dumper(yaml.SafeDumper):
    """Writes values and their sources on one line, and repeated objects in full."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent(dumper: _Dumper, data: dict[Any, Any]) -> yaml.MappingNode:
    flow = data.keys() == {"value", "source"}
    return dumper.represent_mapping("tag:yaml.org,2002:map", data, flow_style=flow)


_Dumper.add_representer(dict, _represent)
_Dumper.add_representer(tuple, lambda dumper, data: dumper.represent_list(list(data)))


def write_record(folder: Path, record: RunRecord) -> None:
    """Write run.yaml completely or not at all."""
    content = record.to_dict()
    text = yaml.dump(content, None, _Dumper, sort_keys=False, allow_unicode=True, width=1000)
    write_file(folder / FILE, text)


def has_record(folder: Path) -> bool:
    """Return whether a folder is a run."""
    return (folder / FILE).is_file()


def read_record(folder: Path) -> RunRecord:
    """Read run.yaml.

    Raises ValueError if the folder is not a run, or if the file cannot be read.
    """
    if not folder.is_dir():
        raise ValueError(f"run {folder} does not exist")
    path = folder / FILE
    if not path.is_file():
        if any((folder / name).is_file() for name in BEFORE_THE_RUN):
            raise ValueError(
                f"{folder} holds a run that has not taken its first step: continue it with "
                f"`selfwise resume {folder}`"
            )
        raise ValueError(f"{folder} is not a run folder: it has no {FILE}")
    content = read_yaml(path)
    if "format" not in content and "options" in content:
        raise ValueError(f"{path} was written by an earlier version of selfwise: start a new run")
    if missing := [key for key in _KEYS if key not in content]:
        raise ValueError(f"{path} lacks {', '.join(missing)}: it was not written by selfwise")
    if content["format"] != FORMAT:
        raise ValueError(
            f"{path} has format {content['format']}, and this version of selfwise reads format "
            f"{FORMAT}: start a new run, or use the version of selfwise that wrote it"
        )
    try:
        record = _as_record(parse_run_file(content))
        _check_options(record)
    except KeyError as error:
        raise ValueError(f"{path} cannot be read: it lacks the option {error}") from error
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    return record


def _as_record(file: RunFile) -> RunRecord:
    modality = find_modality(file.modality)
    return RunRecord(
        method=file.method,
        modality=modality.name,
        config=file.config,
        resolved={name: Choice(each.value, each.source) for name, each in file.resolved.items()},
        info=make_config(modality.info, file.data_info),
        environment=file.environment,
        needs=file.needs,
        about=file.about,
        code=file.code,
        imported=file.imported,
        continuations=file.continuations,
    )


def _check_options(record: RunRecord) -> None:
    """Raise ValueError or KeyError for options of a run with wrong values, or without any."""
    data, encoder = record.option("data"), record.option("encoder")
    names = [encoder, *(data if isinstance(data, list) else [data])]
    if not all(isinstance(name, str) for name in names):
        raise ValueError("the values of data and encoder must be names or paths")
    for name in ("steps", "seed"):
        if type(record.option(name)) is not int:
            raise ValueError(f"{name} must be a whole number, not {record.option(name)!r}")
    for name in ("epochs", "minutes"):
        if type(amount := record.config.get(name) or 0) not in (int, float):
            raise ValueError(f"{name} must be a number, not {amount!r}")
    for section in (record.training, record.reading):
        assert isinstance(section, Config)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping; only plain data, never objects.

    Raises ValueError naming the file and, if available, the line.
    """
    content = read_yaml_file(path)
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ValueError(f"{path} must hold names and values, such as 'batch_size: 256'")
    return content


def read_config_file(path: Path) -> dict[str, Any]:
    """Read the options in a --config file, with `method` if the file names one.

    The file is a run.yaml, or names and values as YAML or, if its name ends in .toml, as TOML.

    Raises ValueError naming the file if it cannot be read.
    """
    if not path.is_file():
        raise ValueError(f"--config {path}: this file does not exist")
    content = read_toml_file(path) if path.suffix.lower() == ".toml" else read_yaml(path)
    if "format" in content and "resolved" in content:
        config = require_mapping(content.get("config"), f"{path}: config")
        content = {**config, "method": content.get("method")}
        _check_names(path, content)
        return content
    flat = _flatten_sections(content)
    _check_names(path, flat)
    return flat


def _check_names(path: Path, content: Mapping[str, Any]) -> None:
    """Raise ValueError for a method, an encoder or data that a file does not name by a text."""
    for name in ("method", "encoder", "init_from", "data"):
        value = content.get(name, "")
        several = name == "data" and isinstance(value, list)
        if not all(isinstance(one, str) for one in (value if several else [value])):
            got = repr(value)[:80]
            raise ValueError(f"--config {path}: {name} must be a name or a path, not {got}")


def _flatten_sections(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a section such as `encoder: {name: NAME, depth: 6}` as encoder, encoder.depth."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if not isinstance(value, Mapping) or key not in ("encoder", "encoder_options"):
            flat[key] = value
            continue
        for name, part in value.items():
            flat["encoder" if (key, name) == ("encoder", "name") else f"encoder.{name}"] = part
    return flat
