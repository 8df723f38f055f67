"""Signatures become flags: the keyword arguments of functions and classes, read from argv."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from selfwise.core.errors import did_you_mean

Documented = Callable[..., Any]

# what run.py gives the encoder, and the flag that sets it
SUPPLIED = {"name": "--encoder", "size": "--size", "seed": "--seed", "in_channels": "--channels"}


class Flags:
    """The flags of one verb.

    Args:
        verb: as the user types it, with its positional arguments: "resume RUN"; "report RUN..."
            takes one or more.
        about: what `--help` says first.
        sources: each with the names of parameters that are no flags.
    """

    def __init__(self, verb: str, about: str, sources: Sequence[tuple[Documented, set[str | int]]]):
        words = verb.split()
        self.positional = [word.lower() for word in words[1:] if word.isupper()]
        repeated = [word[:-3] for word in self.positional if word.endswith("...")]
        self.several = f"{repeated[0]}s" if repeated else ""  # as Python calls it: runs
        self.prog = "selfwise " + verb
        self.parser = ArgumentParser(
            prog=self.prog,
            description=about,
            exit_on_error=False,
            default_env=False,
            allow_abbrev=False,
        )
        for source, skipped in sources:
            add = (
                self.parser.add_class_arguments
                if isinstance(source, type)
                else self.parser.add_function_arguments
            )
            add(source, as_group=False, skip=skipped, fail_untyped=False)
        for action in self.parser._actions:
            if hasattr(action, "_typehint"):
                action._typehint = _as_typed(action._typehint)

    @property
    def names(self) -> list[str]:
        """The flags, as Python names, in the order of the help."""
        return [a.dest for a in self.parser._actions if a.dest != "help" and a.option_strings]

    def parse(self, argv: Sequence[str]) -> dict[str, Any]:
        """The options that were given, by name; what was not given is left out.

        `--encoder.NAME VALUE` becomes an entry of the mapping `encoder`. Raises ValueError with
        one sentence for anything that cannot be.
        """
        pairs = self._pairs(argv)
        dotted = {n.removeprefix("encoder."): v for n, v in pairs if n.startswith("encoder.")}
        tokens = [f"--{name}={value}" for name, value in pairs if "." not in name]
        try:
            given = self.parser.parse_args(tokens, defaults=False).as_dict()
        except ArgumentError as error:
            raise ValueError(_one_line(str(error))) from error
        if dotted:
            options = {name: _encoder_value(name, value) for name, value in dotted.items()}
            default = self.parser.get_defaults().encoder
            given["encoder"] = {"name": given.get("encoder", default), **options}
        return given

    def help(self) -> str:
        text = self.parser.format_help()
        usage = f"usage: {self.prog} [options]\n\n" + text.partition("\n\n")[2]
        return re.sub(r"(?<=--)[a-z_]+", lambda m: m[0].replace("_", "-"), usage)

    def _pairs(self, argv: Sequence[str]) -> list[tuple[str, str]]:
        """Each flag as a Python name, with its value; a lone flag of a truth value is `true`."""
        yes_no = {a.dest for a in self.parser._actions if getattr(a, "_typehint", None) is bool}
        pairs: list[tuple[str, str]] = []
        tokens = list(argv)
        while tokens:
            token = tokens.pop(0)
            if not token.startswith("--"):
                raise ValueError(f"{token!r} stands where an option such as --out was expected")
            name, equals, value = token[2:].partition("=")
            name = name.replace("-", "_")
            self._check_known(name)
            if not equals:
                if tokens and not tokens[0].startswith("--"):
                    value = tokens.pop(0)
                elif name in yes_no:
                    value = "true"
                else:
                    raise ValueError(f"{_flag(name)} needs a value")
            pairs.append((name, value))
        return pairs

    def _check_known(self, name: str) -> None:
        """Raises ValueError with the nearest option for one that there is not."""
        if name.startswith("encoder.") and "encoder" in self.names:
            return
        if name not in self.names:
            known = [_flag(other) for other in self.names]
            raise ValueError(f"unknown option {_flag(name)}{did_you_mean(_flag(name), known)}")


def _flag(name: str) -> str:
    """The option as a user types it."""
    return f"--{name.replace('_', '-')}"


def _as_typed(hint: Any) -> Any:
    """The type to read: text stays as it was typed, where YAML would see a number or a date.

    Mappings are for Python; on the command line `--encoder.NAME` takes their place.
    """
    kinds = {kind for kind in get_args(hint) or [hint] if get_origin(kind) is not Mapping}
    kinds.discard(NoneType)
    if not kinds or not kinds <= {Any, str, Path}:
        return hint
    return Path if kinds == {Path} else str


def _encoder_value(name: str, text: str) -> Any:
    """The value of `--encoder.NAME`, which no signature gives a type."""
    if name in SUPPLIED:
        raise ValueError(f"--encoder.{name} is no option of the encoder; {SUPPLIED[name]} sets it")
    if not text:
        raise ValueError(f"--encoder.{name} needs a value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(getattr(error, "problem", None) or error).split())
        raise ValueError(f"--encoder.{name} is not a YAML value: {text!r} ({reason})") from error
    # 1e-3 is a number to everybody but YAML 1.1
    exponent = isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value)
    return float(value) if exponent else value


def _one_line(message: str) -> str:
    """jsonargparse's report as one sentence."""
    found = re.search(r'Parser key "(\w+)":', message)
    value = re.search(r"(?:Given|Got) value: (.*)", message)
    kinds = re.findall(r"Expected [^<]*<class '(\w+)'>", message)
    if found and value and kinds:
        said = {"bool": "yes or no"}
        words = " or ".join(said.get(k, k) for k in dict.fromkeys(kinds) if k != "NoneType")
        return f"{_flag(found[1])} must be {words}, not {value[1].strip()!r}"
    missing = re.search(r"arguments are required: (.*)", message)
    if missing:
        wanted = ", ".join(_flag(n.strip()) for n in missing[1].split(","))
        return f"{wanted} must be given"
    return " ".join(message.split())


def parse_call(
    verb: str,
    function: Documented,
    argv: Sequence[str],
    *,
    skip: Sequence[str] = (),
    required: Sequence[str] = (),
) -> dict[str, Any] | None:
    """The arguments of a call of `function`, or None after printing the help.

    The words that `verb` has in capitals are the parameters of those names; those in `skip` are no
    options, and those in `required` must be given whatever their default.

    Raises ValueError for what is missing or unknown.
    """
    about = " ".join((function.__doc__ or "").partition("Args:")[0].split())
    words = [word.lower() for word in verb.split() if word.isupper()]
    positional = [f"{word[:-3]}s" if word.endswith("...") else word for word in words]
    flags = Flags(verb, about, [(function, {*skip, *positional})])
    if wants_help(argv):
        print(flags.help())
        return None
    if flags.several:
        return _several(flags, argv)
    wanted = flags.positional
    words = [token for token in argv[: len(wanted)] if not token.startswith("--")]
    if len(words) < len(wanted):
        raise ValueError(f"usage: {flags.prog} [options]")
    kinds = {"run": Path, "folder": Path}
    values = {name: kinds.get(name, str)(word) for name, word in zip(wanted, words)}
    options = flags.parse(argv[len(wanted) :])
    if missing := [_flag(name) for name in required if name not in options]:
        raise ValueError(f"{', '.join(missing)} must be given")
    return values | options


def _several(flags: Flags, argv: Sequence[str]) -> dict[str, Any]:
    """The arguments of a verb that takes one or more folders before its options."""
    options = next((i for i, token in enumerate(argv) if token.startswith("--")), len(argv))
    if not options:
        raise ValueError(f"usage: {flags.prog} [options]")
    return {flags.several: [Path(word) for word in argv[:options]]} | flags.parse(argv[options:])


def wants_help(argv: Sequence[str]) -> bool:
    """Whether the help is asked for."""
    return "--help" in argv or "-h" in argv


def take_config(argv: list[str]) -> tuple[list[str], Path | None]:
    """The arguments without `--config FILE`, and the file. Raises ValueError without a file."""
    if "--config" not in argv:
        return argv, None
    at = argv.index("--config")
    if at + 1 == len(argv):
        raise ValueError("--config needs a file")
    return argv[:at] + argv[at + 2 :], Path(argv[at + 1])
