"""Options as frozen, typed classes. Flags, files, Python and run.yaml produce equal instances.

A config is created once, at the edge, and passed on whole. Users see one flat list of options: the
sections of a class are for the code that reads them.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import MISSING, fields
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_type_hints

from docstring_parser import parse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from selfwise.core.errors import did_you_mean
from selfwise.core.option_types import describe_bounds, get_hint, list_choices

Spell = Callable[[str], str]  # returns an option as the user writes it: --batch-size for batch_size
Values = Mapping[str, object]
Documented = Callable[..., object]

_KINDS = {"int": "a whole number", "float": "a number", "bool": "yes or no", "string": "text"}

S = TypeVar("S", bound="Config")


class Config(BaseModel):
    """Base of all config classes: rejects unknown names, and never changes afterwards."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        arbitrary_types_allowed=True,
        coerce_numbers_to_str=True,
    )
    prefix: ClassVar[str] = ""  # of its options as users write them: "encoder." for encoder.depth

    def replace(self: S, **changes: object) -> S:
        """Return a copy with some values changed, which are not checked again."""
        return self.model_copy(update=changes)


def AbsolutePath(*words: str) -> AfterValidator:  # used like a class
    """Return a validator that makes an existing path absolute; `words` stay unchanged."""

    def resolve_path(text: str) -> str:
        if not text or text.partition(":")[0] in words:
            return text
        path = Path(text).expanduser()
        return str(path.resolve()) if path.exists() else text

    return AfterValidator(resolve_path)


C = TypeVar("C", bound=Config)
_OPTIONS: dict[object, type[Config]] = {}  # one class per function, so that equal configs are equal


def format_flag(option: str) -> str:
    """Return an option as typed on a command line."""
    return f"--{option.replace('_', '-')}"


_spell: ContextVar[Spell] = ContextVar("spell", default=format_flag)


def spell_option(option: str) -> str:
    """Return an option as the user writes it: a flag, or a keyword in a call from Python."""
    return _spell.get()(option)


@contextmanager
def spell_options_as(spell: Spell) -> Iterator[None]:
    """Make errors spell options this way inside the context."""
    token = _spell.set(spell)
    try:
        yield
    finally:
        _spell.reset(token)


def make_config(kind: type[C], values: Values, *, spell: Spell = spell_option) -> C:
    """Return an instance of `kind` from plain values, nested as the class is.

    Raises ValueError with one sentence: which option, what is wrong, what would be right.
    """
    _check_null(values, spell)
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise ValueError(_explain(error, kind, spell)) from None


def _check_null(values: Values, spell: Spell) -> None:
    """Raise ValueError for a null character, which only a file or Python can put into a value."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            _check_null(value, spell)
        parts = value if isinstance(value, list | tuple) else [value]
        for part in (str(one) for one in parts if isinstance(one, str | Path)):
            if "\0" in part:
                raise ValueError(
                    f"{spell(name)} {part} has a null character, which names of files and "
                    "folders cannot have"
                )


def make_options_class(
    function: Documented,
    *,
    skip: Collection[str] = (),
    prefix: str = "",
    positional: bool = False,
) -> type[Config]:
    """Return a config class of the keyword-only parameters of a function or class, with their docs.

    A function that takes `**options` gives a class that takes options of any name. `positional`:
    parameters that may be given by name are options too.
    """
    key = (function, frozenset(skip), prefix, positional)
    kinds = {Parameter.KEYWORD_ONLY, *([Parameter.POSITIONAL_OR_KEYWORD] if positional else [])}
    if key not in _OPTIONS:
        parameters = [p for n, p in signature(function).parameters.items() if n not in skip]
        about = _read_descriptions(function)
        chosen: dict[str, Any] = {
            p.name: (_find_annotation(p), _make_field(p.default, about.get(p.name)))
            for p in parameters
            if p.kind in kinds
        }
        name = f"{getattr(function, '__name__', 'Some')}_options"
        _OPTIONS[key] = create_model(name, __base__=Config, **chosen)
        _OPTIONS[key].prefix = prefix
        if any(p.kind is Parameter.VAR_KEYWORD for p in parameters):
            _OPTIONS[key] = create_model(name, __base__=(_OPTIONS[key], _Open))
    return _OPTIONS[key]


def make_overrides_class(shape: type, *, prefix: str = "") -> type[Config]:
    """Return a class with the fields of the dataclass `shape`; None means the preset's value."""
    key = (shape, prefix)
    if key not in _OPTIONS:
        about = _read_descriptions(shape)
        hints = get_type_hints(shape, include_extras=True)
        chosen: dict[str, Any] = {
            one.name: (hints[one.name] | None, _make_field(None, about.get(one.name)))
            for one in fields(shape)
        }
        _OPTIONS[key] = create_model(f"{shape.__name__}Overrides", __base__=Config, **chosen)
        _OPTIONS[key].prefix = prefix
    return _OPTIONS[key]


class _Open(Config):
    """Takes options of any name, which another model checks."""

    model_config = ConfigDict(extra="allow")


def is_open(kind: type[Config]) -> bool:
    """Return whether a class takes options of any name."""
    return kind.model_config.get("extra") == "allow"


def drop_none(config: Config) -> dict[str, object]:
    """Return the values of a config that are not None, by name."""
    return {name: value for name, value in config if value is not None}


def list_sections(kind: type[Config]) -> dict[str, type[Config]]:
    """Return the fields of a config class that are config classes themselves."""
    return {
        name: field.annotation
        for name, field in kind.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Config)
    }


def list_option_paths(kind: type[Config]) -> dict[str, tuple[str, ...]]:
    """Return each option as users write it, and the path of fields that leads to it."""
    inner = list_sections(kind)
    paths: dict[str, tuple[str, ...]]
    paths = {kind.prefix + name: (name,) for name in kind.model_fields if name not in inner}
    for name, section in inner.items():
        for option, path in list_option_paths(section).items():
            if option in paths:
                raise TypeError(f"{option} is an option twice: {paths[option]} and {(name, *path)}")
            paths[option] = (name, *path)
    return paths


def option_fields(kind: type[Config]) -> dict[str, FieldInfo]:
    """Return each option as users write it, and its field."""
    return {name: find_field(kind, path) for name, path in list_option_paths(kind).items()}


def open_prefixes(kind: type[Config]) -> set[str]:
    """Return the prefixes of options that may have any name, such as "encoder."."""
    return {section.prefix for section in list_sections(kind).values() if is_open(section)}


def find_field(kind: type[Config], path: tuple[str, ...]) -> FieldInfo:
    """Return the field at a path of `list_option_paths`."""
    for name in path[:-1]:
        kind = list_sections(kind)[name]
    return kind.model_fields[path[-1]]


def nest_values(
    kind: type[Config], values: Values, *, spell: Spell = spell_option
) -> dict[str, object]:
    """Return names and values nested as in the class, from a flat or a nested list.

    Raises ValueError with the nearest option for a name that no section has.
    """
    paths, inner = list_option_paths(kind), list_sections(kind)
    nested: dict[str, object] = {name: nest_values(section, {}) for name, section in inner.items()}
    for name, value in values.items():
        if name in inner and isinstance(value, Mapping):
            nested = merge_values(nested, {name: value})
        elif path := paths.get(name) or _open_path(kind, name):
            *outer, last = path
            placed: dict[str, object] = {last: value}
            for step in reversed(outer):
                placed = {step: placed}
            nested = merge_values(nested, placed)
        else:
            raise ValueError(describe_unknown_option(name, paths, spell))
    return nested


def describe_unknown_option(
    name: str, options: Collection[str], spell: Spell = spell_option
) -> str:
    """Return the error for an unknown option, with the nearest option."""
    return f"unknown option {spell(name)}{did_you_mean(spell(name), map(spell, options))}"


def _open_path(kind: type[Config], option: str) -> tuple[str, ...]:
    """Return the path of an option that no class lists: the open section with its prefix."""
    for name, section in list_sections(kind).items():
        if section.prefix and option.startswith(section.prefix) and is_open(section):
            return (name, option.removeprefix(section.prefix))
    return ()


def flatten_config(config: Config) -> dict[str, object]:
    """Return each option as users write it, and its value; the inverse of `nest_values`."""
    flat: dict[str, object] = {}
    for name, value in config:
        if isinstance(value, Config):
            flat |= flatten_config(value)
        else:
            flat[config.prefix + name] = value
    return flat


def select_values(config: Config, nested: Values) -> dict[str, object]:
    """Return the values of a config for the options in `nested`, as users write them."""
    flat: dict[str, object] = {}
    for name, value in config:
        inner = nested.get(name)
        if isinstance(value, Config) and isinstance(inner, Mapping):
            flat |= select_values(value, inner)
        elif name in nested:
            flat[config.prefix + name] = value
    return flat


def merge_values(below: Values, above: Values) -> dict[str, object]:
    """Merge both mappings section by section; if both have a value, `above` wins."""
    merged: dict[str, object] = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            value = merge_values(old, value)
        merged[name] = value
    return merged


def _find_annotation(parameter: Parameter) -> object:
    """Return the type of a parameter; without one, any value is accepted."""
    return Any if parameter.annotation is Parameter.empty else parameter.annotation


def _make_field(default: object, description: str | None) -> object:
    required = default is Parameter.empty or default is MISSING
    return Field(... if required else default, description=description)


def _read_descriptions(function: Documented) -> dict[str, str]:
    """Return the docstring's description of each parameter."""
    text = parse(function.__doc__ or "")
    return {p.arg_name: " ".join((p.description or "").split()) for p in text.params}


def _explain(error: ValidationError, kind: type[Config], spell: Spell) -> str:
    """Describe the first wrong value in one sentence."""
    first = error.errors()[0]
    paths = list_option_paths(kind)
    names = {path: option for option, path in paths.items()}
    place = tuple(str(step) for step in first["loc"])
    field_path = next((place[:n] for n in range(len(place), 0, -1) if place[:n] in names), None)
    option = spell(names[field_path] if field_path else ".".join(place))
    what, value = first["type"], first["input"]
    if what == "missing":
        return f"{option} must be given"
    if what == "extra_forbidden":
        return describe_unknown_option(_full_name(kind, place), paths, spell)
    if what == "value_error":
        return first["msg"].removeprefix("Value error, ")
    hint = get_hint(find_field(kind, field_path)) if field_path else object
    if what == "finite_number" or first.get("ctx", {}).keys() & {"ge", "gt", "le", "lt"}:
        return f"{option} must be {describe_bounds(hint) or 'finite'}, got {value}"
    kinds = [_KINDS[k] for e in error.errors() if (k := e["type"].partition("_")[0]) in _KINDS]
    if choices := [str(choice) for choice in list_choices(hint)]:
        near = did_you_mean(str(value), choices)
        near = near if near.startswith("; did") else ""
        allowed = join_choices(dict.fromkeys([*kinds, *choices]))
        return f"{option} must be {allowed}, not {_quote(value)}{near}"
    if kinds and field_path:
        return f"{option} must be {join_choices(dict.fromkeys(kinds))}, not {_quote(value)}"
    return f"{option}: {first['msg']}, not {_quote(value)}"


def _full_name(kind: type[Config], place: tuple[str, ...]) -> str:
    for name in place[:-1]:
        kind = list_sections(kind).get(name, kind)
    return kind.prefix + place[-1]


def join_choices(choices: Collection[object]) -> str:
    """Format choices as `a, b or c`."""
    words = [str(choice) for choice in choices]
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _quote(value: object) -> str:
    return repr(str(value) if isinstance(value, Path) else value)
