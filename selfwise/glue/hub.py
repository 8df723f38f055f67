"""GLUE as the Hugging Face hub has it: parquet, labels as numbers whose names are beside them."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from selfwise.core.errors import did_you_mean
from selfwise.data.text.hub import load_split
from selfwise.data.text.tables import explain_missing, read_rows
from selfwise.glue.tasks import Task

LABEL, INDEX = "label", "idx"
Told = tuple[str, str | None, tuple[str, ...], str | None]  # where, id, texts, label as official


def parquet_files(folder: Path, split: str) -> list[Path]:
    """The parts of a split: `validation-00000-of-00001.parquet`, or `validation/0000.parquet`."""
    name = _split(split)
    return sorted(folder.glob(f"{name}-*.parquet")) or sorted(folder.glob(f"{name}/*.parquet"))


def parquet_rows(path: Path, task: Task, split: str) -> Iterator[Told]:
    """Rows of a parquet file. Labels are mapped by their names, which the file's metadata hold.

    Raises ValueError for a column or a name that is missing, and for a label that is not known.
    """
    fields = [*task.hub.text, INDEX]
    known = task.label in task.files[split].columns
    names = _names(path) if known and task.hub.labels else []
    wanted = [*fields, LABEL] if known else fields
    numbered = (
        (f"{path}, {number}", row) for number, row in read_rows(path, ".parquet", wanted, _seen)
    )
    return _told(numbered, task, names, known)


def hub_rows(told: str, task: Task, split: str) -> Iterator[Told]:
    """Rows of `hub:nyu-mll/glue`, through the library `datasets`.

    Raises ValueError as `documents_hub.load`, and as `parquet_rows`.
    """
    table = load_split(told, told.removeprefix("hub:"), config=task.hub.config, split=_split(split))
    where = f"{told} {task.hub.config} {_split(split)}"
    for field in (*task.hub.text, INDEX, LABEL):
        if field not in table.column_names:
            raise ValueError(explain_missing(where, field, table.column_names))
    names = list(getattr(table.features[LABEL], "names", None) or [])
    numbered = ((f"{where}, row {i}", row) for i, row in enumerate(table, start=1))
    return _told(numbered, task, names, task.label in task.files[split].columns)


def _split(split: str) -> str:
    return split.replace("dev", "validation")


def _told(
    numbered: Iterable[tuple[str, dict[str, Any]]], task: Task, names: Sequence[str], known: bool
) -> Iterator[Told]:
    for where, row in numbered:
        texts = tuple(row[name] for name in task.hub.text)
        for name, text in zip(task.hub.text, texts):
            if not isinstance(text, str):
                raise ValueError(f"{where}: {name!r} is not text but of type {type(text).__name__}")
        label = _label(where, row[LABEL], task, names) if known else None
        yield where, str(row[INDEX]), texts, label


def _label(where: str, value: Any, task: Task, names: Sequence[str]) -> str:
    """The official spelling of a label, by name: the hub's order is not that of the files."""
    spelled = task.hub.labels
    if not spelled:
        return "" if value is None else repr(float(value))
    if isinstance(value, int) and not isinstance(value, bool):
        if not names:
            said = "labels are numbers, and the file does not say what they are called"
            raise ValueError(f"{where}: {said} (labels of the hub's glue come with their names)")
        if not 0 <= value < len(names):
            raise ValueError(f"{where}: label {value} is none of 0 to {len(names) - 1}")
        value = names[value]
    if value not in spelled:
        raise ValueError(f"{where}: unknown label {value!r}{did_you_mean(str(value), spelled)}")
    return spelled[value]


def _names(path: Path) -> list[str]:
    """The names of the classes, from what `datasets` writes beside the columns."""
    try:
        told = (pq.read_schema(path).metadata or {}).get(b"huggingface", b"{}")
    except (pa.ArrowInvalid, pa.ArrowException) as error:
        why = " ".join(str(error).split())
        raise ValueError(f"{path}: cannot be read as parquet ({why})") from error
    features = json.loads(told).get("info", {}).get("features", {})
    return list(features.get(LABEL, {}).get("names") or [])


def _seen(read: int) -> None:
    """Files of this size are read without telling how far."""
