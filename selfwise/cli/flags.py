"""The words of a command line become options; the config classes read their values."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from selfwise.core.config import (
    Config,
    describe_unknown_option,
    find_field,
    format_flag,
    is_open,
    list_option_paths,
    list_sections,
    make_config,
)

ENCODER = "encoder."  # in front of the options of an encoder
LENGTHS = ("steps", "epochs", "minutes")  # of which a run has one


class OptionField(NamedTuple):
    """What a command line has to know of an option."""

    kind: type[Config]
    path: tuple[str, ...]

    @property
    def is_switch(self) -> bool:
        """Whether the option may stand without a value."""
        return find_field(self.kind, self.path).annotation is bool

    @property
    def has_type(self) -> bool:
        """Whether its values are converted; those of a parameter without a type are not."""
        return find_field(self.kind, self.path).annotation is not Any


class OptionTable:
    """The options of one command, from the config classes that it makes."""

    def __init__(self, *kinds: type[Config]):
        self.kinds = kinds
        self.options = {
            name: OptionField(kind, path)
            for kind in reversed(kinds)
            for name, path in list_option_paths(kind).items()
        }
        self.takes_any_encoder = any(
            is_open(section) for kind in kinds for section in list_sections(kind).values()
        )

    def check_known(self, name: str) -> None:
        """Raises ValueError with the nearest option for one that there is not."""
        if name in self.options or (self.takes_any_encoder and name.startswith(ENCODER)):
            return
        raise ValueError(describe_unknown_option(name, self.options))

    def split_words(self, argv: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Each option with its text; a switch without a value is `yes`.

        Raises ValueError for what is not an option, or lacks a value.
        """
        words = list(argv)
        while words:
            word = words.pop(0)
            if not word.startswith("--"):
                raise ValueError(f"{word!r} stands where an option such as --out was expected")
            name, equals, text = word[2:].partition("=")
            name = name.replace("-", "_")
            self.check_known(name)
            if not equals:
                if words and not words[0].startswith("--"):
                    text = words.pop(0)
                elif name in self.options and self.options[name].is_switch:
                    text = "yes"
                else:
                    raise ValueError(f"{format_flag(name)} needs a value")
            yield name, text

    def read_values(self, argv: Sequence[str]) -> dict[str, Any]:
        """The options of a command line, by name; only those of encoders are read as YAML."""
        return {
            name: self._read_encoder_value(name, text) if name.startswith(ENCODER) else text
            for name, text in self.split_words(argv)
        }

    def _read_encoder_value(self, name: str, text: str) -> Any:
        """An option of an encoder: as YAML if it is a list or in quotes, or has no type."""
        if not text:
            raise ValueError(f"{format_flag(name)} needs a value")
        known = self.options.get(name)
        if known and known.has_type and text[0] not in '[{"':
            return text
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            reason = " ".join(str(getattr(error, "problem", None) or error).split())
            raise ValueError(
                f"{format_flag(name)} is not a YAML value: {text!r} ({reason})"
            ) from error
        # 1e-3 is a number to everybody but YAML 1.1
        exponent = value == text and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", text)
        return float(value) if exponent else value


def find_option(name: str, argv: Sequence[str]) -> str:
    """The value of an option that has to be known before all others are, or nothing."""
    words = [*argv, ""]
    after = [words[i + 1] for i, word in enumerate(words) if word == format_flag(name)]
    equals = [w.partition("=")[2] for w in words if w.startswith(f"{format_flag(name)}=")]
    return (after + equals or [""])[-1]


def take_option(name: str, argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments without an option, and its values. Raises ValueError if one is missing."""
    rest: list[str] = []
    values: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        if word == format_flag(name):
            if not words:
                raise ValueError(f"{format_flag(name)} needs a value")
            values.append(words.pop(0))
        elif word.startswith(f"{format_flag(name)}="):
            values.append(word.partition("=")[2])
        else:
            rest.append(word)
    return rest, values


def split_positional(
    words: str, argv: Sequence[str], *, usage: str
) -> tuple[dict[str, Any], list[str]]:
    """What stands before the options, by the name of the parameter, and the rest.

    Args:
        words: what a command takes: "RUN", "RUN..." for one or more, or several words.
        argv: after the command.
        usage: what to say where something is missing.
    """
    names = words.lower().split()
    first = next((i for i, word in enumerate(argv) if word.startswith("--")), len(argv))
    if words.endswith("..."):
        if not first:
            raise ValueError(usage)
        return {f"{names[0][:-3]}s": list(argv[:first])}, list(argv[first:])
    if first < len(names):
        raise ValueError(usage)
    return dict(zip(names, argv)), list(argv[len(names) :])


def typed_values(kind: type[Config], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a config class with their types; what was not given is left out."""
    config = make_config(kind, values)
    return {name: getattr(config, name) for name in config.model_fields_set}


def check_required(names: Collection[str], values: Mapping[str, Any]) -> None:
    """Raises ValueError for options that must be given, though Python does without them."""
    if missing := [format_flag(name) for name in names if name not in values]:
        raise ValueError(f"{', '.join(missing)} must be given")


def wants_help(argv: Sequence[str]) -> bool:
    """Whether `--help` is among the arguments."""
    return "--help" in argv or "-h" in argv


def drop_lengths(values: dict[str, Any], flags: Collection[str]) -> dict[str, Any]:
    """The options of a file, without its length if the command line gives one."""
    if not any(name in flags for name in LENGTHS):
        return values
    return {name: value for name, value in values.items() if name not in LENGTHS}


def first_paragraph(function: Callable[..., object]) -> str:
    """What a docstring says before its arguments."""
    return " ".join((function.__doc__ or "").partition("Args:")[0].split())
