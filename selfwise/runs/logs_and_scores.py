"""Logs and scores in a run folder, read without opening the run."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from selfwise.core.own_files import read_own
from selfwise.evaluation.scores.names import CHOSEN, PRETRAINED, RETRIEVAL

GLUE = "glue"  # folder in which `selfwise glue` stores its tables
MODES = ("frozen", "finetune")  # the two ways in which it measures
# integers below it are exact as floats, and every count is below it
MAX_EXACT_INTEGER = 2**53


class Logged(NamedTuple):
    """The lines of a log, and the number of unreadable lines."""

    lines: list[dict[str, float]]  # each with its step
    unreadable: int = 0

    @property
    def names(self) -> list[str]:
        """The names of all values, in order of first occurrence."""
        names = dict.fromkeys(name for line in self.lines for name in line)
        return [name for name in names if name != "step"]

    def values(self, name: str) -> tuple[list[int], list[float]]:
        """Return the steps at which a value was logged, and the values there."""
        lines_with_value = [line for line in self.lines if name in line]
        return [int(line["step"]) for line in lines_with_value], [
            line[name] for line in lines_with_value
        ]

    @property
    def newest(self) -> dict[str, tuple[int, float]]:
        """Return the last step at which each value was logged, and the value there."""
        return {name: (steps[-1], values[-1]) for name, (steps, values) in self._all().items()}

    def _all(self) -> dict[str, tuple[list[int], list[float]]]:
        return {name: self.values(name) for name in self.names}


def read_metrics(folder: Path) -> Logged:
    """Read metrics.jsonl of a run: losses and measurements, by step."""
    return _read_log(folder / "metrics.jsonl")


def read_timing(folder: Path) -> Logged:
    """Read timing.jsonl of a run: its speed."""
    return _read_log(folder / "timing.jsonl")


def _read_log(path: Path) -> Logged:
    """Read the complete lines of a log.

    A killed run can leave a last line without its line end. Resuming drops that line, so it is
    ignored here. Other unreadable lines are counted.
    """
    if not path.is_file():
        return Logged([])
    complete_lines, end, _ = read_own(path).rpartition(b"\n")
    lines = [_parse_log_line(text) for text in (complete_lines + end).splitlines()]
    return Logged([line for line in lines if line is not None], lines.count(None))


def _parse_log_line(text: bytes) -> dict[str, float] | None:
    """Return the numbers of a line, or None for an unreadable line."""
    try:
        numbers = json.loads(text)
        # an integer of any length is JSON, but not always a float
        is_right = all(
            type(value) in (int, float) and type(float(value)) for value in numbers.values()
        )
        return numbers if is_right and 0 <= numbers["step"] < MAX_EXACT_INTEGER else None
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def read_scores(folder: Path) -> list[Mapping[str, Any]]:
    """Read the score files of a run, oldest first, and check their types and shapes.

    Raises ValueError for a file that is not a score, naming the fault.
    """
    return [_read_score(path) for path in _list_oldest_first(folder / "scores")]


def read_glue_tables(folder: Path) -> list[Mapping[str, Any]]:
    """Read the GLUE tables of a run: the newest of each mode and step; the last steps first.

    Raises ValueError for a file that is not such a table, naming the fault.
    """
    what = "a table written by selfwise glue"
    tables = [
        _read_whole(path, what, _describe_glue_fault) for path in _list_oldest_first(folder / GLUE)
    ]
    newest = {(-one["step"], MODES.index(one["mode"])): one for one in tables}
    return [newest[key] for key in sorted(newest)]


def format_glue_path(folder: Path, mode: str, step: int) -> Path:
    """Return the path of the table of a mode and step."""
    return folder / GLUE / f"{mode}-{step}.json"


def _list_oldest_first(folder: Path) -> list[Path]:
    files = [path for path in folder.glob("*.json") if path.name[0] != "."]
    return sorted(files, key=lambda path: (path.stat().st_mtime_ns, path.name))


def _read_score(path: Path) -> Mapping[str, Any]:
    return _read_whole(path, "a score written by selfwise probe", _describe_score_fault)


def _read_whole(
    path: Path, what: str, describe_fault: Callable[[Mapping[str, Any]], str]
) -> Mapping[str, Any]:
    try:
        content = json.loads(read_own(path))
        fault = (
            describe_fault(content) if isinstance(content, dict) else "it holds no names and values"
        )
    except (ValueError, RecursionError):
        fault = "it cannot be read as JSON"
    if fault:
        raise ValueError(f"{path} is not {what}: {fault}")
    return dict(content)


def _describe_score_fault(score: Mapping[str, Any]) -> str:
    """Return why the content is not a valid score, in words; "" for a valid score."""
    if fault := _find_mismatch(score, SCORE_FIELDS) or _find_mismatch(
        score, OPTIONAL_FIELDS, needed=False
    ):
        return fault
    axis = "measure" if score["kind"] == RETRIEVAL else "per_class"
    checks = {**ROW_FIELDS, **(RETRIEVAL_FIELDS if score["kind"] == RETRIEVAL else PROBE_FIELDS)}
    for number, row in enumerate(score["rows"], 1):
        against = COMPARISON_FIELDS if "difference" in row else {}
        if fault := _find_mismatch(row, {**checks, **against}) or _find_mismatch(
            row, SEED_FIELDS, needed=False
        ):
            return f"in row {number}, {fault}"
        for name, one in row.get("against", {}).items():
            if fault := _find_mismatch(one, COMPARISON_FIELDS):
                return f"in row {number}, against {name}: {fault}"
    pretrained_places = {row[axis] for row in score["rows"] if row["competitor"] == PRETRAINED}
    lone_rows = [n for n, row in enumerate(score["rows"], 1) if row[axis] not in pretrained_places]
    return f"{PRETRAINED} has no row at the {axis} of row {lone_rows[0]}" if lone_rows else ""


def _describe_glue_fault(table: Mapping[str, Any]) -> str:
    """Return why the content is not a valid GLUE table, in words; "" for a valid table."""
    if fault := _find_mismatch(table, GLUE_FIELDS):
        return fault
    names = table["competitors"]
    is_right = PRETRAINED in names and set(table["averages"]) == set(names)
    if not is_right or not GLUE_ROW_FIELDS.keys().isdisjoint(names):
        return f"competitors lack {PRETRAINED}, or are not those of the averages"
    checks = GLUE_ROW_FIELDS | dict.fromkeys(names, COMPETITOR)
    for number, row in enumerate(table["rows"], 1):
        if fault := _find_mismatch(row, checks):
            return f"in row {number}, {fault}"
        for name in names:
            if fault := _find_mismatch(row[name], GLUE_VALUE_FIELDS):
                return f"in row {number}, {name}: {fault}"
        for name, one in row["against"].items():
            if (
                fault := _find_mismatch(one, GLUE_COMPARISON_FIELDS)
                if isinstance(one, dict)
                else "it holds no names"
            ):
                return f"in row {number}, against {name}: {fault}"
    return ""


def _find_mismatch(
    content: Mapping[str, Any], checks: "Mapping[str, FieldCheck]", *, needed: bool = True
) -> str:
    """Return the first value that fails its check, in words; "" if all pass."""
    for name, (is_right, what) in checks.items():
        if name not in content and needed:
            return f"{name} is missing"
        if name in content and not is_right(content[name]):
            return f"{name} is not {what}"
    return ""


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object, *, low: float, high: float) -> bool:
    return type(value) in (int, float) and low <= value <= high  # type: ignore[operator]


def _is_count(value: object, *, least: int = 0) -> bool:
    return type(value) is int and least <= value < MAX_EXACT_INTEGER


def _is_share(value: object, *, low: float = 0.0) -> bool:
    return _is_number(value, low=low - 1e-6, high=1 + 1e-6)  # sums of floats round


def _is_list(value: object, is_right: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(is_right, value))


def _is_square(value: object) -> bool:
    """Check for counts of each class by each class; empty in scores without counts."""
    if not isinstance(value, list):
        return False
    rows = all(_is_list(row, _is_count) and len(row) == len(value) for row in value)
    return rows and (not value or any(map(any, value)))


def _is_averages(value: object) -> bool:
    numbers = isinstance(value, dict) and value.values()
    return bool(numbers) and all(v is None or _is_share(v, low=-1.0) for v in numbers or ())


def _is_table(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(one, dict) for one in value.values())


def _is_data(value: object) -> bool:
    texts = isinstance(value, dict) and all(one is None or _is_text(one) for one in value.values())
    return value is None or texts


FieldCheck = tuple[Callable[[Any], bool], str]  # a check of a value, and the expectation in words
TEXT: FieldCheck = (_is_text, "text")
TEXT_OR_NONE: FieldCheck = (lambda value: value is None or _is_text(value), "text")
SHARES: FieldCheck = (lambda v: _is_list(v, _is_share) and bool(v), "a list of numbers from 0 to 1")
DIFFERENCE: FieldCheck = (lambda value: _is_share(value, low=-1.0), "a number from -1 to 1")
SCORE_FIELDS: dict[str, FieldCheck] = {
    "kind": TEXT,
    "n_test": (_is_count, "a count"),
    "sentences": (lambda value: _is_list(value, _is_text), "a list of texts"),
    "rows": (
        lambda v: _is_list(v, lambda row: isinstance(row, dict)) and bool(v),
        "a list of rows",
    ),
}
OPTIONAL_FIELDS: dict[str, FieldCheck] = {  # missing in files of the first versions
    "step": (_is_count, "a count"),
    "layer": (lambda value: value is None or type(value) in (int, str), "a layer"),
    "pooling": TEXT_OR_NONE,
    "window": TEXT_OR_NONE,
    "k": (lambda v: v in (None, CHOSEN) or _is_count(v, least=1), f'a count or "{CHOSEN}"'),
    "warnings": (lambda value: _is_list(value, _is_text), "a list of texts"),
    **dict.fromkeys(("train", "test", "weights"), TEXT),
    "data": (_is_data, "the locations of its examples"),
    "classes": (lambda v: v is None or _is_list(v, _is_text), "a list of names"),
    "confusion": (_is_square, "a square of counts"),
}
ROW_FIELDS: dict[str, FieldCheck] = {
    "competitor": TEXT,
    "mean": (_is_share, "a number from 0 to 1"),
    "deviation": (lambda value: value is None or _is_share(value), "a number from 0 to 1"),
}
SEED_FIELDS: dict[str, FieldCheck] = {
    "drawn": (lambda value: type(value) is bool, "true or false"),
    **dict.fromkeys(("accuracies", "values"), SHARES),
    "k": (lambda v: _is_list(v, lambda k: _is_count(k, least=1)) and bool(v), "a list of counts"),
    "choices": (lambda v: _is_list(v, _is_text) and bool(v), "a list of texts"),
    "against": (_is_table, "comparisons by competitor"),
}
RETRIEVAL_FIELDS: dict[str, FieldCheck] = {"measure": TEXT}
PROBE_FIELDS: dict[str, FieldCheck] = {
    "per_class": (lambda v: v == "all" or _is_count(v, least=1), 'a count or "all"'),
    "n_train": (lambda value: _is_count(value, least=1), "a count of at least 1"),
}
COMPARISON_FIELDS: dict[str, FieldCheck] = {
    **dict.fromkeys(("difference", "low", "high"), DIFFERENCE),
    "verdict": TEXT,
}
GLUE_COMPARISON_FIELDS: dict[str, FieldCheck] = {  # correlations may differ by 2
    **dict.fromkeys(
        ("difference", "low", "high"),
        (lambda v: _is_number(v, low=-2.0, high=2.0), "a number from -2 to 2"),
    ),
    "verdict": TEXT,
}
CORRELATION: FieldCheck = (
    lambda v: _is_share(v, low=-1.0),
    "a number from -1 to 1",
)  # a correlation
GLUE_VALUE_FIELDS: dict[str, FieldCheck] = {
    "values": (
        lambda v: _is_list(v, lambda one: _is_share(one, low=-1.0)) and bool(v),
        "a list of numbers from -1 to 1",
    ),
    "mean": CORRELATION,
    "median": CORRELATION,
    "deviation": (lambda v: v is None or _is_number(v, low=0.0, high=2.0), "a number from 0 to 2"),
}
COMPETITOR: FieldCheck = (lambda value: isinstance(value, dict), "values")
GLUE_FIELDS: dict[str, FieldCheck] = {
    "mode": (lambda value: value in MODES, "frozen or finetune"),
    "centre": (lambda value: value in ("mean", "median"), "mean or median"),
    "step": (_is_count, "a count"),
    "published": TEXT,
    "competitors": (lambda v: _is_list(v, _is_text) and bool(v), "a list of texts"),
    "sentences": SCORE_FIELDS["sentences"],
    **dict.fromkeys(("asked", "data"), (_is_table, "values by task")),
    "rows": SCORE_FIELDS["rows"],
    "averages": (
        lambda value: isinstance(value, dict) and all(map(_is_averages, value.values())),
        "averages by competitor",
    ),
}
GLUE_ROW_FIELDS: dict[str, FieldCheck] = {
    **dict.fromkeys(("column", "metric"), TEXT),
    "published": (lambda v: v is None or CORRELATION[0](v), CORRELATION[1]),
    "against": (lambda value: isinstance(value, dict), "comparisons by competitor"),
}


def format_score_json(score: dict[str, Any]) -> str:
    """Return JSON with a line for each value, and a line for each class in the matrix."""
    matrix = [json.dumps(row) for row in score.pop("confusion", [])]
    text = json.dumps(score, indent=1)
    lines = ",\n  ".join(matrix)
    return f'{text[:-2]},\n "confusion": [\n  {lines}\n ]\n}}' if matrix else text
