"""GLUE as the Hugging Face hub has it: parquet, with labels as numbers and their names."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from selfwise.core.errors import did_you_mean
from selfwise.core.plain_data import parse_json, require_mapping
from selfwise.data.table_cells import explain_missing
from selfwise.data.text.hub import load_split
from selfwise.data.text.structured_files import ARROW_ERRORS
from selfwise.data.text.tables import read_rows
from selfwise.glue.tasks import GlueTask

LABEL, INDEX = "label", "idx"
HubRow = tuple[str, str | None, tuple[str, ...], str | None]  # place, id, texts, official label


def find_parquet_files(folder: Path, split: str) -> list[Path]:
    """Return the parts of a split: `validation-00000-of-00001.parquet`, or
    `validation/0000.parquet`."""
    name = _hub_split(split)
    return sorted(folder.glob(f"{name}-*.parquet")) or sorted(folder.glob(f"{name}/*.parquet"))


def read_parquet_rows(path: Path, task: GlueTask, split: str) -> Iterator[HubRow]:
    """Return rows of a parquet file. Labels are mapped by their names, which the file's metadata
    hold.

    Raises ValueError for a column or a name that is missing, and for a label that is not known.
    """
    fields = [*task.hub_columns, INDEX]
    is_labelled = task.label in task.files[split].columns
    names = _read_label_names(path) if is_labelled and task.hub_spelling else []
    columns = [*fields, LABEL] if is_labelled else fields
    numbered = (
        (f"{path}, {number}", row)
        for number, row in read_rows(path, ".parquet", columns, _ignore_progress)
    )
    return _iterate_rows(numbered, task, names, is_labelled)


def read_hub_rows(address: str, task: GlueTask, split: str) -> Iterator[HubRow]:
    """Return rows of `hub:nyu-mll/glue`, through the library `datasets`.

    Raises ValueError as `data.text.hub.load`, and as `read_parquet_rows`.
    """
    table = load_split(
        address, address.removeprefix("hub:"), config=task.name, split=_hub_split(split)
    )
    where = f"{address} {task.name} {_hub_split(split)}"
    for field in (*task.hub_columns, INDEX, LABEL):
        if field not in table.column_names:
            raise ValueError(explain_missing(where, field, table.column_names))
    names = list(getattr(table.features[LABEL], "names", None) or [])
    numbered = ((f"{where}, row {i}", row) for i, row in enumerate(table, start=1))
    return _iterate_rows(numbered, task, names, task.label in task.files[split].columns)


def _hub_split(split: str) -> str:
    return split.replace("dev", "validation")


def _iterate_rows(
    numbered: Iterable[tuple[str, Mapping[str, object]]],
    task: GlueTask,
    names: Sequence[str],
    is_labelled: bool,
) -> Iterator[HubRow]:
    for where, row in numbered:
        texts = []
        for name in task.hub_columns:
            text = row[name]
            if not isinstance(text, str):
                raise ValueError(f"{where}: {name!r} is not text but of type {type(text).__name__}")
            texts.append(text)
        label = _official_label(where, row[LABEL], task, names) if is_labelled else None
        yield where, str(row[INDEX]), tuple(texts), label


def _official_label(where: str, value: Any, task: GlueTask, names: Sequence[str]) -> str:
    """Return the official spelling of a label, by name: the hub's order is not that of the
    files."""
    spelled = task.hub_spelling
    if not spelled:
        return "" if value is None else repr(float(value))
    if isinstance(value, int) and not isinstance(value, bool):
        if not names:
            problem = "labels are numbers, and the file does not name them"
            raise ValueError(f"{where}: {problem} (the hub's glue files name their labels)")
        if not 0 <= value < len(names):
            raise ValueError(f"{where}: label {value} is not one of 0 to {len(names) - 1}")
        value = names[value]
    if value not in spelled:
        raise ValueError(f"{where}: unknown label {value!r}{did_you_mean(str(value), spelled)}")
    return spelled[value]


def _read_label_names(path: Path) -> list[str]:
    """Return the names of the classes, from the metadata that `datasets` writes next to the
    columns."""
    try:
        metadata = (pq.read_schema(path).metadata or {}).get(b"huggingface", b"{}")
    except ARROW_ERRORS as error:
        why = " ".join(str(error).split())
        raise ValueError(f"{path}: cannot be read as parquet ({why})") from error
    where = f"{path}: its metadata"
    content = parse_json(metadata, where)
    for key in ("info", "features", LABEL):
        content = require_mapping(content, where).get(key) or {}
    names = require_mapping(content, where).get("names") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{where} must name the labels in a list of texts")
    return names


def _ignore_progress(read: int) -> None:
    """Files of this size need no progress."""
