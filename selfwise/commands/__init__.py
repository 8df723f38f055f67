"""Commands: every file is one, found by its name; a command is also a function of `selfwise`.

The first line of a file is its help. A file also defines:

WORDS      the words before the options: "RUN", "METHOD", "RUN...", "[NAME]" for an optional word,
           or nothing
EXAMPLES   two command lines, for the help and for the documentation page
COMMAND    the word on the command line, if it differs from the file's name
REQUIRED   options that the command line requires and Python does not
PYTHON_ONLY  parameters that are not options
SHARED     True if several processes may run it together
load_function  imports the function that is called with the options
propose_method  the method for the data of a command line that names none, for "[METHOD]"
format_result  the text to print at the end, given the result and the options
to_json    the result as plain data, for `--json`, if the command has that option
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


NOT_OPTIONS = ("options", "encoder_options", "plugins", "callbacks")  # only in Python


def command_names() -> list[str]:
    """Return the commands as Python function names, by file name."""
    return sorted(f.stem for f in Path(__file__).parent.glob("*.py") if f.stem != "__init__")


def takes_method(command: ModuleType) -> bool:
    """Return whether a command trains a method, whose options it has."""
    return command.WORDS in ("METHOD", "[METHOD]")


def import_command(name: str) -> ModuleType:
    """Import the file of a Python function."""
    return import_module(f"selfwise.commands.{name}")


@cache
def make_api_function(name: str) -> Callable[..., Any]:
    """Return a command as a Python function whose keyword arguments are checked."""
    from selfwise.core.check_arguments import check_arguments
    from selfwise.core.progress import obey_quiet

    command = import_command(name)
    function = check_arguments(obey_quiet(command.load_function()))
    if takes_method(command):
        from selfwise.runs.signatures import list_options

        vars(function)["__signature__"] = list_options(command.load_function())
    return function


def make_option_class(command: ModuleType) -> type["Config"]:
    """Return the config class of a command whose options are fixed."""
    from selfwise.core.config_class import make_options_class

    words = {word.strip("[].") for word in command.WORDS.lower().split()}
    skip = {*NOT_OPTIONS, *getattr(command, "PYTHON_ONLY", ()), *words, "runs"}
    return make_options_class(command.load_function(), skip=skip, positional=True)


def make_method_classes(
    function: Callable[..., Any], method: str, encoder: str = ""
) -> list[type["Config"]]:
    """Return the config classes of a command that trains a method, its own options first."""
    from selfwise.core.config_class import make_options_class
    from selfwise.runs.create import pretrain
    from selfwise.runs.pretrain_config import config_class

    kind = config_class(method, encoder)
    kinds = [make_options_class(function, skip=NOT_OPTIONS)]
    if function is not pretrain:
        kinds.append(make_options_class(pretrain, skip={*NOT_OPTIONS, *kinds[0].model_fields}))
    return [*kinds, kind]


def import_commands() -> dict[str, ModuleType]:
    """Return the files by their words on the command line, in order."""
    files = [import_command(name) for name in command_names()]
    words = {getattr(f, "COMMAND", f.__name__.rpartition(".")[2]): f for f in files}
    return dict(sorted(words.items()))
