"""Facts that a run prints before its first step: encoder, training, worth, data, machine, time.

`selfwise plan` prints them too, without a run folder.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import nn

from selfwise.core.config_class import format_flag
from selfwise.core.progress import format_count, print_progress
from selfwise.runs.defaults import list_rules
from selfwise.runs.forecast.estimate import Forecast, forecast
from selfwise.runs.forecast.outline import outline_run
from selfwise.runs.prepare import PreparedRun
from selfwise.runs.run_yaml import Choice, RunRecord
from selfwise.runs.tune_config import TUNED
from selfwise.training.config import ResolvedTraining

WIDTH = 12  # of the first column
MAX_LINE = 66  # characters of a list of options


def print_first_words(prepared: PreparedRun, out: Path, lasts: str, *, quiet: bool) -> None:
    """Print the facts of `describe_run` on stderr, one per line; nothing if `quiet`."""
    if quiet:
        return
    facts = describe_run(prepared, lasts, forecast(outline_run(prepared)), out)
    for line in [f"selfwise pretrain {prepared.record.method}", *format_facts(facts)]:
        print_progress(line)


def format_facts(facts: Iterable[tuple[str, str]]) -> list[str]:
    """Return lines with a name in the first column."""
    return [f"  {name:<{WIDTH}}{text}" for name, text in facts]


def describe_run(
    prepared: PreparedRun, lasts: str, worth: Forecast, out: Path | None = None
) -> list[tuple[str, str]]:
    """Return names and facts; a name is empty if the fact continues the one above.

    Args:
        prepared: the run, with its number of steps.
        lasts: the expected time as text.
        worth: the forecast of its score.
        out: the run folder; without it the cases of the forecast take the place of the lines on
            the folder and on exports.
    """
    method, record, training = prepared.method, prepared.record, prepared.training
    encoder = count_parameters(method.encoder)
    heads = count_parameters(method) - encoder
    more = f", and {heads:,} in the heads" if heads else ""
    steps = f"{format_count(training.steps, 'step')} of {_describe_batch(prepared, training)}"
    plan = [
        ("encoder", f"{record.encoder_name}, {encoder:,} parameters{more}"),
        ("training", f"{steps}, {training.optimizer}, lr {training.lr:.3g}"),
        ("worth", str(worth)),
    ]
    facts = [
        *_label("data", [_name_data(record), *prepared.data.describe()]),
        *_label("defaults", _describe_defaults(prepared)),
        ("machine", _describe_machine(training)),
        *([("time", lasts)] if lasts else []),
    ]
    if out is None:
        return [*plan, *_label("rests on", worth.list_basis()), *facts]
    exports = _describe_exports(method, prepared)
    return [
        *plan,
        *facts,
        ("run folder", str(out)),
        *_label("export", [exports] if exports else []),
    ]


def _name_data(record: RunRecord) -> str:
    """Return the location of the data, or the number of sources, which `describe` lists."""
    return record.data if len(record.sources) == 1 else f"{len(record.sources)} sources"


def count_parameters(module: nn.Module) -> int:
    """Count trained and frozen parameters; shared parameters count once."""
    return sum(parameter.numel() for parameter in module.parameters())


def _label(name: str, lines: Sequence[str]) -> list[tuple[str, str]]:
    """Return the first line with its name, and the other lines below it."""
    return [(name if i == 0 else "", line) for i, line in enumerate(lines)]


def _describe_batch(prepared: PreparedRun, training: ResolvedTraining) -> str:
    about = "about " if prepared.data.batch else ""
    length = prepared.source.steps_per_epoch
    epochs = format_epochs(training.steps / length)
    return f"{about}{format_count(training.batch_size, 'example')} ({epochs})"


def format_epochs(epochs: float) -> str:
    """Format a number of passes over the data."""
    return "1 epoch" if epochs == 1 else f"{epochs:,.3g} epochs"


def _describe_defaults(prepared: PreparedRun) -> list[str]:
    chosen = [
        f"{format_flag(option)} {_format_value(value)} ({source})"
        for option, (value, source) in list_decided(prepared).items()
    ]
    if not chosen:
        return []
    return [*_wrap(chosen), "(--defaults paper has the values of the paper)"]


def list_decided(prepared: PreparedRun) -> dict[str, Choice]:
    """Return the values that data, budget, machine, method or a search decided, not the paper."""
    resolved = prepared.record.resolved
    by_rules = {
        rule.option: resolved[rule.option]
        for rule in list_rules(prepared.code.method)
        if rule.option in resolved and resolved[rule.option].source == rule.source
    }
    return by_rules | {name: c for name, c in resolved.items() if c.source == TUNED}


def _format_value(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _wrap(parts: Sequence[str]) -> list[str]:
    """Join parts by commas, in lines of at most 66 characters, so that 80 columns hold them."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(part) < MAX_LINE - 2:
            lines[-1] += f", {part}"
        else:
            lines.append(part)
    return lines


def _describe_machine(training: ResolvedTraining) -> str:
    processes = f", {training.devices} processes" if training.devices > 1 else ""
    return (
        f"{training.device}, {training.precision}, {format_count(training.cpu_threads, 'thread')}, "
        f"{format_count(training.num_workers, 'data worker')}{processes}"
    )


def _describe_exports(method: nn.Module, prepared: PreparedRun) -> str:
    """Return the export formats that the encoder's stem excludes, before hours are spent on it."""
    stem = getattr(method.encoder, "stem", "timm")
    if isinstance(stem, str) and stem != "timm":
        return (
            f"onnx and safetensors; not timm, because the stem {stem!r} for small images has no "
            "timm form (--encoder.stem timm has one)"
        )
    shape = getattr(method.encoder, "shape", None)
    if getattr(shape, "stem", "wave") != "wave":
        return (
            "safetensors and onnx; not hf, because the log-mel stem has no hf form "
            "(--encoder.stem wave has one)"
        )
    return ""
