"""One file is one command, found by its name; a command is also a function of `selfwise`.

A file says, beside its first line, which is the help:

WORDS      what stands before the options: "RUN", "METHOD", "RUN...", "[NAME]" for one that may be
           left out, or nothing
EXAMPLES   two command lines, for the help and for the page of the documentation
COMMAND    the word on the command line, where it is not the name of the file
REQUIRED   options that must be given here, though Python does without them
PYTHON_ONLY  parameters that are no options
SHARED     True if several processes may do it together
load_function  imports the function that is called with the options
format_result  what is printed at the end, given the result and the options
to_json    the result as plain data, for `--json`, where the command has that
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from selfwise.core.config_class import Config


@runtime_checkable
class HasTable(Protocol):
    """A result that is printed as a table."""

    def table(self) -> object: ...


NOT_OPTIONS = ("options", "encoder_options", "plugins", "callbacks")  # of Python alone


def command_names() -> list[str]:
    """The commands as functions of Python, by file name."""
    return sorted(f.stem for f in Path(__file__).parent.glob("*.py") if f.stem != "__init__")


def import_command(name: str) -> ModuleType:
    """The file of a function of Python."""
    return import_module(f"selfwise.commands.{name}")


@cache
def make_api_function(name: str) -> Callable[..., Any]:
    """A command as a function of Python, whose keyword arguments are checked."""
    from selfwise.core.check_arguments import check_arguments

    command = import_command(name)
    function = check_arguments(command.load_function())
    if command.WORDS == "METHOD":
        from selfwise.runs.signatures import list_options

        vars(function)["__signature__"] = list_options(command.load_function())
    return function


def make_option_class(command: ModuleType) -> type["Config"]:
    """The config class of the options of a command whose options are fixed."""
    from selfwise.core.config_class import make_options_class

    words = {word.strip("[].") for word in command.WORDS.lower().split()}
    skip = {*NOT_OPTIONS, *getattr(command, "PYTHON_ONLY", ()), *words, "runs"}
    return make_options_class(command.load_function(), skip=skip, positional=True)


def make_method_classes(
    function: Callable[..., Any], method: str, encoder: str = ""
) -> list[type["Config"]]:
    """The config classes of a command that trains a method, the command's own options first."""
    from selfwise.core.config_class import make_options_class
    from selfwise.runs.create import pretrain
    from selfwise.runs.pretrain_config import config_class

    kind = config_class(method, encoder)
    kinds = [make_options_class(function, skip=NOT_OPTIONS)]
    if function is not pretrain:
        kinds.append(make_options_class(pretrain, skip={*NOT_OPTIONS, *kinds[0].model_fields}))
    return [*kinds, kind]


def import_commands() -> dict[str, ModuleType]:
    """The files by the words of the command line, in their order."""
    files = [import_command(name) for name in command_names()]
    words = {getattr(f, "COMMAND", f.__name__.rpartition(".")[2]): f for f in files}
    return dict(sorted(words.items()))
