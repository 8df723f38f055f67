"""The options of a run, whole: which there are depends on the method and on the encoder."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from inspect import signature
from pathlib import Path
from typing import Annotated, Any

from pydantic import create_model
from torch import nn

from selfwise import methods
from selfwise.core.config import (
    AbsolutePath,
    Config,
    flatten_config,
    format_flag,
    list_option_paths,
    list_options_set,
    list_sections,
    make_config,
    make_options_class,
    merge_values,
    nest_values,
)
from selfwise.core.plugins import (
    FROM_PYTHON,
    allow_plugins,
    is_import_path,
    load_object,
    module_part,
    name_import_path,
    resolve_import_path,
)
from selfwise.data.image.named_sets import parse_name
from selfwise.data.text.documents import HUB_PREFIX
from selfwise.data.text.python_docs import PYTHON_DOCS
from selfwise.encoders.outside import find_factory
from selfwise.methods import Method
from selfwise.modalities import modality_of
from selfwise.modalities.modality import EncoderChoice, EncoderFactory
from selfwise.runs.record import RunRecord, read_record
from selfwise.training.config import TrainingConfig

IMPORTED = "<imported>"  # stands in run.yaml for the data of published weights

_NEEDS: dict[type[Method], type[Config]] = {}
_CLASSES: dict[tuple[type[Method], type[Config]], type["PretrainConfig"]] = {}


class PretrainConfig(Config):
    """The options of a run, in sections; users see one flat list."""

    data: str
    """Where the examples are: a folder, a file, a name; in Python also the examples."""
    encoder: str = ""
    """Name of an encoder, MODULE:NAME or FILE.py:NAME of one from outside; by default that of
    `start`, or else one that suits the method and a small machine."""
    start: Annotated[str, AbsolutePath()] = ""
    """Folder of an earlier run whose encoder's weights are the start; of the same method on text,
    its heads and its tokenizer too."""
    seed: int = 0
    """Every random draw is a function of it."""
    method_options: Config
    needs_options: Config
    training: TrainingConfig = TrainingConfig()
    reading: Config
    encoder_options: Config


@dataclass(frozen=True)
class RunRequest:
    """What a run is to be: its options, and what they name."""

    method: str
    """As run.yaml names it."""
    kind: type[Method]
    config: PretrainConfig
    encoder: EncoderChoice
    asked: Mapping[str, Any]
    """What the user said, by option."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Where values are from that the user has not given."""
    earlier: RunRecord | None = None
    """The record of `start`."""

    def with_devices(self, devices: int) -> "RunRequest":
        """The request with the number of processes that torchrun or SLURM has started."""
        if devices == self.config.training.devices:
            return self
        training = self.config.training.replace(devices=devices)
        return replace(self, config=self.config.replace(training=training))

    def check_importable(self) -> None:
        """Raises ValueError for code that other processes cannot import."""
        for what, name in (("method", self.method), ("encoder", self.encoder.name)):
            if name == FROM_PYTHON:
                raise ValueError(
                    f"--devices starts processes that import the {what} themselves, and this one "
                    "lives in Python alone: put it into a file and name it FILE.py:NAME"
                )


def find_method_class(method: str | type[Method]) -> type[Method]:
    """A method by name, by place (which imports it: a user has typed it), or as it is.

    Raises ValueError for what is not a method.
    """
    if isinstance(method, str) and not is_import_path(method):
        return methods.find_method(method)
    kind = load_object(method) if isinstance(method, str) else method
    if not (isinstance(kind, type) and issubclass(kind, Method)):
        raise ValueError(f"{method} is not a method: a class that inherits selfwise.Method is one")
    return kind


def name_method(method: str | type[Method], kind: type[Method]) -> str:
    """A method as run.yaml names it."""
    if isinstance(method, str):
        return resolve_import_path(method) if is_import_path(method) else method
    own = methods.name_of(kind)
    return own or name_import_path(kind)


def config_class(
    method: str | type[Method], encoder: str | EncoderFactory | nn.Module = ""
) -> type[PretrainConfig]:
    """The config class for a method and an encoder. Raises ValueError if there is no such one."""
    kind = find_method_class(method)
    modality, needs = modality_of(kind), needs_class(kind)
    encoder_options = encoder_class(kind, encoder)
    key = (kind, encoder_options)
    if key not in _CLASSES:
        _CLASSES[key] = create_model(
            f"{kind.__name__}Config",
            __base__=PretrainConfig,
            method_options=(method_class_options(kind), ...),
            needs_options=(needs, ...),
            reading=(modality.reading, ...),
            encoder_options=(encoder_options, ...),
        )
    return _CLASSES[key]


def encoder_class(kind: type[Method], encoder: str | EncoderFactory | nn.Module) -> type[Config]:
    """The config class of an encoder's options."""
    if isinstance(encoder, nn.Module):
        return Config
    if not isinstance(encoder, str):
        return make_options_class(encoder, skip=FROM_DATA, prefix="encoder.", positional=True)
    return modality_of(kind).find_encoder_options(encoder or kind.default_encoder)


FROM_DATA = ("in_channels", "size", "vocab", "seed")  # what the data decide of an encoder


def method_class_options(kind: type[Method]) -> type[Config]:
    """The config class of a method's own options."""
    return make_options_class(kind, skip={"encoder", *kind.needs})


def needs_class(kind: type[Method]) -> type[Config]:
    """One section for each need of a method that has options."""
    if kind not in _NEEDS:
        fields: dict[str, Any] = {
            name: (need.options, need.options())
            for name, need in kind.needs.items()
            if need.options is not None
        }
        _NEEDS[kind] = create_model(f"{kind.__name__}Needs", __base__=Config, **fields)
    return _NEEDS[kind]


def make_request(
    method: str | type[Method],
    values: Mapping[str, Any],
    *,
    data: object,
    encoder: str | EncoderFactory | nn.Module = "",
    start: str | Path = "",
    spell: Callable[[str], str] = format_flag,
) -> RunRequest:
    """A run as the user describes it, with every option checked.

    Args:
        method: name, place, or class of a method.
        values: the other options, flat or nested.
        data: where the examples are, or the examples.
        encoder: name or place of an encoder, a factory, or a module.
        start: folder of the run whose weights are the start.
        spell: how the user writes an option.

    Raises ValueError with one sentence for anything that cannot be.
    """
    kind = find_method_class(method)
    name, factory = name_encoder(encoder)
    earlier = read_record(Path(start)) if start else None
    below = _options_from_start(kind, Path(start), earlier, name) if earlier else {}
    kind_of = config_class(kind, factory or name or below.get("encoder", ""))
    user = {"data": name_data(data), "start": str(start), **values}
    user |= {"encoder": name} if name else {}
    given = nest_values(kind_of, user, spell=spell)
    _check_not_supplied(kind_of, given["encoder_options"], factory, spell)
    config = make_config(kind_of, merge_values(nest_values(kind_of, below), given), spell=spell)
    asked = make_config(kind_of, given, spell=spell)
    method_name = name_method(method, kind)
    # what the user has named or handed over, the other processes of the run may import too
    allow_plugins(module_part(place) for place in (method_name, name) if is_import_path(place))
    return RunRequest(
        method=method_name,
        kind=kind,
        config=config,
        encoder=choose_encoder(kind, config, factory),
        asked=_as_written(asked),
        sources=dict.fromkeys(below, "start"),
        earlier=earlier,
    )


# what a run gives the encoder, and the option that sets it
SUPPLIED = {"name": "encoder", "in_channels": "channels", "size": "size", "vocab": "tokenizer"}
SUPPLIED |= {"seed": "seed"}


def _check_not_supplied(
    kind: type[PretrainConfig],
    given: Mapping[str, Any],
    factory: EncoderFactory | None,
    spell: Callable[[str], str],
) -> None:
    """Raises ValueError for what no encoder takes as an option, also where it takes any name."""
    own = list_sections(kind)["encoder_options"].model_fields
    taken = SUPPLIED if factory is None else signature(factory).parameters
    for name in (n for n in given if n in taken and n not in own):
        if (setter := SUPPLIED.get(name, "")) in list_option_paths(kind):
            raise ValueError(
                f"{spell(f'encoder.{name}')} is no option of the encoder; {spell(setter)} sets it"
            )


def choose_encoder(
    kind: type[Method],
    config: PretrainConfig,
    factory: EncoderFactory | None,
) -> EncoderChoice:
    """The encoder with its options; those that go with the method are added where none is given.

    Raises ValueError if the encoder does not have an option that the method needs.
    """
    name, options = config.encoder or kind.default_encoder, config.encoder_options
    added: dict[str, object] = {}
    for option, value in kind.encoder_options.items():
        if option not in type(options).model_fields:
            if factory is None:
                raise ValueError(
                    f"encoder {name} has no option {option}, and {kind.__name__} needs "
                    f"{option}={value}; {kind.default_encoder} has it"
                )
        elif option not in options.model_fields_set:
            added[option] = value
    return EncoderChoice(name, options.replace(**added), factory)


def name_encoder(
    encoder: str | EncoderFactory | nn.Module,
) -> tuple[str, EncoderFactory | None]:
    """An encoder as run.yaml names it, and its factory where it is not one of ours."""
    if isinstance(encoder, str):
        factory = find_factory(encoder) if encoder else None
        return (resolve_import_path(encoder) if is_import_path(encoder) else encoder), factory
    if isinstance(encoder, nn.Module):
        return FROM_PYTHON, ModuleFactory(encoder)
    if not callable(encoder):
        raise ValueError(
            "encoder must be a name, MODULE:NAME, a torch module or a function that makes one, "
            f"not {type(encoder).__name__}"
        )
    return name_import_path(encoder), encoder


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
    known = parse_name(data) if isinstance(data, str) else None
    if known is None:
        return str(Path(data).expanduser().resolve())
    if known.root is None:
        return str(data)
    root = str(known.root.expanduser().resolve())
    return ":".join([known.name, root, *([known.split] if known.split else [])])


def _options_from_start(
    kind: type[Method], start: Path, earlier: RunRecord, encoder: str
) -> dict[str, Any]:
    """The options that go with the weights of an earlier run."""
    below: dict[str, Any] = dict(modality_of(kind).options_from_start(start))
    if not encoder:
        below["encoder"] = earlier.encoder_name
        below |= {f"encoder.{name}": value for name, value in earlier.encoder_options.items()}
    return below


def _as_written(config: PretrainConfig) -> dict[str, Any]:
    """What the user gave, by option, as plain data."""
    given, values = list_options_set(config), flatten_config(config)
    return {n: v for n, v in values.items() if n in given and v is not None and v != ""}
