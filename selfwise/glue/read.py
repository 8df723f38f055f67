"""`open_glue`: a split of a GLUE task from the official TSVs, or from the hub's `glue`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from sys import getsizeof
from typing import NamedTuple

import numpy as np

from selfwise.core.errors import did_you_mean
from selfwise.core.files import digest
from selfwise.core.memory_limit import MemoryBudget
from selfwise.data.text.labelled import Texts
from selfwise.data.text.plain_files import read_lines
from selfwise.glue.hub import find_parquet_files, read_hub_rows, read_parquet_rows
from selfwise.glue.tasks import SCORES, TASKS, GlueFile, GlueTask, normalize_name

ID_COLUMNS = ("index", "id")  # the columns of ids
ROW_BYTES = 128  # of a row in the lists and the set that hold it
MAX_QUOTE = 60  # characters of a wrong value in a message


@dataclass(frozen=True)
class GlueSplit:
    """A split of a task. `texts` is what the probes of texts take.

    Classes are numbered in the order of `task.labels`, and `texts.labels` is None for test and for
    the scores of STS-B, which are in `scores`. `notes` says what differs from the official file.
    """

    task: GlueTask
    split: str
    texts: Texts
    scores: np.ndarray | None  # float64 (n,), from 0 to 5
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)


class _GlueRow(NamedTuple):
    where: str
    id: str | None
    texts: tuple[str, ...]
    label: str | None


def open_glue(root: str | Path, task: GlueTask, split: str) -> GlueSplit:
    """Return a split of a task, its labels by name and its rows counted.

    Args:
        root: a folder with the official folders (`CoLA`, `SST-2`, ...) or with those of the hub's
            data set (`cola/train-00000-of-00001.parquet`), in any case; or `hub:nyu-mll/glue`.
        task: a row of TASKS.
        split: one of `task.files`.

    Raises ValueError, with file and line, for a file that is missing, a header that is not the
    official one, a row that lacks a column, a label that is not in the list, a score outside 0 to
    5, and an id of test that comes twice. Another count than the official one is in `notes`.
    """
    if split not in task.files:
        raise ValueError(f"{task.name} has no split {split!r}{did_you_mean(split, task.files)}")
    if str(root).startswith("hub:"):
        return _build_split(
            task, split, str(root), _hub_rows(read_hub_rows(str(root), task, split)), []
        )
    root = Path(root).expanduser()
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder; GLUE needs a folder with a folder for each task")
    notes: list[str] = []
    tsv = _find_tsv(root, task, split)
    if tsv is not None:
        return _build_split(
            task, split, str(tsv), _read_tsv(tsv, task, task.files[split], notes), notes
        )
    parquet = [
        file for folder in _find_folders(root, task) for file in find_parquet_files(folder, split)
    ]
    if parquet:
        rows = (row for file in parquet for row in _hub_rows(read_parquet_rows(file, task, split)))
        return _build_split(task, split, str(parquet[0].parent), rows, notes)
    raise ValueError(_describe_missing(root, task, split))


def list_splits(root: str | Path, task: GlueTask) -> list[str]:
    """Return the splits of a task whose files are in a folder; all of them for `hub:`."""
    if str(root).startswith("hub:"):
        return list(task.files)
    root = Path(root).expanduser()
    return [
        split
        for split in task.files
        if _find_tsv(root, task, split)
        or any(find_parquet_files(folder, split) for folder in _find_folders(root, task))
    ]


def _find_folders(root: Path, task: GlueTask) -> list[Path]:
    names = {normalize_name(name) for name in (*task.folders, task.name)}
    entries = sorted(root.iterdir()) if root.is_dir() else []
    return [entry for entry in entries if entry.is_dir() and normalize_name(entry.name) in names]


def _find_tsv(root: Path, task: GlueTask, split: str) -> Path | None:
    """The TSV of a split, in any case."""
    names = [name.lower() for name in task.files[split].names]
    files = [file for folder in _find_folders(root, task) for file in sorted(folder.iterdir())]
    matches = [file for file in files if file.name.lower() in names and file.is_file()]
    return min(matches, key=lambda file: names.index(file.name.lower()), default=None)


def _describe_missing(root: Path, task: GlueTask, split: str) -> str:
    folder, name = task.folders[0], task.files[split].names[0]
    hub = f"{task.name}/{split.replace('dev', 'validation')}-*.parquet"
    folders = _find_folders(root, task)
    if folders:
        names = sorted(file.name for file in folders[0].iterdir())
        return f"{folders[0]}: there is no {name} (nor {hub}){did_you_mean(name, names)}"
    folder_names = [name for other in TASKS for name in other.folders]
    existing = sorted(entry.name for entry in root.iterdir() if entry.name in folder_names)
    hint = f"; it has: {', '.join(existing)}" if existing else "; is this the folder of GLUE?"
    return f"{root}: there is no {folder}/{name} (nor {hub}){hint}"


def _read_tsv(path: Path, task: GlueTask, file: GlueFile, notes: list[str]) -> Iterator[_GlueRow]:
    """Yield rows of a TSV as they are: tabs separate, quotation marks are text."""
    column_places = {name: i for i, name in enumerate(file.columns)}
    index = next((column_places[name] for name in ID_COLUMNS if name in column_places), None)
    dropped: list[int] = []
    for number, line in enumerate(read_lines(path, _ignore_progress), start=1):
        cells = line.split("\t")
        if number == 1 and file.headed:
            _check_header(path, cells, file.columns)
            continue
        if len(cells) != len(file.columns):
            if not file.ragged:
                raise ValueError(_describe_width(path, number, cells, file.columns))
            dropped.append(number)
            continue
        texts = tuple(cells[column_places[name]] for name in task.text)
        label = cells[column_places[task.label]] if task.label in column_places else None
        yield _GlueRow(
            f"{path}, line {number}", None if index is None else cells[index], texts, label
        )
    if dropped:
        width = f"other than {len(file.columns)} columns"
        notes.append(f"{path}: {len(dropped):,} rows of {width} left out, first line {dropped[0]}")


def _check_header(path: Path, cells: list[str], columns: Sequence[str]) -> None:
    if tuple(cells) == tuple(columns):
        return
    pairs = zip((*cells, *("",) * len(columns)), columns)
    at = next((i for i, (got, right) in enumerate(pairs) if got != right), len(columns))
    got = repr(cells[at][:MAX_QUOTE]) if at < len(cells) else "nothing"
    right = repr(columns[at]) if at < len(columns) else "nothing"
    raise ValueError(
        f"{path}, line 1: not the official header: column {at + 1} is {got}, but should be {right} "
        f"(in all: {', '.join(columns)})"
    )


def _describe_width(path: Path, number: int, cells: list[str], columns: Sequence[str]) -> str:
    rest = f"; {columns[len(cells)]!r} is missing" if len(cells) < len(columns) else ""
    return f"{path}, line {number}: expected {len(columns)} columns, got {len(cells)}{rest}"


def _hub_rows(
    rows: Iterator[tuple[str, str | None, tuple[str, ...], str | None]],
) -> Iterator[_GlueRow]:
    return (_GlueRow(*row) for row in rows)


def _build_split(
    task: GlueTask, split: str, where: str, rows: Iterator[_GlueRow], notes: list[str]
) -> GlueSplit:
    """Return rows as columns, checked. `notes` may grow while the rows are read."""
    ids: list[str] = []
    columns: list[list[str]] = [[] for _ in task.text]
    values: list[float] = []
    unique_ids: set[str] = set()
    budget = MemoryBudget(where)
    is_labelled, is_submitted = task.label in task.files[split].columns, split in task.submissions
    for count, row in enumerate(rows):
        ids.append(str(count) if row.id is None else row.id)
        budget.add(ROW_BYTES + sum(map(getsizeof, (ids[-1], *row.texts))))
        if is_submitted and ids[-1] in unique_ids:
            raise ValueError(f"{row.where}: the id {ids[-1][:MAX_QUOTE]!r} occurs twice")
        unique_ids.add(ids[-1])
        for column, text in zip(columns, row.texts):
            column.append(text)
        if is_labelled:
            values.append(_parse_label(task, row))
    if not ids:
        raise ValueError(f"{where}: it has no rows")
    notes += _note_differences(task, split, where, ids)
    labels = np.array(values, np.int64) if is_labelled and task.labels else None
    scores = np.array(values, np.float64) if is_labelled and not task.labels else None
    targets = [part for part in (labels, scores) if part is not None]
    pairs = columns[1] if len(columns) > 1 else None
    mark = digest(*columns[0], "pairs", *(pairs or []), "labels", *(task.labels), *targets)
    classes = list(task.labels) if labels is not None else None
    texts = Texts(ids, columns[0], pairs, labels, classes, mark)
    return GlueSplit(task, split, texts, scores, tuple(notes))


def _parse_label(task: GlueTask, row: _GlueRow) -> float:
    """Return the number of a label, or a score."""
    text = "" if row.label is None else row.label
    if task.labels:
        if text not in task.labels:
            expected = f"a label of {task.name} must be {_join_with_or(task.labels)}"
            raise ValueError(f"{row.where}: {expected}, got {text[:MAX_QUOTE]!r}")
        return task.labels.index(text)
    try:
        score = float(text)
    except ValueError:
        score = float("nan")
    low, high = SCORES
    if not low <= score <= high:
        expected = f"a score of {task.name} must be a number from {low:g} to {high:g}"
        raise ValueError(f"{row.where}: {expected}, got {text[:MAX_QUOTE]!r}")
    return score


def _note_differences(task: GlueTask, split: str, where: str, ids: list[str]) -> list[str]:
    official = task.files[split].rows
    notes = []
    if len(ids) != official:
        notes.append(f"{where}: {len(ids):,} rows, the official file has {official:,}")
    if split in task.submissions and any(one != str(i) for i, one in enumerate(ids)):
        notes.append(
            f"{where}: the ids are not 0 to {len(ids) - 1:,} in order, as official ones are"
        )
    return notes


def _join_with_or(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _ignore_progress(read: int) -> None:
    """Files of this size need no progress."""
