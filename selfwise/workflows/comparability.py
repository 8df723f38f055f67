"""Decide which logged values of several runs can be compared, by what their numbers depend on."""

from collections.abc import Mapping, Sequence

from selfwise.core.option_types import ENCODER_PREFIX
from selfwise.core.plugins import FROM_PYTHON, is_import_path
from selfwise.methods import find_method
from selfwise.runs.run_yaml import RunRecord
from selfwise.training.config import ResolvedTraining
from selfwise.workflows.describe_runs import format_value

HELD_OUT = "val/"
# of the encoder or the machine, whatever the task: comparable between any runs
FREE = {"lr", "grad_norm", "uniformity", "effective_rank", "knn_k", "data_wait"}
ON_DATA = ("knn_top1",)  # comparable on equal data
# options that change how well a run solves its task, and not the task itself
SOLVING = {
    "seed",
    "defaults",
    "init_from",
    "encoder",
    "proj_dim",
    "proj_layers",
    "batch_seconds",
    "batch_tokens",
}
# options of reading that the fingerprint of the data covers
READING = {"data", "cache", "skip_broken", "max_decode_size", "text_column", "documents", "exclude"}


def group_comparable(records: Mapping[str, RunRecord], metric: str) -> list[list[str]]:
    """Return the names of the runs in groups whose values of the metric can be compared.

    Args:
        records: the runs that have logged the metric, by name.
        metric: its name in metrics.jsonl.
    """
    groups: dict[str, list[str]] = {}
    for name, record in records.items():
        groups.setdefault(repr(_list_settings(record, metric)), []).append(name)
    return list(groups.values())


def explain_differences(records: Mapping[str, RunRecord], metric: str) -> str:
    """Name the differences, such as `temperature (0.2 in a, 0.5 in b)`; "" if there are none."""
    settings = {name: _list_settings(record, metric) for name, record in records.items()}
    names = dict.fromkeys(key for one in settings.values() for key in one)
    differing = [key for key in names if len({str(one.get(key)) for one in settings.values()}) > 1]
    if "method" in differing:
        differing = ["method"]
    return ", ".join(_describe_setting(key, settings) for key in differing)


def _list_settings(record: RunRecord, metric: str) -> dict[str, object]:
    """Return the settings that the numbers of a metric depend on, by name."""
    bare = metric.removeprefix(HELD_OUT)
    if bare in FREE:
        return {}
    data = {"data": record.info.fingerprint}
    if bare in ON_DATA:
        return data
    skipped = {*ResolvedTraining.model_fields, *SOLVING, *READING}
    options = {
        name: value
        for name, value in record.options.items()
        if name not in skipped and not name.startswith(ENCODER_PREFIX) and value not in (None, "")
    }
    settings = {"method": record.method, **data, **options}
    if record.modality == "text":
        settings["vocabulary"] = record.info.vocab
    if _compares_batch(record.method):
        settings["batch_size"] = record.training.batch_size
    return settings


def _compares_batch(method: str) -> bool:
    """Return whether the task of a method may be harder in a larger batch, since it compares the
    examples of a batch; True for a method that is not installed."""
    if method == FROM_PYTHON or is_import_path(method):
        return True
    try:
        return bool(find_method(method).couples_batch)
    except ValueError:
        return True


def _describe_setting(key: str, settings: Mapping[str, Mapping[str, object]]) -> str:
    """Describe a setting with its value in each run."""
    if key == "data":
        return "the data"
    names: dict[str, list[str]] = {}
    for name, one in settings.items():
        value = format_value(one[key]) if key in one else "none"
        names.setdefault(value, []).append(name)
    values = [f"{value} in {join_names(runs)}" for value, runs in names.items()]
    return f"{key.replace('_', ' ')} ({'; '.join(values)})"


def join_names(names: Sequence[str]) -> str:
    """Join names as a sentence lists them."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
