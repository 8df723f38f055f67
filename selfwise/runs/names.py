"""Methods, encoders and data: what a user names or hands over, and how run.yaml names it."""

from copy import deepcopy
from pathlib import Path

from torch import nn

from selfwise import methods
from selfwise.core.config_class import Config
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

IMPORTED = "<imported>"  # stands in run.yaml for the data of published weights


def find_method_class(method: str | type[Method]) -> type[Method]:
    """A method by name, by place (which imports it: a user has typed it), or as it is.

    Raises ValueError for what is not a method.
    """
    return name_method(method)[1]


def name_method(method: str | type[Method]) -> tuple[str, type[Method], bool]:
    """A method as run.yaml names it, its class, and whether it is from outside the package."""
    if isinstance(method, str) and not is_import_path(method):
        return method, methods.find_method(method), False
    kind = load_object(method) if isinstance(method, str) else method
    if not (isinstance(kind, type) and issubclass(kind, Method)):
        raise ValueError(f"{method} is not a method: a class that inherits selfwise.Method is one")
    own = methods.name_of(kind)
    if isinstance(method, str):
        return resolve_import_path(method), kind, not own
    return own or name_import_path(kind), kind, not own


def name_encoder(
    encoder: str | EncoderFactory | nn.Module,
) -> tuple[str, EncoderFactory | None]:
    """An encoder as run.yaml names it, and its factory where it is not one of ours."""
    if isinstance(encoder, str):
        factory = find_factory(encoder)
        return (encoder if factory is None else resolve_import_path(encoder)), factory
    if isinstance(encoder, nn.Module):
        return FROM_PYTHON, ModuleFactory(encoder)
    if not callable(encoder):
        raise ValueError(
            "encoder must be a name, MODULE:NAME, a torch module or a function that makes one, "
            f"not {type(encoder).__name__}"
        )
    return name_import_path(encoder), encoder


def find_recorded_encoder(folder: Path, record: RunRecord) -> EncoderFactory | None:
    """The factory of the encoder that run.yaml names; None for an encoder of this package.

    Raises ValueError for a place that the user has not allowed, or an encoder handed over in
    Python.
    """
    name = record.encoder_name
    if name == FROM_PYTHON:
        raise ValueError(
            f"the encoder of {folder} was handed over in Python: load or resume it there, with "
            "encoder="
        )
    if is_import_path(name):
        load_allowed_object(name, folder=folder)
    return find_factory(name)


class ModuleOptions(Config):
    """A module that the user has made has no options."""

    prefix = "encoder."


class ModuleFactory:
    """Hands out copies of a module that the user has made, with the weights that it has."""

    def __init__(self, module: nn.Module):
        self.module = module

    def __call__(self) -> nn.Module:
        return deepcopy(self.module)


def name_data(data: object) -> str:
    """The data as run.yaml names them: names and paths that hold from any folder."""
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
