"""`open_texts`: short texts or pairs of them, with or without labels, to probe and to embed."""

from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from sys import getsizeof
from typing import NamedTuple

import numpy as np

from selfwise.core.errors import did_you_mean
from selfwise.core.files import digest
from selfwise.core.memory_limit import MemoryBudget
from selfwise.core.progress import format_count, print_progress
from selfwise.data.compact_paths import Paths, RowNumbers, take_rows
from selfwise.data.labels import encode_labels
from selfwise.data.regular_files import check_regular
from selfwise.data.table_cells import describe_multiline_cell, explain_missing
from selfwise.data.text.file_kinds import PLAIN_SUFFIXES, check_plain_text
from selfwise.data.text.plain_files import inner_suffix, read_characters, read_lines
from selfwise.data.text.tables import TABLE_SUFFIXES, Row, choose_column, read_rows

TEXT_NAMES = ("text", "sentence", "content", "review", "document", "question", "title", "body")
LABEL_NAMES = ("label", "class", "target", "labels", "category", "gold_label", "Quality")
PAIR_NAMES = (
    ("text_a", "text_b"),
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "answer"),
    ("question", "sentence"),
    ("#1 String", "#2 String"),  # the file of MRPC
)
LAYOUTS = (
    "a csv, tsv, jsonl or parquet file with a label column (name it with --label-column), a folder "
    "of txt files per class, or a pair (texts, labels) in Python"
)

ROW_BYTES = 64  # of a row in the lists that hold it
Label = str | int | float | bytes


@dataclass
class Texts:
    """Examples of text. `pairs` holds the second text of each where they come in pairs."""

    ids: Sequence[str]  # relative paths, or row numbers as text
    texts: Sequence[str]
    pairs: Sequence[str] | None
    labels: np.ndarray | None  # int64 (n,)
    classes: list[str] | None
    fingerprint: str

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: np.ndarray) -> "Texts":
        """Return some of them, in the order of `rows`."""
        return replace(
            self,
            ids=take_rows(self.ids, rows),
            texts=take_rows(self.texts, rows),
            pairs=None if self.pairs is None else take_rows(self.pairs, rows),
            labels=None if self.labels is None else self.labels[rows],
            fingerprint=digest(self.fingerprint, rows),
        )


def open_texts(data: object, *, field: str = "", label: str = "", labelled: bool = False) -> Texts:
    """Return texts from anything that holds some.

    Args:
        data: a csv, tsv, jsonl or parquet file (also .gz and .zst), a folder of txt files, one
            sub-folder per class if they have labels, a txt file with a text a line, a sequence of
            str, or a pair (texts, labels).
        field: the column of the text, or two for pairs, as `premise,hypothesis`; by default the
            usual names are tried.
        label: the column of the label; by default label, class or target.
        labelled: raise an error if there are no labels.

    Raises ValueError for what is missing, empty, or not in one of these forms.
    """
    if isinstance(data, str | Path):
        texts = _from_path(Path(data).expanduser(), field, label)
    elif isinstance(data, tuple) and len(data) == 2 and not isinstance(data[1], str):
        texts = _from_lists(data[0], data[1])
    else:
        texts = _from_lists(data, None)
    if not len(texts):
        raise ValueError(f"{_name_source(data)}: it contains no text")
    if labelled and texts.labels is None:
        raise ValueError(
            f"{_name_source(data)}: these texts have no labels; labels come with {LAYOUTS}"
        )
    return texts


def _from_lists(texts: object, labels: Sized | None) -> Texts:
    if not isinstance(texts, Sequence) or isinstance(texts, str):
        raise ValueError(f"texts must be a path or a sequence of str, got {type(texts).__name__}")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"text {i} is not a str but of type {type(text).__name__}")
    if labels is not None and len(labels) != len(texts):
        raise ValueError(f"there are {len(texts):,} texts and {len(labels):,} labels")
    return _build_texts(list(texts), None, labels, "the labels")


def _from_path(path: Path, field: str, label: str) -> Texts:
    if not path.exists():
        parent = path.absolute().parent
        names = [entry.name for entry in parent.iterdir()] if parent.is_dir() else []
        hint = did_you_mean(path.name, names)
        raise ValueError(f"{path} does not exist" + (hint if "mean" in hint else ""))
    if path.is_dir():
        return _from_folder(path)
    if inner_suffix(path) in TABLE_SUFFIXES:
        return _from_table(path, field, label)
    if inner_suffix(path) != ".txt":
        raise ValueError(
            f"{path}: expected a folder, or a file that ends in .txt, {_join_names(TABLE_SUFFIXES)}"
        )
    check_regular(path)
    check_plain_text(path)
    return _build_texts(_list_lines(path), None, None, str(path))


def _list_lines(path: Path) -> list[str]:
    budget, lines = MemoryBudget(path), []
    for line in read_lines(path, _ignore_bytes):
        if line.strip():
            lines.append(line)
            budget.add(getsizeof(line) + ROW_BYTES)
    return lines


def _from_folder(root: Path) -> Texts:
    """Read each file of plain text as a text; its label is the first folder on its way, if all
    have one.

    The number of other files is printed on stderr.
    """
    paths = sorted(
        path
        for path in root.rglob("*")
        if not path.is_dir() and not any(p[0] == "." for p in path.relative_to(root).parts)
    )
    files = [path for path in paths if inner_suffix(path) in PLAIN_SUFFIXES]
    if files and (rest := len(paths) - len(files)):
        skipped = format_count(rest, "file", "are", "skipped: not text")
        print_progress(f"{root}: {skipped}")
    if not files:
        raise ValueError(f"{root}: there is no txt file in this folder or below it")
    for path in files:
        check_regular(path)
        check_plain_text(path)
    names = [path.relative_to(root) for path in files]
    budget, texts = MemoryBudget(root), []
    for path in files:
        texts.append("".join(_count_blocks(path)))
        budget.add(getsizeof(texts[-1]))
    inside = all(len(name.parts) > 1 for name in names)
    labels, classes = None, None
    if inside:
        folders, labels = np.unique([name.parts[0] for name in names], return_inverse=True)
        classes = [str(folder) for folder in folders]
    unlabelled = _build_texts(texts, None, None, str(root))
    ids = Paths.of([name.as_posix() for name in names])
    fingerprint = digest(unlabelled.fingerprint, "" if labels is None else labels)
    labels = None if labels is None else labels.astype(np.int64)
    return replace(unlabelled, ids=ids, labels=labels, classes=classes, fingerprint=fingerprint)


def _count_blocks(path: Path) -> Iterator[str]:
    """Yield the blocks of a file. Raises ValueError when they exceed the memory limit."""
    budget = MemoryBudget(path)
    for block in read_characters(path, _ignore_bytes):
        budget.add(2 * getsizeof(block))  # they are joined
        yield block


class _Columns(NamedTuple):
    """Which columns of a table are read."""

    text: str
    pair: str | None
    label: str | None


def _from_table(path: Path, field: str, label: str) -> Texts:
    columns: _Columns | None = None
    texts: list[str] = []
    pairs: list[str] = []
    labels: list[Label] = []
    cells: list[_MultilineCell] = []
    budget = MemoryBudget(path)
    for number, row in read_rows(path, inner_suffix(path), None, _ignore_bytes):
        where = f"{path}, {number}"
        if columns is None:
            columns = _choose_columns(str(path), list(row), field, label)
        texts.append(_read_text(row, columns.text, where))
        budget.add(getsizeof(texts[-1]) + ROW_BYTES)
        if columns.pair is not None:
            pairs.append(_read_text(row, columns.pair, where))
            budget.add(getsizeof(pairs[-1]))
        if columns.label is not None:
            if row.get(columns.label) in (None, "") or row[columns.label] != row[columns.label]:
                raise ValueError(f"{where}: the label in {columns.label!r} is empty")
            labels.append(_read_label(row[columns.label], columns.label, where))
            budget.add(getsizeof(labels[-1]))
            if inner_suffix(path) == ".csv":
                _add_multiline_cells(row, columns, where, cells)
    if cells:
        _check_swallowed_rows(cells, set(labels))
    columns = columns or _Columns("", None, None)
    second = None if columns.pair is None else pairs
    return _build_texts(texts, second, None if columns.label is None else labels, str(path))


class _MultilineCell(NamedTuple):
    """A text of several lines, and which cell of a line that is a row would be the label.

    Below 0 it is counted from the end, for a label behind the text.
    """

    where: str
    column: str
    text: str
    label: int


def _add_multiline_cells(
    row: Row, columns: _Columns, where: str, cells: list[_MultilineCell]
) -> None:
    """Add the cells of several lines to `cells`."""
    names = list(row)
    for name, text in row.items():
        if isinstance(text, str) and "\n" in text and columns.label is not None:
            at = names.index(columns.label)
            behind = at > names.index(name)
            cells.append(_MultilineCell(where, name, text, at - len(names) if behind else at))


def _check_swallowed_rows(cells: Sequence[_MultilineCell], labels: set[Label]) -> None:
    """Raise ValueError for a text whose lines have labels: two stray marks made one row of many.

    Strict parsing does not see it. A line that began with the text ends with the cells behind it;
    the last one began with those before it. Prose has a space behind its commas.
    """
    for cell in cells:
        lines = cell.text.split("\n")
        rows = [line.split(",") for line in (lines[:-1] if cell.label < 0 else lines[1:])]
        min_cells = max(2, -cell.label if cell.label < 0 else cell.label + 1)
        if any(len(row) < min_cells or any(cell[:1] == " " for cell in row) for row in rows):
            continue
        if labels.issuperset(row[cell.label].strip('"') for row in rows):
            raise ValueError(
                f"{cell.where}: {describe_multiline_cell(repr(cell.column), cell.text)}"
            )


def _choose_columns(where: str, names: list[str], field: str, label: str) -> _Columns:
    first, second = _text_columns(where, names, field)
    if label and label not in names:
        raise ValueError(explain_missing(where, label, names))
    lower = {name.strip().lower(): name for name in reversed(names)}
    usual = next((lower[name] for name in LABEL_NAMES if name in lower), None)
    return _Columns(first, second, label or usual)


def _text_columns(where: str, names: list[str], field: str) -> tuple[str, str | None]:
    first, comma, second = field.partition(",")
    if comma and field not in names:
        return choose_column(names, first.strip(), where), choose_column(
            names, second.strip(), where
        )
    if not field:
        for a, b in PAIR_NAMES:
            if a in names and b in names:
                return a, b
    others = [name for name in names if name.strip().lower() not in LABEL_NAMES]
    return choose_column(names if field else others, field, where, TEXT_NAMES), None


def _read_text(row: Row, name: str, where: str) -> str:
    if name not in row:
        raise ValueError(explain_missing(where, name, list(row)))
    text = row[name]
    if not isinstance(text, str):
        raise ValueError(f"{where}: {name!r} is not text but of type {type(text).__name__}")
    return text


def _read_label(value: object, name: str, where: str) -> Label:
    if not isinstance(value, str | int | float | bytes):
        of_type = type(value).__name__
        raise ValueError(f"{where}: the label in {name!r} is a {of_type}, not text or a number")
    if isinstance(value, str) and "\n" in value:
        raise ValueError(f"{where}: {describe_multiline_cell(f'the label in {name!r}', value)}")
    return value


def _build_texts(
    texts: list[str], pairs: list[str] | None, labels: Sized | None, where: str
) -> Texts:
    codes, classes = (None, None) if labels is None else encode_labels(labels, where)
    parts: Iterator[str] = iter((*texts, "pairs", *(pairs or []), "labels", *(classes or [])))
    fingerprint = digest(*parts, *([] if codes is None else [codes]))
    ids = RowNumbers(np.arange(len(texts)))
    return Texts(ids, texts, pairs, codes, classes, fingerprint)


def _name_source(data: object) -> str:
    return str(data) if isinstance(data, str | Path) else f"the {type(data).__name__}"


def _join_names(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _ignore_bytes(read: int) -> None:
    """Short texts are read without telling how far."""
