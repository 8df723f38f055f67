"""Reproducing a run: its options that are not defaults, and the command that repeats it."""

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from selfwise import methods
from selfwise.core.config_class import (
    find_field,
    format_flag,
    is_open,
    list_option_paths,
    list_sections,
)
from selfwise.core.option_types import ENCODER_PREFIX
from selfwise.core.plain_data import parse_yaml
from selfwise.core.plugins import FROM_PYTHON, is_import_path
from selfwise.modalities.text.token_table import WORD2VEC
from selfwise.runs.names import IMPORTED
from selfwise.runs.pretrain_config import config_class
from selfwise.runs.run_yaml import RunRecord
from selfwise.runs.tune_config import TUNED, TuningConfig
from selfwise.training.config import MACHINE, PAPER
from selfwise.training.optimizers import scale_lr

MACHINE_OPTIONS = (*MACHINE, "num_workers")  # chosen by the machine unless the user sets them
LENGTH_OPTIONS = ("epochs", "minutes")
LINE_WIDTH = 88  # characters of a line of the command


class Change(NamedTuple):
    """An option whose value is not the default."""

    value: Any
    default: Any  # None without a default: the data, the number of steps


class ReproduceCommand(NamedTuple):
    """A command that repeats a run, and notes about it."""

    command: str
    notes: list[str]


def list_changes(record: RunRecord) -> dict[str, Change]:
    """Return the options that the user, or the run in --init-from, set to non-default values.

    Leaves out options that the machine chose (device, precision, threads, workers).
    """
    defaults = _list_defaults(record)
    return {
        name: Change(value, defaults.get(name))
        for name, (value, source) in record.resolved.items()
        if (source in ("user", "init_from", TUNED) or name == "steps")
        and name not in (*MACHINE_OPTIONS, *LENGTH_OPTIONS)
        and value not in (None, "")
        and value != defaults.get(name)
    }


def format_reproduce_command(
    record: RunRecord, *, out: str, folder: Path | None = None
) -> ReproduceCommand:
    """Return the shell command that trains a run with these options in the folder `out`.

    `folder` is the folder of the run, for one that has trained word vectors first.
    """
    if record.data == IMPORTED:
        return _import_command(record, out)
    notes: list[str] = []
    values = {n: v for n, v in record.config.items() if n not in ("method", *LENGTH_OPTIONS)}
    if record.get("tune"):  # the command repeats the run that followed, and not the search
        values = {n: v for n, v in values.items() if n not in TuningConfig.model_fields}
        found = {n: value for n, (value, source) in record.resolved.items() if source == TUNED}
        values |= found | {"optimizer": record.option("optimizer")}
        notes.append("A search chose " + ", ".join(found) + ": tune.json has its trials.")
    if folder is not None and record.get("init_tokens") == WORD2VEC:
        # trained first for the time that was left, which no option names: here they are used again
        values = {n: v for n, v in values.items() if n not in ("init_fraction", "tokenizer")}
        values |= {"init_tokens": str(folder.resolve() / WORD2VEC)}
        notes.append(f"Its word vectors are those in {values['init_tokens']}.")
    values |= {"steps": record.steps}
    values |= {n: value for n in MACHINE_OPTIONS if (value := record.get(n)) is not None}
    values.setdefault("data", record.option("data"))
    if values["data"] == FROM_PYTHON:
        values["data"] = "PATH"
        notes.append("The data were passed in Python: write them to files and name them as PATH.")
    for name in LENGTH_OPTIONS:
        if amount := record.config.get(name):
            notes.append(f"Its {name} of {amount:g} gave {record.steps:,} steps.")
    notes += [f"The run was lengthened: {change['about']}." for change in record.continuations]
    if lost := _find_unknown_options(record, values):
        notes.append(f"Options of another version are left out: {', '.join(lost)}.")
    words = [_format_words(n, v) for n, v in _list_values(values) if n not in lost]
    first = f"selfwise pretrain {shlex.quote(record.method)}"
    return ReproduceCommand(_wrap([first, *words, f"--out {shlex.quote(out)}"]), notes)


def format_requested_command(record: RunRecord, *, out: str) -> str:
    """Return the shell command that trains with the options of the user; "" for data from Python.

    Unlike the command that repeats a run, it leaves the number of steps to the next measurement.
    """
    values = {n: v for n, v in record.config.items() if n not in ("method", "data")}
    if FROM_PYTHON in (record.method, *record.sources, *values.values()):
        return ""
    words = [format_data_words(record), *(_format_words(n, v) for n, v in _list_values(values))]
    first = f"selfwise pretrain {shlex.quote(record.method)}"
    return _wrap([first, *words, f"--out {shlex.quote(out)}"])


def format_data_words(record: RunRecord) -> str:
    """Return the option with the data, once for each source; PATH for data from Python."""
    places = ["PATH" if place == FROM_PYTHON else place for place in record.sources]
    return " ".join(_format_words("data", place) for place in places)


def _import_command(record: RunRecord, out: str) -> ReproduceCommand:
    about = record.imported
    words = ["selfwise", "import", about.get("family", record.method), about.get("from", "FOLDER")]
    for name, value in about.get("asked", {}).items():
        words += [format_flag(name), str(value)]
    note = "The weights were imported from a file or folder of this name."
    return ReproduceCommand(shlex.join([*words, "--out", out]), [note])


def _list_values(values: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Yield each option with its value, and `data` once for each of several sources."""
    for name, value in values.items():
        if name == "data" and isinstance(value, list):
            yield from ((name, place) for place in value)
        elif name == "data_weights" and isinstance(value, list):
            yield name, ",".join(f"{weight:.17g}" for weight in value)
        else:
            yield name, value


def _format_words(name: str, value: object) -> str:
    """Return an option as a shell and the command line read it; encoder values are YAML."""
    if isinstance(value, bool):
        value = "yes" if value else "no"
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    elif isinstance(value, str) and name.startswith(ENCODER_PREFIX) and not _is_plain_text(value):
        value = json.dumps(value)
    text = shlex.quote(str(value))
    return f"{format_flag(name)}{'=' if text.startswith('--') else ' '}{text}"


def _is_plain_text(text: str) -> bool:
    """Return whether YAML reads the text unchanged; a number is not text."""
    try:
        return parse_yaml(text, "the value") == text and text[0] not in "+-0123456789"
    except ValueError:
        return False


def _wrap(words: list[str]) -> str:
    """Return lines that a shell reads as one line."""
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(word) < LINE_WIDTH:
            lines[-1] += f" {word}"
        else:
            lines.append(f"  {word}")
    return " \\\n".join(lines)


def _find_unknown_options(record: RunRecord, values: Mapping[str, Any]) -> list[str]:
    """Return options that this version does not have; none if the method is not ours."""
    if not _is_known(record):
        return []
    kind = config_class(record.method, record.encoder_name)
    anything = is_open(list_sections(kind)["encoder_options"])
    options = list_option_paths(kind)
    return [
        n for n in values if n not in options and not (anything and n.startswith(ENCODER_PREFIX))
    ]


def _is_known(record: RunRecord) -> bool:
    """Return whether the method and the encoder are available without importing a plugin."""
    outside = (
        FROM_PYTHON in name or is_import_path(name) for name in (record.method, record.encoder_name)
    )
    return record.method in methods.method_names() and not any(outside)


def _list_defaults(record: RunRecord) -> dict[str, object]:
    """Return the default of every option."""
    if not _is_known(record):
        return {}
    kind = methods.find_method(record.method)
    config = config_class(kind, record.encoder_name)
    defaults = {
        name: find_field(config, path).default for name, path in list_option_paths(config).items()
    }
    defaults |= {name: getattr(kind.paper, name) for name in PAPER}
    if record.get("optimizer") == kind.paper.optimizer:  # the default rate is for this optimizer
        defaults["lr"] = scale_lr(kind.paper, int(record.option("batch_size")))
    if record.modality == "text":
        defaults["tokenizer"] = kind.default_tokenizer
    defaults |= {f"{ENCODER_PREFIX}{name}": value for name, value in kind.encoder_options.items()}
    return defaults | {"encoder": kind.default_encoder, "data": None, "steps": None}
