"""From a command line to the arguments of a command's function."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from selfwise import methods, recipes
from selfwise.cli.flags import (
    OptionTable,
    check_required,
    drop_lengths,
    find_option,
    first_paragraph,
    split_positional,
    take_option,
    typed_values,
    wants_help,
)
from selfwise.cli.help import format_help
from selfwise.core.config import Config, make_options_class, nest_values
from selfwise.core.plugins import allow_plugins, is_import_path
from selfwise.modalities import modality_of
from selfwise.runs.config import config_class, find_method_class
from selfwise.runs.create import pretrain
from selfwise.runs.record import read_config_file, read_record

CONFIG_HELP = """\
  --config FILE         options from a file: a run.yaml, or names and values; flags win
"""
PLUGIN_HELP = """\
  --plugin MODULE|FILE  code outside of selfwise that a run may import; may be repeated
"""
NOT_OPTIONS = ("options", "encoder_options", "plugins")


def parse_line(word: str, command: ModuleType, argv: Sequence[str]) -> dict[str, Any] | None:
    """The arguments of a command whose options are fixed, or None after printing the help."""
    function = command.function()
    usage = f"{word} {command.WORDS}".strip()
    python_only = getattr(command, "PYTHON_ONLY", ())
    names = {w.removesuffix("...") for w in command.WORDS.lower().split()}
    kind = make_options_class(
        function, skip={*NOT_OPTIONS, *python_only, *names, "runs"}, positional=True
    )
    if wants_help(argv):
        print(format_help(usage, first_paragraph(function), [kind]))
        print(f"\n{PLUGIN_HELP}" if "RUN" in command.WORDS else "", end="")
        return None
    argv = _take_plugins(argv) if "RUN" in command.WORDS else argv
    placed, rest = split_positional(command.WORDS, argv, usage=f"usage: selfwise {usage} [options]")
    values = OptionTable(kind).read_values(rest)
    check_required(getattr(command, "REQUIRED", ()), values)
    return _as_paths(placed) | typed_values(kind, values)


def parse_method_line(word: str, command: ModuleType, argv: Sequence[str]) -> dict[str, Any] | None:
    """The arguments of a command that trains a method, or None after printing the help.

    Which options there are depends on the method and on the encoder. Raises ValueError with one
    sentence for what is missing or unknown.
    """
    if not argv or argv[0].startswith("-"):
        _explain_method(word, argv)
        return None
    argv = [argv[0], *_take_plugins(argv[1:])]
    function, name = command.function(), argv[0]
    rest, files = take_option("config", argv[1:])
    below = _read_files(files)
    encoder = find_option("encoder", rest) or _encoder_below(below, find_option("start", rest))
    own = make_options_class(function, skip=NOT_OPTIONS)
    fixed = make_options_class(pretrain, skip={*NOT_OPTIONS, *own.model_fields})
    kind = config_class(name, encoder)
    kinds = [own, fixed, kind]
    if wants_help(rest):
        _print_method_help(f"{word} {name}", function, name, kinds)
        return None
    table = OptionTable(*kinds)
    given = table.read_values(rest)
    below = drop_lengths(below, given)
    for file in files:
        _check_file(Path(file), below, table, kind)
    values = {n: v for n, v in below.items() if v not in (None, "")} | given
    check_required([n for n in own.model_fields if n in ("data", "out") and _needs(own, n)], values)
    typed: dict[str, Any] = {}
    for part in (own, fixed):
        typed |= typed_values(part, {n: v for n, v in values.items() if n in part.model_fields})
    others = {n: v for n, v in values.items() if n not in typed}
    return {"method": name, **typed, **others}


def call_recipe(word: str, argv: Sequence[str]) -> None:
    """Each recipe has options of its own."""
    if not argv or argv[0].startswith("-"):
        names = ", ".join(recipes.recipe_names())
        if not wants_help(argv):
            raise ValueError(f"name a recipe first: {names}")
        print(f"usage: selfwise {word} RECIPE [options]\n\nRECIPE: {names}")
        return
    recipe = recipes.find_recipe(argv[0])
    kind = make_options_class(recipe)
    if wants_help(argv):
        print(format_help(f"{word} {argv[0]}", first_paragraph(recipe), [kind]))
        return
    recipe(**typed_values(kind, OptionTable(kind).read_values(argv[1:])))


def _explain_method(word: str, argv: Sequence[str]) -> None:
    names = ", ".join(methods.method_names())
    if not wants_help(argv):
        raise ValueError(f"name a method first: {names}")
    print(f"usage: selfwise {word} METHOD [options]\n\nMETHOD: {names}")
    print(f"\nselfwise {word} METHOD --help lists the options of a method.")


def _print_method_help(
    usage: str, function: Callable[..., object], method: str, kinds: Sequence[type[Config]]
) -> None:
    kind = find_method_class(method)
    about = first_paragraph(kind if function is pretrain else function)
    print(format_help(usage, about, kinds), end="\n\n")
    print(modality_of(kind).encoder_help.strip("\n"))
    print(CONFIG_HELP + PLUGIN_HELP, end="")


def _take_plugins(argv: Sequence[str]) -> list[str]:
    """The arguments without `--plugin`, whose modules and files are allowed to be imported."""
    rest, plugins = take_option("plugin", argv)
    allow_plugins(plugins)
    return rest


def _read_files(files: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for file in files:
        values |= read_config_file(Path(file))
    if is_import_path(str(values.get("encoder", ""))):
        raise ValueError(
            f"--config {files[-1]} names code outside of selfwise, {values['encoder']}: give it as "
            "--encoder, since a file does not cause an import"
        )
    return values


def _encoder_below(values: Mapping[str, Any], start: str) -> str:
    """The encoder that a file or an earlier run names, which decides on the options."""
    start = start or str(values.get("start", ""))
    if values.get("encoder") or not start:
        return str(values.get("encoder") or "")
    return read_record(Path(start)).encoder_name


def _check_file(
    file: Path, values: Mapping[str, Any], table: OptionTable, kind: type[Config]
) -> None:
    """Raises ValueError with the nearest option for a name in a file that is not an option."""
    ours = {n: v for n, v in values.items() if n not in table.options}
    try:
        nest_values(kind, ours, spell=str)
    except ValueError as error:
        raise ValueError(f"--config {file}: {error}") from error


def _needs(kind: type[Config], name: str) -> bool:
    return kind.model_fields[name].is_required()


def _as_paths(placed: Mapping[str, Any]) -> dict[str, Any]:
    """Folders as paths; other words as they are."""
    values: dict[str, Any] = {}
    for name, value in placed.items():
        if name == "runs":
            values[name] = [Path(folder) for folder in value]
        else:
            values[name] = Path(value) if name in ("run", "folder") else value
    return values
