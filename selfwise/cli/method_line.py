"""The command line of the verbs that train a method: METHOD, and options from four places."""

from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

from selfwise import methods, modalities
from selfwise.cli.flags import Flags, take_config, wants_help
from selfwise.runs import config
from selfwise.runs.arguments import SUPPLIED, not_reading, without_length
from selfwise.runs.argv import as_argv
from selfwise.runs.create import pretrain
from selfwise.training.config import Options

_CONFIG_HELP = """\
  --config FILE         options from a file: a run.yaml, or names and values; flags win
"""


def parse_method_line(
    verb: str, train: Callable[..., Any], argv: Sequence[str]
) -> dict[str, Any] | None:
    """The arguments of `train`: a method, and its options, those of the loop and of reading.

    `train` is `pretrain`, or takes its options too. None after printing the help.
    Raises ValueError with one sentence for what is missing or unknown.
    """
    if not argv or argv[0].startswith("-"):
        if not wants_help(argv):
            raise ValueError(f"name a method first: {', '.join(methods.names())}")
        print(f"usage: selfwise {verb} METHOD [options]\n\nMETHOD: {', '.join(methods.names())}")
        print(f"\nselfwise {verb} METHOD --help lists the options of a method.")
        return None
    kind = methods.find(argv[0])
    about = train if train is not pretrain else kind
    words = " ".join((about.__doc__ or "").partition("Args:")[0].split())
    flags = Flags(f"{verb} {argv[0]}", words, _sources(kind, train))
    if wants_help(argv):
        print(flags.help() + modalities.of(kind).ENCODER_HELP + _CONFIG_HELP)
        return None
    rest, settings = take_config(list(argv[1:]))
    before = without_length(config.options_of(settings), rest) if settings else {}
    return {"method": argv[0], **flags.parse([*as_argv(before, flags.names), *rest])}


def _sources(kind: type[methods.Method], train: Callable[..., Any]) -> list[Any]:
    """What has parameters that become flags, each with the names of those that do not."""
    skipped: set[str | int] = {"method", "options"}
    sources: list[Any] = [(train, skipped)]
    if train is not pretrain:
        own = set(signature(train).parameters)
        sources.append((pretrain, skipped | own))
    sources += [(kind, set(SUPPLIED)), (Options, set())]
    sources.append((modalities.of(kind).opened, set(not_reading(kind))))
    return sources
