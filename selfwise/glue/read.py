"""`open_glue`: a split of a GLUE task from the official TSVs, or from the hub's `glue`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from selfwise.core.errors import did_you_mean
from selfwise.core.files import digest
from selfwise.data.text.labelled import Texts
from selfwise.data.text.plain_files import read_lines
from selfwise.glue.hub import hub_rows, parquet_files, parquet_rows
from selfwise.glue.tasks import SCORES, TASKS, File, Task, plain

INDEX = ("index", "id")  # the columns of ids
SHOWN = 60  # characters of a wrong value in a message


@dataclass(frozen=True)
class GlueSplit:
    """A split of a task. `texts` is what the probes of texts take.

    Classes are numbered in the order of `task.labels`, and `texts.labels` is None for test and for
    the scores of STS-B, which are in `scores`. `notes` says what differs from the official file.
    """

    task: Task
    split: str
    texts: Texts
    scores: np.ndarray | None  # float64 (n,), from 0 to 5
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)


class _Row(NamedTuple):
    where: str
    id: str | None
    texts: tuple[str, ...]
    label: str | None


def open_glue(root: str | Path, task: Task, split: str) -> GlueSplit:
    """A split of a task, its labels by name and its rows counted.

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
        return _made(task, split, str(root), _from_hub(hub_rows(str(root), task, split)), [])
    root = Path(root).expanduser()
    if not root.is_dir():
        raise ValueError(f"{root} is no folder; GLUE is read from one with a folder for each task")
    notes: list[str] = []
    tsv = _official(root, task, split)
    if tsv is not None:
        return _made(task, split, str(tsv), _tsv(tsv, task, task.files[split], notes), notes)
    parquet = [file for folder in _folders(root, task) for file in parquet_files(folder, split)]
    if parquet:
        rows = (row for file in parquet for row in _from_hub(parquet_rows(file, task, split)))
        return _made(task, split, str(parquet[0].parent), rows, notes)
    raise ValueError(_absent(root, task, split))


def glue_splits(root: str | Path, task: Task) -> list[str]:
    """The splits of a task whose files are in a folder; all of them for `hub:`."""
    if str(root).startswith("hub:"):
        return list(task.files)
    root = Path(root).expanduser()
    return [
        split
        for split in task.files
        if _official(root, task, split)
        or any(parquet_files(folder, split) for folder in _folders(root, task))
    ]


def _folders(root: Path, task: Task) -> list[Path]:
    wanted = {plain(name) for name in (*task.folders, task.hub.config)}
    entries = sorted(root.iterdir()) if root.is_dir() else []
    return [entry for entry in entries if entry.is_dir() and plain(entry.name) in wanted]


def _official(root: Path, task: Task, split: str) -> Path | None:
    """The TSV of a split, in any case."""
    wanted = [name.lower() for name in task.files[split].names]
    there = [file for folder in _folders(root, task) for file in sorted(folder.iterdir())]
    found = [file for file in there if file.name.lower() in wanted and file.is_file()]
    return min(found, key=lambda file: wanted.index(file.name.lower()), default=None)


def _absent(root: Path, task: Task, split: str) -> str:
    folder, name = task.folders[0], task.files[split].names[0]
    hub = f"{task.hub.config}/{split.replace('dev', 'validation')}-*.parquet"
    folders = _folders(root, task)
    if folders:
        there = sorted(file.name for file in folders[0].iterdir())
        return f"{folders[0]}: there is no {name} (nor {hub}){did_you_mean(name, there)}"
    known = [name for other in TASKS for name in other.folders]
    some = sorted(entry.name for entry in root.iterdir() if entry.name in known)
    hint = f"; there are: {', '.join(some)}" if some else "; is this the folder of GLUE?"
    return f"{root}: there is no {folder}/{name} (nor {hub}){hint}"


def _tsv(path: Path, task: Task, file: File, notes: list[str]) -> Iterator[_Row]:
    """Rows of a TSV as they are: tabs separate, quotation marks are text."""
    place = {name: i for i, name in enumerate(file.columns)}
    index = next((place[name] for name in INDEX if name in place), None)
    dropped: list[int] = []
    for number, line in enumerate(read_lines(path, _ignore), start=1):
        cells = line.split("\t")
        if number == 1 and file.headed:
            _check_header(path, cells, file.columns)
            continue
        if len(cells) != len(file.columns):
            if not file.ragged:
                raise ValueError(_width(path, number, cells, file.columns))
            dropped.append(number)
            continue
        texts = tuple(cells[place[name]] for name in task.text)
        label = cells[place[task.label]] if task.label in place else None
        yield _Row(f"{path}, line {number}", None if index is None else cells[index], texts, label)
    if dropped:
        width = f"other than {len(file.columns)} columns"
        notes.append(f"{path}: {len(dropped):,} rows of {width} left out, first line {dropped[0]}")


def _check_header(path: Path, cells: list[str], columns: Sequence[str]) -> None:
    if tuple(cells) == tuple(columns):
        return
    pairs = zip((*cells, *("",) * len(columns)), columns)
    at = next((i for i, (got, right) in enumerate(pairs) if got != right), len(columns))
    got = repr(cells[at][:SHOWN]) if at < len(cells) else "nothing"
    right = repr(columns[at]) if at < len(columns) else "nothing"
    raise ValueError(
        f"{path}, line 1: not the official header: column {at + 1} is {got} and should be {right} "
        f"(in all: {', '.join(columns)})"
    )


def _width(path: Path, number: int, cells: list[str], columns: Sequence[str]) -> str:
    rest = f"; {columns[len(cells)]!r} is missing" if len(cells) < len(columns) else ""
    return f"{path}, line {number}: expected {len(columns)} columns, got {len(cells)}{rest}"


def _from_hub(
    rows: Iterator[tuple[str, str | None, tuple[str, ...], str | None]],
) -> Iterator[_Row]:
    return (_Row(*row) for row in rows)


def _made(task: Task, split: str, where: str, rows: Iterator[_Row], notes: list[str]) -> GlueSplit:
    """Rows as columns, checked. `notes` may grow while the rows are read."""
    ids: list[str] = []
    columns: list[list[str]] = [[] for _ in task.text]
    values: list[float] = []
    seen: set[str] = set()
    known, asked = task.label in task.files[split].columns, split in task.submissions
    for count, row in enumerate(rows):
        ids.append(str(count) if row.id is None else row.id)
        if asked and ids[-1] in seen:
            raise ValueError(f"{row.where}: the id {ids[-1][:SHOWN]!r} comes a second time")
        seen.add(ids[-1])
        for column, text in zip(columns, row.texts):
            column.append(text)
        if known:
            values.append(_value(task, row))
    if not ids:
        raise ValueError(f"{where}: there is no row in it")
    notes += _differences(task, split, where, ids)
    labels = np.array(values, np.int64) if known and task.labels else None
    scores = np.array(values, np.float64) if known and not task.labels else None
    told = [part for part in (labels, scores) if part is not None]
    pairs = columns[1] if len(columns) > 1 else None
    mark = digest(*columns[0], "pairs", *(pairs or []), "labels", *(task.labels), *told)
    classes = list(task.labels) if labels is not None else None
    texts = Texts(ids, columns[0], pairs, labels, classes, mark)
    return GlueSplit(task, split, texts, scores, tuple(notes))


def _value(task: Task, row: _Row) -> float:
    """The number of a label, or a score."""
    told = "" if row.label is None else row.label
    if task.labels:
        if told not in task.labels:
            expected = f"a label of {task.name} is {_or(task.labels)}"
            raise ValueError(f"{row.where}: {expected}, got {told[:SHOWN]!r}")
        return task.labels.index(told)
    try:
        score = float(told)
    except ValueError:
        score = float("nan")
    low, high = SCORES
    if not low <= score <= high:
        expected = f"a score of {task.name} is a number from {low:g} to {high:g}"
        raise ValueError(f"{row.where}: {expected}, got {told[:SHOWN]!r}")
    return score


def _differences(task: Task, split: str, where: str, ids: list[str]) -> list[str]:
    official = task.files[split].rows
    said = []
    if len(ids) != official:
        said.append(f"{where}: {len(ids):,} rows, the official file has {official:,}")
    if split in task.submissions and any(one != str(i) for i, one in enumerate(ids)):
        said.append(
            f"{where}: the ids are not 0 to {len(ids) - 1:,} in order, as official ones are"
        )
    return said


def _or(names: Sequence[Any]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _ignore(read: int) -> None:
    """Files of this size are read without telling how far."""
