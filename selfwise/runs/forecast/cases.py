"""The table of measured cases: scores of trained encoders compared with the raw input.

Each row of `cases.csv` repeats a score that docs/results.md or docs/log.md reports. To add a case,
add a row; a test compares its numbers with the entry that it names.
"""

import csv
from functools import cache
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).with_name("cases.csv")
IMPORT = "import"  # in place of a method: published weights as they are


class MeasuredCase(NamedTuple):
    """A score that was measured. 0 means that a number was not reported."""

    modality: str
    kind: str
    """What the training examples are: photo, gray or drawing; running text or short texts; words
    or speech."""
    data: str
    """The labeled data set. Parts of one data set have a comma behind its name."""
    trained_on: str
    """The data set without labels."""
    amount: float
    """Training examples: images, characters of text, or hours of sound."""
    method: str
    """Name of a method, or `import` for published weights."""
    start: str
    """`published` for training or weights that did not begin at random values."""
    steps: float
    core_minutes: float
    """Minutes of training times cores; of the whole command where only that was reported."""
    labels_per_class: float
    metric: str
    score: float
    raw: float
    """Score of the raw input: pixels, a bag of words, MFCC."""
    untrained: float
    """Mean score of untrained encoders."""
    where: str
    """Titles of the entries that report it, separated by semicolons."""

    @property
    def difference(self) -> float:
        """Points above the raw input."""
        return self.score - self.raw

    @property
    def data_set(self) -> str:
        """The data set without the name of its part."""
        return self.data.partition(",")[0]


_TEXTS = frozenset(("modality", "kind", "data", "trained_on", "method", "start", "metric", "where"))


@cache
def read_cases(file: Path = FILE) -> tuple[MeasuredCase, ...]:
    """Return the measured cases. Raises ValueError with the line of a row that is not complete."""
    with file.open(encoding="utf-8", newline="") as lines:
        rows = csv.reader(lines)
        head = next(rows)
        if head != list(MeasuredCase._fields):
            raise ValueError(f"{file}: the columns must be {', '.join(MeasuredCase._fields)}")
        return tuple(_read_row(row, f"{file}, line {rows.line_num}") for row in rows)


def _read_row(row: list[str], where: str) -> MeasuredCase:
    if len(row) != len(MeasuredCase._fields):
        raise ValueError(f"{where}: expected {len(MeasuredCase._fields)} cells, got {len(row)}")
    try:
        values = [
            cell if name in _TEXTS else float(cell or 0)
            for name, cell in zip(MeasuredCase._fields, row)
        ]
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return MeasuredCase(*values)  # type: ignore[arg-type]
