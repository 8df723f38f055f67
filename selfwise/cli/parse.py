"""Parsing a command line into the arguments of a command's function."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from selfwise import methods, recipes
from selfwise.cli.flags import (
    OptionTable,
    Word,
    check_required,
    drop_lengths,
    first_paragraph,
    split_positional,
    split_words,
    take_option,
    typed_values,
    wants_help,
)
from selfwise.cli.help import format_help
from selfwise.commands import make_method_classes, make_option_class
from selfwise.core.config_class import Config, make_options_class, nest_values
from selfwise.core.data_sources import DataSources, unwrap_sources
from selfwise.core.plugins import allow_plugins, is_import_path, resolve_import_path
from selfwise.modalities import modality_of
from selfwise.runs.create import pretrain
from selfwise.runs.names import find_method_class
from selfwise.runs.presets.files import find_config_file, preset_names
from selfwise.runs.run_yaml import read_config_file, read_record

Function = Callable[..., object]

CONFIG_HELP = """\
  --config FILE|NAME    options from a file: a run.yaml, or names and values; or from a preset that
                        ships with selfwise: {presets}; flags take precedence
"""
JSON_HELP = """\
  --json                print only the result, as JSON, on stdout
"""
PLUGIN_HELP = """\
  --plugin MODULE|FILE  code outside selfwise that a run may import; may be repeated
"""


def parse_line(
    word: str, command: ModuleType, function: Function, argv: Sequence[str]
) -> dict[str, object] | None:
    """Return the arguments of a command with fixed options, or None after printing the help."""
    usage = f"{word} {command.WORDS}".strip()
    kind = make_option_class(command)
    if wants_help(argv):
        more = (JSON_HELP if hasattr(command, "to_json") else "") + (
            PLUGIN_HELP if "RUN" in command.WORDS else ""
        )
        print(format_help(usage, first_paragraph(function), [kind], more, command.EXAMPLES))
        return None
    placed, rest = split_positional(command.WORDS, argv, usage=f"usage: selfwise {usage} [options]")
    words = split_words(rest)
    if "RUN" in command.WORDS:
        allow_plugins(take_option("plugin", words))
    values = OptionTable(kind, read_before=_list_read_before(command)).convert(words)
    check_required(getattr(command, "REQUIRED", ()), values)
    return _as_paths(placed) | typed_values(kind, values)


def parse_method_line(
    word: str, command: ModuleType, function: Function, argv: Sequence[str]
) -> dict[str, object] | None:
    """Return the arguments of a command that trains a method, or None after printing the help.

    The set of options depends on the method and on the encoder. A config file may name the method
    instead of the command line. Raises ValueError with one sentence for missing or unknown options.
    """
    named = bool(argv) and not argv[0].startswith("-")
    words = split_words(argv[1:] if named else argv)
    files, plugins = take_option("config", words), take_option("plugin", words)
    proposed = "" if named or files or wants_help(argv) else _propose_method(command, words)
    if not named and not files and not proposed:
        _explain_method(word, command, argv)
        return None
    if plugins:
        allow_plugins(plugins)
    name, file_values = _read_files(files, argv[0] if named else proposed)
    encoder = _find_encoder(dict(words), file_values)
    *kinds, kind = make_method_classes(function, name, encoder)
    if wants_help(argv):
        _print_method_help(f"{word} {name}", command, function, name, [*kinds, kind])
        return None
    before = ("config", "plugin", *_list_read_before(command))
    table = OptionTable(*kinds, kind, read_before=before)
    values = table.convert(words)
    if files:
        file_values = drop_lengths(file_values, values)
        _check_file(Path(files[-1]), file_values, table, kind)
        values = {n: v for n, v in file_values.items() if v not in (None, "")} | values
    own = kinds[0].model_fields
    check_required([n for n in ("data", "out") if n in own and own[n].is_required()], values)
    for part in kinds:
        values |= typed_values(part, values)
    return {"method": "" if proposed else name, **values}


def _propose_method(command: ModuleType, words: Sequence[Word]) -> str:
    """Return the method that a command chooses for its data, or "" if it has to be named."""
    if not hasattr(command, "propose_method"):
        return ""
    places = [text for name, text in words if name == "data" and text]
    if not places:
        raise ValueError("--data must be given")
    return str(command.propose_method(unwrap_sources(DataSources(places))))


def _list_read_before(command: ModuleType) -> tuple[str, ...]:
    return ("json",) if hasattr(command, "to_json") else ()


def call_recipe(word: str, argv: Sequence[str]) -> None:
    """Run a recipe; each recipe has its own options."""
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


def _explain_method(word: str, command: ModuleType, argv: Sequence[str]) -> None:
    names = ", ".join(methods.method_names())
    if not wants_help(argv):
        raise ValueError(f"name a method first: {names}")
    print(f"usage: selfwise {word} {command.WORDS} [options]\n\nMETHOD: {names}")
    print(f"\nselfwise {word} METHOD --help lists the options of a method.")


def _print_method_help(
    usage: str, command: ModuleType, function: Function, method: str, kinds: Sequence[type[Config]]
) -> None:
    kind = find_method_class(method)
    about = first_paragraph(kind if function is pretrain else function)
    config = CONFIG_HELP.format(presets=", ".join(preset_names()))
    more = (JSON_HELP if hasattr(command, "to_json") else "") + config + PLUGIN_HELP
    encoder = modality_of(kind).encoder_help.strip("\n")
    print(format_help(usage, about, kinds, f"{encoder}\n{more}", command.EXAMPLES))


def _read_files(files: Sequence[str], typed: str) -> tuple[str, dict[str, object]]:
    """Return the method and the options in files; later files take precedence.

    `typed` is the method on the command line, or "". Raises ValueError for a file that is for
    another method, for files without a method if none is typed, and for code in a file.
    """
    method, values = typed, dict[str, object]()
    for file in files:
        options = read_config_file(find_config_file(file))
        named = str(options.pop("method", method))
        if method and resolve_import_path(named) != resolve_import_path(method):
            told = "the command names" if typed else "an earlier --config names"
            raise ValueError(f"--config {file} is for {named}, and {told} {method}")
        method = method or named
        values |= options
    if not method:
        raise ValueError(
            f"--config {files[-1]} has no method: add a line such as 'method: simclr', or put "
            "the method first on the command line"
        )
    if is_import_path(method) and not typed:
        raise ValueError(
            f"--config {files[-1]} names code outside selfwise, {method}: put the method on "
            "the command line, because a file does not cause an import"
        )
    if is_import_path(str(values.get("encoder", ""))):
        raise ValueError(
            f"--config {files[-1]} names code outside selfwise, {values['encoder']}: give it as "
            "--encoder, because a file does not cause an import"
        )
    if isinstance(places := values.get("data"), list):
        values["data"] = DataSources(map(str, places))
    return method, values


def _find_encoder(line: Mapping[str, str | None], file_values: Mapping[str, Any]) -> str:
    """Return the encoder in the command line, a file or an earlier run: it determines options."""
    encoder = line.get("encoder") or str(file_values.get("encoder") or "")
    start = line.get("init_from") or str(file_values.get("init_from") or "")
    if encoder or not start:
        return encoder
    return read_record(Path(start)).encoder_name


def _check_file(
    file: Path, values: Mapping[str, Any], table: OptionTable, kind: type[Config]
) -> None:
    """Raise ValueError with the nearest option for a name in a file that is not an option."""
    ours = {n: v for n, v in values.items() if n not in table.options}
    try:
        nest_values(kind, ours, spell=str)
    except ValueError as error:
        raise ValueError(f"--config {file}: {error}") from error


def _as_paths(placed: Mapping[str, Any]) -> dict[str, object]:
    """Return folders as paths, and other words unchanged."""
    values: dict[str, object] = {}
    for name, value in placed.items():
        if name == "runs":
            values[name] = [Path(folder) for folder in value]
        else:
            values[name] = Path(value) if name in ("run", "folder") else value
    return values
