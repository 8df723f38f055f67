"""The command line: a word, the command of that name, its options."""

import os
import sys
from collections.abc import Sequence
from types import ModuleType

from selfwise import commands
from selfwise.cli import output
from selfwise.core.errors import did_you_mean

Argv = Sequence[str]

STOPPED = "stopped by Ctrl-C, before it was done"
STARTED = {"TORCHELASTIC_RUN_ID", "SLURM_STEP_NUM_TASKS"}  # the marks of torchrun and of SLURM


def main(argv: Argv | None = None) -> int:
    """Run one command; a user's mistake is one line on stderr and exit code 2.

    Where nobody reads the output to its end, as in `selfwise --help | head -1`, it ends quietly.
    """
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        if not (pipes := output.unread()):
            raise
        output.drop(pipes)
        return output.ENDED


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(version("selfwise"))
        return 0
    try:
        command = _command(arguments[0])
        _check_alone(command, arguments[0])
        _call(command, arguments[0], arguments[1:])
        return 0
    except KeyboardInterrupt as stop:
        print(f"selfwise: {str(stop) or STOPPED}", file=sys.stderr)
        return 130
    except (ValueError, OSError, FloatingPointError) as error:
        if isinstance(error, BrokenPipeError) and output.unread():
            raise
        if os.environ.get("SELFWISE_DEBUG"):
            raise
        print(f"selfwise: {_sentence(error)}", file=sys.stderr)
        return 2


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    return " ".join(str(error).split())


def _command(word: str) -> ModuleType:
    there = commands.by_word()
    if word not in there:
        raise ValueError(f"unknown command {word!r}{did_you_mean(word, there)}")
    return there[word]


def _check_alone(command: ModuleType, word: str) -> None:
    """Raises ValueError if several processes were started for what one of them does."""
    if STARTED & os.environ.keys():
        from selfwise.distributed.process_group import check_multiprocess_command

        check_multiprocess_command(
            word, [w for w, one in commands.by_word().items() if hasattr(one, "SHARED")]
        )


def overview() -> str:
    """What `selfwise --help` prints."""
    there = commands.by_word()
    lines = [f"  {word:<11}{(one.__doc__ or '').splitlines()[0]}" for word, one in there.items()]
    return "\n".join(
        [
            "usage: selfwise COMMAND ... (selfwise COMMAND --help says more)",
            "",
            "Self-supervised learning: an encoder from your unlabelled files, and the proof",
            "that it is worth having.",
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


def _call(command: ModuleType, word: str, argv: Argv) -> None:
    """Call the function of a command with the options of a command line, and print what it says."""
    from selfwise.cli import parse

    if command.WORDS == "RECIPE":
        parse.call_recipe(word, argv)
        return
    function = command.load_function()
    if command.WORDS == "METHOD":
        options = parse.parse_method_line(word, function, argv)
    else:
        options = parse.parse_line(word, command, function, argv)
    if options is None:  # only the help was printed
        return
    result = function(**options)
    if hasattr(command, "format_result"):
        _print(command.format_result(result, options), shared=hasattr(command, "SHARED"))


def _print(said: object, *, shared: bool) -> None:
    """Print it once, where torchrun has started several processes that all come by here."""
    if shared and STARTED & os.environ.keys():
        from selfwise.distributed.process_group import detect_env

        if (env := detect_env()) is not None and env.rank:
            return
    for part in said if isinstance(said, list) else [said]:
        if isinstance(part, str):
            print(part)
        else:
            from rich.console import Console

            Console().print(part)
