"""The zip that GLUE's server takes: eleven TSVs, written and checked."""

import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from selfwise.core.errors import did_you_mean
from selfwise.core.files import atomic_write
from selfwise.glue.metrics import check_predicted_classes
from selfwise.glue.tasks import SCORES, TASKS, GlueTask

HEADER = "index\tprediction"
SCORE_DIGITS = 3  # of a score, as jiant writes them
MAX_FILE_SIZE = 64 * 2**20  # bytes of one file, unpacked; QQP, the longest, has 3.3 MB
# the earliest date that a zip can have: equal answers give equal bytes
ZIP_DATE = (1980, 1, 1, 0, 0, 0)
MAX_QUOTE = 60  # characters of a wrong line in a message


class TaskAnswers(NamedTuple):
    """The predictions for one file: ids as in the test file, and a class or a score for each."""

    ids: Sequence[str]
    predicted: np.ndarray  # int (n,), places in task.labels; float (n,) from 0 to 5 for STS-B


class _ExpectedFile(NamedTuple):
    task: GlueTask
    rows: int


FILES: dict[str, _ExpectedFile] = {
    file: _ExpectedFile(task, task.files[split].rows)
    for task in TASKS
    for split, file in task.submissions.items()
}


def write_submission(answers: Mapping[str, TaskAnswers], out: Path) -> None:
    """Write the zip; the same answers give the same bytes.

    Classes are spelled as in the official files, scores are cut to 0 to 5 and have three digits.

    Args:
        answers: for each of the eleven names in FILES, as `MNLI-mm.tsv`.
        out: a file that does not exist yet.

    Raises ValueError for a file that is missing or unknown, for ids or predictions that do not
    fit, and if `out` is there.
    """
    if out.exists():
        raise ValueError(f"{out} exists already; choose another file")
    for name in answers:
        if name not in FILES:
            raise ValueError(
                f"no file of a submission is named {name!r}{did_you_mean(name, FILES)}"
            )
    lacking = [name for name in FILES if name not in answers]
    if lacking:
        raise ValueError(f"a submission has answers for all tasks; missing: {', '.join(lacking)}")
    texts = {name: format_answers(name, answers[name]) for name in FILES}
    with atomic_write(out) as partial, zipfile.ZipFile(partial, "w") as archive:
        for name, text in texts.items():
            info = zipfile.ZipInfo(name, ZIP_DATE)
            info.compress_type, info.create_system = zipfile.ZIP_DEFLATED, 3
            info.external_attr = 0o644 << 16
            archive.writestr(info, text, compresslevel=9)


def check_submission(path: Path, ids: Mapping[str, Sequence[str]] | None = None) -> None:
    """Raise ValueError with the first thing that is wrong in a zip: the file, the line, and why.

    Args:
        path: the zip.
        ids: for names in FILES, the ids that the test file has, in order; by default the official
            ones, which are 0, 1, 2, ...
    """
    mistakes = find_problems(path, ids)
    if mistakes:
        more = f" ({len(mistakes) - 1} more files are wrong)" if len(mistakes) > 1 else ""
        raise ValueError(f"{path}: {mistakes[0]}{more}")


def find_problems(path: Path, ids: Mapping[str, Sequence[str]] | None = None) -> list[str]:
    """Return sentences on the mistakes in a zip, at most one for each file; none if it is right."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return ["not a zip file"]
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        mistakes = []
        for name in dict.fromkeys(names):
            if name not in FILES:
                mistakes.append(
                    f"{name!r} is not a file of a submission{did_you_mean(name, FILES)}"
                )
            elif names.count(name) > 1:
                mistakes.append(f"{name} occurs {names.count(name)} times")
        for name, expected in FILES.items():
            if name not in names:
                mistakes.append(f"{name} is missing")
            elif archive.getinfo(name).file_size > MAX_FILE_SIZE:
                mistakes.append(f"{name} is larger than {MAX_FILE_SIZE >> 20} MB")
            else:
                file_ids = None if ids is None else ids.get(name)
                expected_ids = (
                    [str(i) for i in range(expected.rows)] if file_ids is None else file_ids
                )
                mistakes += list(
                    _find_mistakes(name, _unpack_file(archive, name), expected.task, expected_ids)
                )[:1]
    return mistakes


def _unpack_file(archive: zipfile.ZipFile, name: str) -> bytes | None:
    """A file of it; None if it is damaged or encrypted."""
    try:
        return archive.read(name)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError):
        return None


def format_answers(name: str, answers: TaskAnswers) -> bytes:
    """Return one of the eleven files. Raises ValueError for ids or predictions that do not fit."""
    task = FILES[name].task
    if len(answers.ids) != len(answers.predicted):
        counts = f"{len(answers.ids):,} ids and {len(answers.predicted):,} predictions"
        raise ValueError(f"{name}: got {counts}")
    if task.labels:
        texts = [
            task.labels[place]
            for place in check_predicted_classes(task, answers.predicted).tolist()
        ]
    else:
        wrong = np.flatnonzero(~np.isfinite(answers.predicted))
        if len(wrong):
            raise ValueError(f"{name}: the prediction for row {wrong[0]} is not a number")
        texts = [f"{score:.{SCORE_DIGITS}f}" for score in np.clip(answers.predicted, *SCORES)]
    rows = [f"{one}\t{value}" for one, value in zip(answers.ids, texts)]
    return "\n".join([HEADER, *rows, ""]).encode()


def _find_mistakes(
    name: str, data: bytes | None, task: GlueTask, ids: Sequence[str]
) -> Iterator[str]:
    """Describe the first mistake in a file."""
    if data is None:
        yield f"{name} cannot be unpacked: it is damaged or encrypted"
        return
    try:
        text = io.TextIOWrapper(io.BytesIO(data), "utf-8", newline="\n").read()
    except UnicodeDecodeError as error:
        yield f"{name}: not UTF-8 at byte {error.start}"
        return
    header, *rows = text.removesuffix("\n").split("\n")
    if header != HEADER:
        yield f"{name}, line 1: the header is {HEADER!r}, got {header[:MAX_QUOTE]!r}"
    for number, (line, one) in enumerate(zip(rows, ids), start=2):
        index, tab, prediction = line.partition("\t")
        if index == one and (prediction in task.labels if task.labels else _is_score(prediction)):
            continue
        if not tab or "\t" in prediction:
            why = f"an id and a prediction with a tab between, got {line[:MAX_QUOTE]!r}"
        elif index != one:
            why = f"expected the id {one!r}, got {index[:MAX_QUOTE]!r}"
        else:
            why = f"{_describe_expected(task)}, got {prediction[:MAX_QUOTE]!r}"
        yield f"{name}, line {number}: {why}"
    if len(rows) != len(ids):
        at = min(len(rows), len(ids)) + 2
        yield f"{name}, line {at}: {len(ids):,} rows expected, got {len(rows):,}"


def _is_score(text: str) -> bool:
    try:
        return SCORES[0] <= float(text) <= SCORES[1]
    except ValueError:
        return False


def _describe_expected(task: GlueTask) -> str:
    if task.labels:
        return f"a label must be {', '.join(task.labels[:-1])} or {task.labels[-1]}"
    return f"a score must be a number from {SCORES[0]:g} to {SCORES[1]:g}"
