"""One file is one command, found by its name; a command is also a function of `selfwise`.

A file says, beside its first line, which is the help:

WORDS      what stands before the options: "RUN", "METHOD", "RUN...", or nothing
COMMAND    the word on the command line, where it is not the name of the file
REQUIRED   options that must be given here, though Python does without them
PYTHON_ONLY  parameters that are no options
SHARED     True if several processes may do it together
function   -> the function that is called with the options
say        what is printed at the end, given the result and the options
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any


def names() -> list[str]:
    """The commands as functions of Python, by file name."""
    return sorted(f.stem for f in Path(__file__).parent.glob("*.py") if f.stem != "__init__")


def named(name: str) -> ModuleType:
    """The file of a function of Python."""
    return import_module(f"selfwise.commands.{name}")


@cache
def api_function(name: str) -> Callable[..., Any]:
    """A command as a function of Python, whose keyword arguments are checked."""
    from selfwise.core.config import check_arguments

    command = named(name)
    function = check_arguments(command.function())
    if command.WORDS == "METHOD":
        from selfwise.runs.signatures import list_options

        vars(function)["__signature__"] = list_options(command.function())
    return function


def by_word() -> dict[str, ModuleType]:
    """The files by the words of the command line, in their order."""
    files = [named(name) for name in names()]
    words = {getattr(f, "COMMAND", f.__name__.rpartition(".")[2]): f for f in files}
    return dict(sorted(words.items()))
