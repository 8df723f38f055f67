"""Entry point of the command line: a command's name and its options."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from inspect import signature
from types import ModuleType

from selfwise import commands
from selfwise.cli import output
from selfwise.core.errors import describe_system_error, did_you_mean
from selfwise.core.little_memory import describe_memory_error, warn_of_limit
from selfwise.core.progress import obey_quiet
from selfwise.core.visible_text import escape_invisible, escape_line, print_visible

Argv = Sequence[str]

JSON = "--json"
STOPPED = "stopped by Ctrl-C before the end"
# torchrun and SLURM set these
LAUNCHER_VARIABLES = {"TORCHELASTIC_RUN_ID", "SLURM_STEP_NUM_TASKS"}


def main(argv: Argv | None = None) -> int:
    """Run one command; a user's mistake prints one line on stderr and exits with code 2.

    If nobody reads the output to its end, as in `selfwise --help | head -1`, it ends quietly.
    """
    try:
        code = _run_command_line(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        if not (pipes := output.find_closed_pipes()):
            raise
        output.redirect_to_devnull(pipes)
        return output.ENDED


def _run_command_line(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(format_overview())
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(version("selfwise"))
        return 0
    try:
        command = _find_command(arguments[0])
        if warning := warn_of_limit():
            print(warning, file=sys.stderr)
        _check_single_process(arguments[0])
        _call_command(command, arguments[0], arguments[1:])
        return 0
    except KeyboardInterrupt as stop:
        print(f"selfwise: {escape_line(str(stop) or STOPPED)}", file=sys.stderr)
        return 130
    except (ValueError, OSError, FloatingPointError) as error:
        if isinstance(error, BrokenPipeError) and output.find_closed_pipes():
            raise
        if os.environ.get("SELFWISE_DEBUG"):
            raise
        print(f"selfwise: {_format_error(error)}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError, ImportError) as error:
        text = describe_memory_error(error)
        if not text or os.environ.get("SELFWISE_DEBUG"):
            raise
        print(f"selfwise: {escape_line(text)}", file=sys.stderr)
        return 2


def _format_error(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return escape_line(describe_system_error(error))
    return " ".join(escape_invisible(str(error)).split())


def _find_command(word: str) -> ModuleType:
    commands_by_word = commands.import_commands()
    if word not in commands_by_word:
        raise ValueError(f"unknown command {word!r}{did_you_mean(word, commands_by_word)}")
    return commands_by_word[word]


def _check_single_process(word: str) -> None:
    """Raise ValueError if several processes were started for a command that one process runs."""
    if LAUNCHER_VARIABLES & os.environ.keys():
        from selfwise.distributed.process_group import check_multiprocess_command

        by_word = commands.import_commands()
        shared = [name for name, command in by_word.items() if hasattr(command, "SHARED")]
        check_multiprocess_command(word, shared)


def format_overview() -> str:
    """Return the text of `selfwise --help`."""
    lines = [
        f"  {word:<11}{(command.__doc__ or '').splitlines()[0]}"
        for word, command in commands.import_commands().items()
    ]
    return "\n".join(
        [
            "usage: selfwise COMMAND ... (see selfwise COMMAND --help)",
            "",
            "Self-supervised learning: train an encoder on your unlabeled files, and measure",
            "what it has learned.",
            "",
            *lines,
            "",
            "  selfwise pretrain simclr --data photos/ --out runs/photos --epochs 100",
            "  selfwise probe runs/photos --train labelled/train --test labelled/test",
            "  selfwise pretrain bert --data documents/ --out runs/bert --minutes 30",
            "  selfwise iterate hubert --data recordings/ --out runs/speech --minutes 30",
            "  selfwise export runs/speech/iteration-2 --to hf --out hubert",
        ]
    )


def _call_command(command: ModuleType, word: str, argv: Argv) -> None:
    """Call the function of a command with its command-line options, and print the result."""
    from selfwise.cli import parse

    if command.WORDS == "RECIPE":
        parse.call_recipe(word, argv)
        return
    as_json = JSON in argv and hasattr(command, "to_json")
    if as_json:
        argv = [one for one in argv if one != JSON]
    function = command.load_function()
    if commands.takes_method(command):
        options = parse.parse_method_line(word, command, function, argv)
    else:
        options = parse.parse_line(word, command, function, argv)
    if options is None:  # only printed the help
        return
    if as_json:
        _print_json(command, function, options)
        return
    result = obey_quiet(function)(**options)
    if hasattr(command, "format_result"):
        _print_result(command.format_result(result, options), shared=hasattr(command, "SHARED"))


def _print_json(
    command: ModuleType, function: Callable[..., object], options: dict[str, object]
) -> None:
    """Print the result as one JSON object or list on stdout, and nothing else there."""
    if "quiet" in signature(function).parameters:
        options = {**options, "quiet": True}
    with redirect_stdout(sys.stderr):
        result = obey_quiet(function)(**options)
    print(json.dumps(command.to_json(result, options), indent=2, default=_to_plain))


def _to_plain(value: object) -> object:
    """Return a number of numpy or torch as Python's, a path as text."""
    return value.item() if hasattr(value, "item") else str(value)


def _print_result(result: object, *, shared: bool) -> None:
    """Print the result once, even if torchrun started several processes that all get here."""
    if shared and LAUNCHER_VARIABLES & os.environ.keys():
        from selfwise.distributed.process_group import detect_env

        if (env := detect_env()) is not None and env.rank:
            return
    for part in result if isinstance(result, list) else [result]:
        if part == "":
            continue  # a quiet command
        print_visible(part)
