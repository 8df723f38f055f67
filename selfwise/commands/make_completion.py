"""Print completion of commands and options for a shell: SHELL."""

from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from typing import Any

from selfwise import commands

COMMAND = "completion"
WORDS = "SHELL"
PATHS = frozenset(
    ["data", "train", "test", "out", "init_from", "init_tokens", "config", "tokenizer"]
)  # options that are files
EXAMPLES = (
    "selfwise completion bash > ~/.local/share/bash-completion/completions/selfwise",
    "selfwise completion zsh > ~/.zfunc/_selfwise",
)


def make_completion(shell: str) -> str:
    """Write the script that completes commands, methods and options in a shell.

    Args:
        shell: bash, zsh, tcsh or fish.

    Raises ValueError for another shell, and without the extra `completion`.
    """
    from selfwise.core.errors import did_you_mean
    from selfwise.core.extras import check_extra

    check_extra("completion")
    import shtab

    if shell not in shtab.SUPPORTED_SHELLS:
        near = did_you_mean(shell, shtab.SUPPORTED_SHELLS)
        raise ValueError(f"selfwise does not complete in {shell!r}{near}")
    script: str = shtab.complete(build_parser(), shell)
    return script


def build_parser() -> ArgumentParser:
    """All commands with their options, as shtab reads them; nothing is parsed with it."""
    import shtab

    from selfwise import methods, recipes

    parser = ArgumentParser("selfwise")
    parsers = parser.add_subparsers()
    names = {"METHOD": methods.method_names(), "RECIPE": recipes.recipe_names()}
    for word, command in commands.import_commands().items():
        one = parsers.add_parser(word, help=(command.__doc__ or "").splitlines()[0])
        if words := command.WORDS.strip("[]."):
            one.add_argument(words.lower(), choices=names.get(words))
        for option in _list_options(command, names["METHOD"]):
            argument = one.add_argument(f"--{option.replace('_', '-')}")
            if option in PATHS:
                vars(argument)["complete"] = shtab.FILE
    return parser


def _list_options(command: Any, method_names: list[str]) -> list[str]:
    """The options of a command; where the method decides, those of all methods."""
    from selfwise.core.config_class import list_option_paths

    if command.WORDS == "RECIPE":
        return []
    more = ["json"] if hasattr(command, "to_json") else []
    if not commands.takes_method(command):
        more += ["plugin"] if "RUN" in command.WORDS else []
        return [*list_option_paths(commands.make_option_class(command)), *more]
    kinds = [
        kind
        for method in method_names
        for kind in commands.make_method_classes(command.load_function(), method)
    ]
    names = dict.fromkeys(name for kind in kinds for name in list_option_paths(kind))
    return [*names, "config", "plugin", *more]


def load_function() -> Callable[..., Any]:
    """Import the function that is called with the options."""
    return make_completion


def format_result(result: str, options: Mapping[str, object]) -> str:
    """Format what is printed at the end."""
    return result
