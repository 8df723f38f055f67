"""All options of a run; the set of options depends on the method and on the encoder."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import create_model
from torch import nn

from selfwise.core.config_class import (
    AbsolutePath,
    Config,
    list_option_paths,
    list_sections,
    make_config,
    make_options_class,
    merge_values,
    nest_values,
    select_values,
    spell_option,
)
from selfwise.core.errors import did_you_mean
from selfwise.core.extras import check_modality
from selfwise.core.plugins import (
    FROM_PYTHON,
    allow_plugins,
    is_import_path,
    module_part,
)
from selfwise.methods import Method
from selfwise.modalities import modality_of
from selfwise.modalities.modality import AnyModality, EncoderChoice, EncoderFactory
from selfwise.modalities.text.token_table import WORD2VEC
from selfwise.runs.names import (
    ModuleFactory,
    ModuleOptions,
    find_method_class,
    find_recorded_encoder,
    name_encoder,
    name_method,
    name_sources,
)
from selfwise.runs.run_yaml import RunRecord, has_record, read_record
from selfwise.runs.tune_config import TuningConfig
from selfwise.training.config import TrainingConfig

_NEEDS: dict[type[Method], type[Config]] = {}
_CLASSES: dict[tuple[type[Method], type[Config]], type["PretrainConfig"]] = {}


class PretrainConfig(Config):
    """The options of a run, in sections; users see one flat list."""

    data: str | list[str]
    """The examples: a folder, a file or a name; in Python also the examples themselves. A run on
    text may have several sources."""
    encoder: str = ""
    """Name of an encoder; MODULE:NAME or FILE.py:NAME of an external one. By default the encoder of
    `init_from`, otherwise one that suits the method and a small machine."""
    init_from: Annotated[str, AbsolutePath()] = ""
    """Folder of an earlier run whose encoder weights initialize this run. A run with the
    same text method also takes the heads and the tokenizer."""
    seed: int = 0
    """Seed of every random draw."""
    defaults: Literal["auto", "paper"] = "auto"
    """Where the values of other options come from: auto fits them to the data and the budget, paper
    has the values of the method's paper. run.yaml records each value with its source."""
    method_options: Config
    needs_options: Config
    training: TrainingConfig = TrainingConfig()
    tuning: TuningConfig = TuningConfig()
    reading: Config
    encoder_options: Config


@dataclass(frozen=True)
class RunRequest:
    """A requested run: its options, and the code that they name."""

    method: str
    """The name in run.yaml."""
    kind: type[Method]
    config: PretrainConfig
    modality: AnyModality
    encoder: EncoderChoice
    requested: Mapping[str, Any]
    """The user's options, by name."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Sources of values that the user did not give."""
    earlier: RunRecord | None = None
    """The record of the run in `init_from`."""
    is_outside: bool = False
    """Whether the method is from outside the package and not found by an entry point."""

    def with_devices(self, devices: int) -> "RunRequest":
        """Return the request with the number of processes that torchrun or SLURM started."""
        training = self.config.training.replace(devices=devices)
        return replace(self, config=self.config.replace(training=training))

    def check_importable(self) -> None:
        """Raise ValueError for code that other processes cannot import."""
        for what, name in (("method", self.method), ("encoder", self.encoder.name)):
            if name == FROM_PYTHON:
                raise ValueError(
                    f"{spell_option('devices')} starts processes that import the {what} "
                    f"themselves, but this {what} exists only in Python: put it into a file "
                    "and name it FILE.py:NAME"
                )


def config_class(
    method: str | type[Method], encoder: str | EncoderFactory = ""
) -> type[PretrainConfig]:
    """Return the config class for a method and an encoder. Raises ValueError for unknown names."""
    kind = find_method_class(method)
    modality = modality_of(kind)
    name, factory = name_encoder(encoder or kind.default_encoder)
    return _config_class(kind, modality, encoder_class(modality, name, factory))


def _config_class(
    kind: type[Method], modality: AnyModality, encoder_options: type[Config]
) -> type[PretrainConfig]:
    key = (kind, encoder_options)
    if key not in _CLASSES:
        needs = needs_class(kind)
        _CLASSES[key] = create_model(
            f"{kind.__name__}Config",
            __base__=PretrainConfig,
            method_options=(method_class_options(kind), ...),
            needs_options=(needs, ...),
            reading=(modality.reading, ...),
            encoder_options=(encoder_options, ...),
        )
    return _CLASSES[key]


def encoder_class(modality: AnyModality, name: str, factory: EncoderFactory | None) -> type[Config]:
    """Return the config class of an encoder's options: ours by name, external ones by factory."""
    if factory is None:
        return modality.find_encoder_options(name)
    if isinstance(factory, ModuleFactory):
        return ModuleOptions
    return make_options_class(
        factory, skip=modality.encoder_facts, prefix="encoder.", positional=True
    )


def method_class_options(kind: type[Method]) -> type[Config]:
    """Return the config class of a method's own options."""
    return make_options_class(kind, skip={"encoder", *kind.needs})


def needs_class(kind: type[Method]) -> type[Config]:
    """Return a class with one section for each need of a method that has options."""
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
    init_from: str | Path = "",
    spell: Callable[[str], str] = spell_option,
) -> RunRequest:
    """Return the run that the user describes, with every option checked.

    Args:
        method: name, place, or class of a method.
        values: the other options, flat or nested.
        data: location of the examples, or the examples.
        encoder: name or place of an encoder, a factory, or a module.
        init_from: folder of the run whose weights initialize this run.
        spell: returns an option as the user writes it.

    Raises ValueError with one sentence for invalid options.
    """
    method_name, kind, is_outside = name_method(method)
    modality = modality_of(kind)
    check_modality(modality.name)
    user = {"data": name_sources(data), "init_from": str(init_from), **values}
    earlier, below = None, dict[str, object]()
    if init_from:
        earlier = read_record(Path(init_from))
        below = _options_from_start(modality, Path(init_from), earlier, encoder)
    if encoder != "":
        name, factory = name_encoder(encoder)
        user["encoder"] = name
    elif earlier is not None:
        name, factory = earlier.encoder_name, find_recorded_encoder(Path(init_from), earlier)
    else:
        name, factory = name_encoder(kind.default_encoder)
    kind_of = _config_class(kind, modality, encoder_class(modality, name, factory))
    nested = nest_values(kind_of, user, spell=spell)
    encoder_options = nested["encoder_options"]
    if isinstance(encoder_options, Mapping) and encoder_options:
        _check_not_supplied(kind_of, encoder_options, factory, spell)
    merged = merge_values(nest_values(kind_of, below), nested) if below else nested
    config = make_config(kind_of, merged, spell=spell)
    if tokens := getattr(config.reading, "init_tokens", ""):  # only text has it
        _check_init_tokens(Path(tokens), init_from, spell)
    requested = select_values(config, nested)
    if ":" in method_name + name:
        # other processes of the run may also import code that the user named or passed
        allow_plugins(module_part(place) for place in (method_name, name) if is_import_path(place))
    return RunRequest(
        method=method_name,
        kind=kind,
        config=config,
        modality=modality,
        encoder=choose_encoder(kind, config, name, factory),
        requested={option: value for option, value in requested.items() if value not in (None, "")},
        sources=dict.fromkeys(below, "init_from"),
        earlier=earlier,
        is_outside=is_outside,
    )


def _check_init_tokens(folder: Path, init_from: str | Path, spell: Callable[[str], str]) -> None:
    """Raise ValueError unless it is word2vec or a run on text, and nothing else sets the table."""
    if init_from:
        raise ValueError(
            f"{spell('init_from')} and {spell('init_tokens')} both set the token table: give one "
            "of them"
        )
    if str(folder) == WORD2VEC:
        return
    if not has_record(folder):
        name = folder.name if folder.parent == Path.cwd() else str(folder)
        near = did_you_mean(name, [WORD2VEC])
        raise ValueError(
            f"{spell('init_tokens')} {name} is neither {WORD2VEC} nor the folder of a run"
            f"{near if 'did you mean' in near else ''}"
        )
    if (modality := read_record(folder).modality) != "text":
        raise ValueError(
            f"{spell('init_tokens')} {folder} is a run on {modality}, which has no tokens: give a "
            "run on text"
        )


# arguments that a run gives the encoder, and the option that sets each
SUPPLIED = {
    "name": "encoder",
    "in_channels": "channels",
    "size": "image_size",
    "vocab": "tokenizer",
}
SUPPLIED |= {"seed": "seed"}


def _check_not_supplied(
    kind: type[PretrainConfig],
    options: Mapping[str, Any],
    factory: EncoderFactory | None,
    spell: Callable[[str], str],
) -> None:
    """Raise ValueError for arguments that the run sets and that are not options of the encoder."""
    own = list_sections(kind)["encoder_options"].model_fields
    supplied = SUPPLIED if factory is None else signature(factory).parameters
    for name in (n for n in options if n in supplied and n not in own):
        if (setter := SUPPLIED.get(name, "")) in list_option_paths(kind):
            raise ValueError(
                f"{spell(f'encoder.{name}')} is not an option of the encoder; {spell(setter)} sets "
                "it"
            )


def choose_encoder(
    kind: type[Method],
    config: PretrainConfig,
    name: str,
    factory: EncoderFactory | None,
) -> EncoderChoice:
    """Return the encoder with its options; the method's options fill in those that are not given.

    Raises ValueError if the encoder does not have an option that the method needs.
    """
    options = config.encoder_options
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
    return EncoderChoice(name, options.model_copy(update=added) if added else options, factory)


def _options_from_start(
    modality: AnyModality,
    start: Path,
    earlier: RunRecord,
    encoder: str | EncoderFactory | nn.Module,
) -> dict[str, object]:
    """Return the options that belong to the weights of an earlier run."""
    below: dict[str, object] = dict(modality.options_from_start(start))
    if encoder == "":
        below["encoder"] = earlier.encoder_name
        below |= {f"encoder.{name}": value for name, value in earlier.encoder_options.items()}
    return below
