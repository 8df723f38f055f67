"""A page for each command: its purpose, options, examples and output."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from docs.generate.markdown import code, escape, fence, link_papers, table, toctree
from docs.generate.options import HEADS, Option, list_options, make_option_tables
from selfwise import commands, methods, recipes
from selfwise.cli.flags import first_paragraph
from selfwise.core.config_class import make_options_class
from selfwise.modalities import NAMES, find_modality
from selfwise.training.config import TrainingConfig

OUTPUTS = Path(__file__).parent / "outputs"  # recorded outputs of the examples
LISTS = ("methods", "recipes")  # commands that need no data
JSON_ROW = (
    "`--json`",
    "switch",
    "no",
    "print the result as JSON on stdout, and nothing else there",
)
IN_WORDS = {  # outputs that differ with the machine, or take too long to be recorded
    "completion": "The script, for a file that the shell reads.",
    "doctor": "A line each: versions, processor, devices, precision, disk, missing extras, advice.",
    "glue": "A table with a row for each task: the metric of the encoder, of the untrained encoder "
    "and of a bag of words, and the difference with its interval. [More](../../glue.md).",
    "quickstart": "A table of accuracy against labels: SimCLR, the untrained encoder, raw pixels "
    "and supervised training, the difference to each with its interval, the path of the report.",
    "run": "The table of the recipe's probe, or its losses, and where the run is.",
}

INTRODUCTION = """\
# Commands

Each page has the purpose of a command, all of its options with their ranges and defaults, examples,
and its output. `selfwise COMMAND --help` prints the options too. Write an option as `--name value`
or `--name=value`; a switch such as `--quiet` needs no value. A mistake is one line
on stderr and exit code 2.

"""


def make_command_pages() -> dict[str, str]:
    """Write the pages of all commands, and the page that lists them."""
    by_word = commands.import_commands()
    rows = [(f"[{code(word)}]({word}.md)", escape(_first_line(c))) for word, c in by_word.items()]
    index = INTRODUCTION + table(("command", "what it does"), rows) + "\n"
    pages = {"commands/index.md": index + toctree(by_word, hidden=True)}
    return pages | {f"commands/{word}.md": make_page(word, c) for word, c in by_word.items()}


def make_page(word: str, command: ModuleType) -> str:
    """Write the page of one command."""
    function = command.load_function()
    usage = " ".join(["selfwise", word, *([command.WORDS] if command.WORDS else [])])
    about = link_papers(escape(first_paragraph(function)))
    options = list_command_options(word, command, function)
    takes_options = options or command.WORDS == "RECIPE" or hasattr(command, "to_json")
    usage += " [options]" if takes_options else ""
    parts = [f"# {word}\n", f"{about}\n", fence(usage)]
    parts += ["## Examples\n", fence("\n".join(command.EXAMPLES), "bash")]
    output = read_output(word, command)
    parts += ["## What it prints\n", fence(output) if output else f"{IN_WORDS[word]}\n"]
    parts += [f"## Options\n\n{_intro_of_options(word, command)}\n"]
    parts += [make_option_tables(options, level=3)]
    parts += [_recipe_tables()] if command.WORDS == "RECIPE" else []
    parts += ["### Output\n", table(HEADS, [JSON_ROW])] if hasattr(command, "to_json") else []
    name = command.__name__.rpartition(".")[2]
    parts += [f"## From Python\n\n{{py:func}}`selfwise.{name}` is the function of this command.\n"]
    return "\n".join(parts)


def read_output(word: str, command: ModuleType) -> str:
    """Return the recorded output of a command; lists of names are made now."""
    if word in LISTS:
        return f"$ selfwise {word}\n{command.load_function()()}"
    recorded = OUTPUTS / f"{word}.txt"
    return recorded.read_text(encoding="utf-8") if recorded.exists() else ""


def list_command_options(
    word: str, command: ModuleType, function: Callable[..., Any]
) -> list[Option]:
    """Return all options of a command, without the options of single methods."""
    if command.WORDS == "RECIPE":
        return []
    if not commands.takes_method(command):
        return list_options([commands.make_option_class(command)])
    options = _list_shared_options(function)
    for name in NAMES:
        title = f"data ({name})"
        options += [o._replace(group=title) for o in list_options([find_modality(name).reading])]
    return options


def _list_shared_options(function: Callable[..., Any]) -> list[Option]:
    """Return the options of a command that trains a method, except those of methods and data."""
    from selfwise.runs.create import pretrain
    from selfwise.runs.pretrain_config import PretrainConfig
    from selfwise.runs.tune_config import TuningConfig

    kinds = [make_options_class(function, skip=commands.NOT_OPTIONS)]
    if function is not pretrain:
        skip = {*commands.NOT_OPTIONS, *kinds[0].model_fields}
        kinds.append(make_options_class(pretrain, skip=skip))
    listed = list_options(kinds)
    names = {option.name for option in listed}
    own = {*PretrainConfig.model_fields, *TuningConfig.model_fields}
    other = [o for o in list_options([PretrainConfig]) if o.name in own]
    training = [o._replace(group="training") for o in list_options([TrainingConfig])]
    return [*listed, *(o for o in other if o.name not in names), *training]


def _intro_of_options(word: str, command: ModuleType) -> str:
    if commands.takes_method(command):
        names = ", ".join(f"[{code(n)}](../methods/{n}.md)" for n in methods.method_names())
        return (
            f"Each method adds its own options: {names}. Options of the encoder are written "
            f"`--encoder.NAME VALUE`. `selfwise {word} METHOD --help` lists them all."
        )
    if command.WORDS == "RECIPE":
        return "Each recipe has its own:"
    has_options = commands.make_option_class(command).model_fields or hasattr(command, "to_json")
    return "" if has_options else "None."


def _recipe_tables() -> str:
    parts = []
    for name in recipes.recipe_names():
        recipe = recipes.find_recipe(name)
        options = [o._replace(group=name) for o in list_options([make_options_class(recipe)])]
        about = link_papers(escape(first_paragraph(recipe)))
        parts.append(f"### {name}\n\n{about}\n\n{make_option_tables(options, level=4)}")
    return "\n".join(parts)


def _first_line(command: ModuleType) -> str:
    return inspect.cleandoc(command.__doc__ or "").splitlines()[0].partition(":")[0]


def list_examples() -> dict[str, Sequence[str]]:
    """Return the examples of each command, by its word."""
    return {word: command.EXAMPLES for word, command in commands.import_commands().items()}
