"""Signatures become flags: the keyword arguments of functions and classes, read from argv."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from selfwise.names import nearest

Documented = Callable[..., Any]


class Flags:
    """The flags of one verb.

    Args:
        verb: as the user types it, with its positional arguments: "resume RUN".
        about: what `--help` says first.
        sources: each with the names of parameters that are no flags.
    """

    def __init__(self, verb: str, about: str, sources: Sequence[tuple[Documented, set[str | int]]]):
        words = verb.split()
        self.positional = [word.lower() for word in words[1:] if word.isupper()]
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

    @property
    def names(self) -> list[str]:
        """The flags, as Python names, in the order of the help."""
        return [a.dest for a in self.parser._actions if a.dest != "help" and a.option_strings]

    def parse(self, argv: Sequence[str]) -> dict[str, Any]:
        """The options that were given, by name; what was not given is left out.

        `--encoder.NAME VALUE` becomes an entry of the mapping `encoder`. Raises ValueError with
        one sentence for anything that cannot be.
        """
        argv, dotted = _take_dotted(self._spelled(argv))
        for token in argv:
            name = token.partition("=")[0][2:]
            if token.startswith("--") and name not in self.names:
                known = [_flag(other) for other in self.names]
                raise ValueError(f"unknown option {_flag(name)}{nearest(_flag(name), known)}")
        try:
            given = self.parser.parse_args(argv, defaults=False).as_dict()
        except ArgumentError as error:
            raise ValueError(_one_line(str(error))) from error
        if dotted:
            given["encoder"] = {"name": given.get("encoder", "resnet18"), **dotted}
        return given

    def help(self) -> str:
        text = self.parser.format_help()
        usage = f"usage: {self.prog} [options]\n\n" + text.partition("\n\n")[2]
        return re.sub(r"(?<=--)[a-z_]+", lambda m: m[0].replace("_", "-"), usage)

    def _spelled(self, argv: Sequence[str]) -> list[str]:
        """Dashes become underscores, and a lone flag of a truth value becomes `true`."""
        yes_no = {a.dest for a in self.parser._actions if getattr(a, "_typehint", None) is bool}
        tokens: list[str] = []
        for i, token in enumerate(argv):
            if not token.startswith("--"):
                tokens.append(token)
                continue
            name, equals, value = token[2:].partition("=")
            name = name.replace("-", "_")
            tokens.append(f"--{name}{equals}{value}")
            lone = i + 1 == len(argv) or argv[i + 1].startswith("--")
            if name in yes_no and not equals and lone:
                tokens.append("true")
        return tokens


def as_argv(options: dict[str, Any], known: Sequence[str]) -> list[str]:
    """A mapping of options as command line, so that flags behind it win.

    Raises ValueError for a name that is no flag.
    """
    tokens: list[str] = []
    for name, value in options.items():
        if name == "encoder" and isinstance(value, dict):
            inner = {f"encoder.{k}" if k != "name" else "encoder": v for k, v in value.items()}
            tokens += [t for k, v in inner.items() for t in (f"--{k}", _text(v))]
        elif name not in known:
            raise ValueError(f"unknown option {name!r} in the configuration{nearest(name, known)}")
        elif value is not None:
            tokens += [f"--{name}", _text(value)]
    return tokens


def _flag(name: str) -> str:
    """The option as a user types it."""
    return f"--{name.replace('_', '-')}"


def _text(value: Any) -> str:
    return (
        value
        if isinstance(value, str)
        else yaml.safe_dump(value, default_flow_style=True).split("\n...", 1)[0].strip()
    )


def _take_dotted(argv: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Take `--encoder.NAME VALUE` out of the line."""
    rest: list[str] = []
    dotted: dict[str, Any] = {}
    tokens = iter(argv)
    for token in tokens:
        if not token.startswith("--encoder."):
            rest.append(token)
            continue
        name, equals, value = token.removeprefix("--encoder.").partition("=")
        value = value if equals else next(tokens, "")
        if not value:
            raise ValueError(f"--encoder.{name} needs a value")
        dotted[name] = yaml.safe_load(value)
    return rest, dotted


def _one_line(message: str) -> str:
    """jsonargparse's report as one sentence."""
    found = re.search(r'Parser key "(\w+)":', message)
    value = re.search(r"Given value: (.*)", message)
    kinds = re.findall(r"Expected [^<]*<class '(\w+)'>", message)
    if found and value and kinds:
        words = " or ".join(k for k in dict.fromkeys(kinds) if k != "NoneType")
        return f"{_flag(found[1])} must be {words}, not {value[1].strip()!r}"
    missing = re.search(r"arguments are required: (.*)", message)
    if missing:
        wanted = ", ".join(_flag(n.strip()) for n in missing[1].split(","))
        return f"{wanted} must be given"
    return " ".join(message.split())
