"""Parsing the words of a command line into options; the config classes read the values."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from pydantic.fields import FieldInfo

from selfwise.core.config_class import (
    Config,
    describe_unknown_option,
    format_flag,
    make_config,
    open_prefixes,
    option_fields,
)
from selfwise.core.data_sources import SEVERAL, DataSources
from selfwise.core.option_types import ENCODER_PREFIX
from selfwise.core.plain_data import parse_yaml

HELP = ("--help", "-h")
LENGTHS = ("steps", "epochs", "minutes")  # a run has one of them


Word = tuple[str, str | None]  # an option and its text; None without a value


def split_words(argv: Sequence[str]) -> list[Word]:
    """Return the options of a command line without `--help`.

    Raises ValueError for a word that is neither an option nor its value.
    """
    words, options = [word for word in argv if word not in HELP], list[Word]()
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            raise ValueError(f"unexpected {word!r}: an option such as --out was expected there")
        name, equals, text = word[2:].partition("=")
        has_value = equals or (words and not words[0].startswith("--"))
        value = (text if equals else words.pop(0)) if has_value else None
        options.append((name.replace("-", "_"), value))
    return options


class OptionTable:
    """The options of one command, from its config classes."""

    def __init__(self, *kinds: type[Config], read_before: Sequence[str] = ()):
        self.options: dict[str, FieldInfo] = {}
        self.read_before = read_before  # options that are not in the classes, such as json
        self.takes_any_encoder = False
        for kind in reversed(kinds):
            self.options |= option_fields(kind)
            self.takes_any_encoder |= ENCODER_PREFIX in open_prefixes(kind)

    def read_values(self, argv: Sequence[str]) -> dict[str, object]:
        """Read the options of a command line by name; only options of encoders are read as YAML."""
        return self.convert(split_words(argv))

    def convert(self, words: Iterable[Word]) -> dict[str, object]:
        """Return the values of the options; a switch without a value is `yes`.

        The last of several values counts, so that a script can append options; only for data with
        several sources all count. Raises ValueError for an unknown option, with the nearest one,
        and for a missing value.
        """
        values: dict[str, object] = {}
        places: dict[str, list[str]] = {}
        for name, text in words:
            if name not in self.options and not self._is_of_encoder(name):
                known = [*self.options, *self.read_before]
                raise ValueError(describe_unknown_option(name, known))
            if text is None and name in self.options and self.options[name].annotation is bool:
                text = "yes"
            if text is None:
                raise ValueError(f"{format_flag(name)} needs a value")
            is_encoder = name.startswith(ENCODER_PREFIX)
            values[name] = self._read_encoder_value(name, text) if is_encoder else text
            if name in self.options and SEVERAL in self.options[name].metadata:
                places.setdefault(name, []).append(text)
        return values | {n: DataSources(texts) for n, texts in places.items() if len(texts) > 1}

    def _is_of_encoder(self, name: str) -> bool:
        """Return whether it is an option of an encoder that takes any name."""
        return self.takes_any_encoder and name.startswith(ENCODER_PREFIX)

    def _read_encoder_value(self, name: str, text: str) -> object:
        """Read an option of an encoder: as YAML if it is a list or in quotes, or has no type."""
        if not text:
            raise ValueError(f"{format_flag(name)} needs a value")
        has_type = name in self.options and self.options[name].annotation is not Any
        if has_type and text[0] not in '[{"':
            return text
        try:
            value = parse_yaml(text, "the value")
        except ValueError as error:
            reason = str(error).partition(": ")[2]
            raise ValueError(
                f"{format_flag(name)} is not a YAML value: {text[:80]!r} ({reason})"
            ) from error
        # 1e-3 is a number everywhere except in YAML 1.1
        exponent = value == text and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", text)
        return float(text) if exponent else value


def take_option(name: str, words: list[Word]) -> list[str]:
    """Remove a repeatable option from the words, and return its texts.

    Raises ValueError if a value is missing.
    """
    texts = [text for option, text in words if option == name]
    words[:] = [word for word in words if word[0] != name]
    if None in texts:
        raise ValueError(f"{format_flag(name)} needs a value")
    return [text for text in texts if text is not None]


def split_positional(
    words: str, argv: Sequence[str], *, usage: str
) -> tuple[dict[str, object], list[str]]:
    """Return the words before the options, by parameter name, and the rest.

    Args:
        words: the words that a command takes: "RUN", "RUN..." for one or more, "[NAME]" for none or
            one, or several words.
        argv: the arguments after the command.
        usage: text of the error if a word is missing.
    """
    names = words.strip("[]").lower().split()
    first = next((i for i, word in enumerate(argv) if word.startswith("--")), len(argv))
    if words.endswith("..."):
        if not first:
            raise ValueError(usage)
        return {f"{names[0][:-3]}s": list(argv[:first])}, list(argv[first:])
    if first < len(names) and not words.startswith("["):
        raise ValueError(usage)
    count = min(first, len(names))
    return dict(zip(names, argv[:count])), list(argv[count:])


def typed_values(kind: type[Config], values: Mapping[str, Any]) -> dict[str, object]:
    """Return the values that a config class has, with their types."""
    config = make_config(kind, {n: v for n, v in values.items() if n in kind.model_fields})
    return {name: getattr(config, name) for name in config.model_fields_set}


def check_required(names: Collection[str], values: Mapping[str, Any]) -> None:
    """Raise ValueError for options that the command line requires and Python does not."""
    if missing := [format_flag(name) for name in names if name not in values]:
        raise ValueError(f"{', '.join(missing)} must be given")


def wants_help(argv: Sequence[str]) -> bool:
    """Return whether `--help` is among the arguments."""
    return bool({*HELP} & {*argv})


def drop_lengths(values: dict[str, object], flags: Collection[str]) -> dict[str, object]:
    """Return the options of a file, without its length if the command line gives one."""
    if not any(name in flags for name in LENGTHS):
        return values
    return {name: value for name, value in values.items() if name not in LENGTHS}


def first_paragraph(function: Callable[..., object]) -> str:
    """Return the text of a docstring before its arguments."""
    return " ".join((function.__doc__ or "").partition("Args:")[0].split())
