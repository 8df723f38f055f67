"""Names of methods, encoders and data: as the user gives them, and as run.yaml stores them."""

from copy import deepcopy
from pathlib import Path

from torch import nn

from selfwise import methods
from selfwise.core.config_class import Config
from selfwise.core.data_sources import DataSources, unwrap_sources
from selfwise.core.plugins import (
    FROM_PYTHON,
    is_import_path,
    load_allowed_object,
    load_object,
    name_import_path,
    resolve_import_path,
)
from selfwise.data.image.named_sets import parse_name
from selfwise.data.text.documents import HUB_PREFIX
from selfwise.data.text.python_docs import PYTHON_DOCS
from selfwise.encoders.custom import find_factory
from selfwise.methods import Method
from selfwise.modalities.modality import EncoderFactory
from selfwise.runs.run_yaml import RunRecord

IMPORTED = "<imported>"  # in run.yaml, in place of the data of published weights


def find_method_class(method: str | type[Method]) -> type[Method]:
    """Return a method by name, by place (imported, because a user typed it), or as a class.

    Raises ValueError if it is not a method.
    """
    return name_method(method)[1]


def name_method(method: str | type[Method]) -> tuple[str, type[Method], bool]:
    """Return a method's name in run.yaml, its class, and whether it is from outside the package."""
    if isinstance(method, str) and not is_import_path(method):
        return method, methods.find_method(method), False
    kind = load_object(method) if isinstance(method, str) else method
    if not (isinstance(kind, type) and issubclass(kind, Method)):
        raise ValueError(
            f"{method} is not a method: a method is a class that inherits selfwise.Method"
        )
    own = methods.name_of(kind)
    if isinstance(method, str):
        return resolve_import_path(method), kind, not own
    return own or name_import_path(kind), kind, not own


def name_encoder(
    encoder: str | EncoderFactory | nn.Module,
) -> tuple[str, EncoderFactory | None]:
    """Return an encoder's name in run.yaml, and its factory if it is not from this package."""
    if isinstance(encoder, str):
        factory = find_factory(encoder)
        return (encoder if factory is None else resolve_import_path(encoder)), factory
    if isinstance(encoder, nn.Module):
        return FROM_PYTHON, ModuleFactory(encoder)
    if not callable(encoder):
        raise ValueError(
            "encoder must be a name, MODULE:NAME, a torch module or a function that builds one, "
            f"not {type(encoder).__name__}"
        )
    return name_import_path(encoder), encoder


def find_recorded_encoder(folder: Path, record: RunRecord) -> EncoderFactory | None:
    """Return the factory of the encoder that run.yaml names; None for an encoder of this package.

    Raises ValueError for a place that the user has not allowed, or an encoder passed in Python.
    """
    name = record.encoder_name
    if name == FROM_PYTHON:
        raise ValueError(
            f"the encoder of {folder} was passed in Python: load or resume the run there, with "
            "encoder="
        )
    if is_import_path(name):
        load_allowed_object(name, folder=folder)
    return find_factory(name)


class ModuleOptions(Config):
    """No options: the encoder is a module that the user built."""

    prefix = "encoder."


class ModuleFactory:
    """Returns copies of a module that the user built, with its current weights."""

    def __init__(self, module: nn.Module):
        self.module = module

    def __call__(self) -> nn.Module:
        return deepcopy(self.module)


def name_sources(data: object) -> str | list[str]:
    """Return the data's name in run.yaml, and a list of names for several sources."""
    data = unwrap_sources(data)
    if not isinstance(data, DataSources):
        return name_data(data)
    names = [name_data(place) for place in data.places]
    return FROM_PYTHON if FROM_PYTHON in names else names


def name_data(data: object) -> str:
    """Return the data's name in run.yaml: names and paths that work from any folder."""
    if not isinstance(data, str | Path):
        return FROM_PYTHON
    if data == IMPORTED:
        return IMPORTED
    if str(data) == PYTHON_DOCS or str(data).startswith(HUB_PREFIX):
        return str(data)
    named = parse_name(data) if isinstance(data, str) else None
    if named is None:
        return str(Path(data).expanduser().resolve())
    if named.root is None:
        return str(data)
    root = str(named.root.expanduser().resolve())
    return ":".join([named.name, root, *([named.split] if named.split else [])])
