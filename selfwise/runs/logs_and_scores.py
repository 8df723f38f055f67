"""What a run folder holds beside its weights, read without opening the run: logs and scores."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

GLUE = "glue"  # folder in which `selfwise glue` leaves its tables
MODES = ("frozen", "finetune")  # in which it measures
LARGEST = 2**53  # integers below it are floats without loss, and nothing that is counted is more
# as the probes call them; this module imports nothing of theirs
RETRIEVAL, PRETRAINED = "retrieval", "pretrained"


class Logged(NamedTuple):
    """The lines of a log, and how many of them could not be read."""

    lines: list[dict[str, float]]  # each with its step
    unreadable: int = 0

    @property
    def names(self) -> list[str]:
        """Of all values, in the order in which they first occur."""
        names = dict.fromkeys(name for line in self.lines for name in line)
        return [name for name in names if name != "step"]

    def values(self, name: str) -> tuple[list[int], list[float]]:
        """The steps at which a value was logged, and the value there."""
        there = [line for line in self.lines if name in line]
        return [int(line["step"]) for line in there], [line[name] for line in there]

    @property
    def newest(self) -> dict[str, tuple[int, float]]:
        """Of each value the last step at which it was logged, and what it was."""
        return {name: (steps[-1], values[-1]) for name, (steps, values) in self._all().items()}

    def _all(self) -> dict[str, tuple[list[int], list[float]]]:
        return {name: self.values(name) for name in self.names}


def read_metrics(folder: Path) -> Logged:
    """metrics.jsonl of a run: losses and what was measured, by step."""
    return _read(folder / "metrics.jsonl")


def read_timing(folder: Path) -> Logged:
    """timing.jsonl of a run: how fast it was."""
    return _read(folder / "timing.jsonl")


def _read(path: Path) -> Logged:
    """A log as far as it was written.

    A last line without its end is what a kill leaves, and resuming drops it, so it does not count;
    other lines that are none are counted.
    """
    if not path.is_file():
        return Logged([])
    whole, end, _ = path.read_bytes().rpartition(b"\n")
    lines = [_line(text) for text in (whole + end).splitlines()]
    return Logged([line for line in lines if line is not None], lines.count(None))


def _line(text: bytes) -> dict[str, float] | None:
    """The numbers of a line, or None if it is none of ours."""
    try:
        numbers = json.loads(text)
        # an integer of any length is JSON, but not always a float
        right = all(
            type(value) in (int, float) and type(float(value)) for value in numbers.values()
        )
        return numbers if right and 0 <= numbers["step"] < LARGEST else None
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def read_scores(folder: Path) -> list[Mapping[str, Any]]:
    """The scores of a run as they were filed, oldest first; what is in them has its type and shape.

    Raises ValueError for a file that is none, with what is wrong in it.
    """
    return [_score(path) for path in _oldest_first(folder / "scores")]


def read_glue_tables(folder: Path) -> list[Mapping[str, Any]]:
    """The tables of GLUE of a run: the newest of each mode and step; the last steps first.

    Raises ValueError for a file that is none, with what is wrong in it.
    """
    what = "table that selfwise glue has written"
    tables = [_read_whole(path, what, _wrong_glue) for path in _oldest_first(folder / GLUE)]
    newest = {(-one["step"], MODES.index(one["mode"])): one for one in tables}
    return [newest[key] for key in sorted(newest)]


def glue_path(folder: Path, mode: str, step: int) -> Path:
    """Where the table of a mode and step is."""
    return folder / GLUE / f"{mode}-{step}.json"


def _oldest_first(folder: Path) -> list[Path]:
    files = [path for path in folder.glob("*.json") if path.name[0] != "."]
    return sorted(files, key=lambda path: (path.stat().st_mtime_ns, path.name))


def _score(path: Path) -> Mapping[str, Any]:
    return _read_whole(path, "score that selfwise probe has written", _wrong)


def _read_whole(
    path: Path, what: str, wrong_of: Callable[[Mapping[str, Any]], str]
) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        wrong = wrong_of(content) if isinstance(content, dict) else "it holds no names and values"
    except (ValueError, RecursionError):
        wrong = "it cannot be read as JSON"
    if wrong:
        raise ValueError(f"{path} is no {what}: {wrong}")
    return dict(content)


def _wrong(score: Mapping[str, Any]) -> str:
    """What makes it no score, in words; "" for one."""
    if wrong := _unlike(score, _SCORE) or _unlike(score, _NEWER, needed=False):
        return wrong
    place = "measure" if score["kind"] == RETRIEVAL else "per_class"
    checks = {**_ROW, **(_RETRIEVED if score["kind"] == RETRIEVAL else _PROBED)}
    for number, row in enumerate(score["rows"], 1):
        against = _AGAINST if "difference" in row else {}
        if wrong := _unlike(row, {**checks, **against}) or _unlike(row, _SEEDS, needed=False):
            return f"in row {number}, {wrong}"
    own = {row[place] for row in score["rows"] if row["competitor"] == PRETRAINED}
    alone = [n for n, row in enumerate(score["rows"], 1) if row[place] not in own]
    return f"{PRETRAINED} has no row at the {place} of row {alone[0]}" if alone else ""


def _wrong_glue(table: Mapping[str, Any]) -> str:
    """What makes it no table of GLUE, in words; "" for one."""
    if wrong := _unlike(table, _GLUE):
        return wrong
    names = table["competitors"]
    right = PRETRAINED in names and set(table["averages"]) == set(names)
    if not right or not _GLUE_ROW.keys().isdisjoint(names):
        return f"competitors lack {PRETRAINED}, or are not those of the averages"
    checks = _GLUE_ROW | dict.fromkeys(names, _COMPETITOR)
    for number, row in enumerate(table["rows"], 1):
        if wrong := _unlike(row, checks):
            return f"in row {number}, {wrong}"
        for name in names:
            if wrong := _unlike(row[name], _VALUES):
                return f"in row {number}, {name}: {wrong}"
        for name, one in row["against"].items():
            if wrong := _unlike(one, _APART) if isinstance(one, dict) else "it holds no names":
                return f"in row {number}, against {name}: {wrong}"
    return ""


def _unlike(
    content: Mapping[str, Any], checks: "Mapping[str, _Must]", *, needed: bool = True
) -> str:
    """The first value that is not what it must be, in words."""
    for name, (right, what) in checks.items():
        if name not in content and needed:
            return f"{name} is missing"
        if name in content and not right(content[name]):
            return f"{name} is not {what}"
    return ""


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object, *, low: float, high: float) -> bool:
    return type(value) in (int, float) and low <= value <= high  # type: ignore[operator]


def _is_count(value: object, *, least: int = 0) -> bool:
    return type(value) is int and least <= value < LARGEST


def _is_share(value: object, *, low: float = 0.0) -> bool:
    return _is_number(value, low=low - 1e-6, high=1 + 1e-6)  # sums of floats round


def _is_list(value: object, right: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(right, value))


def _is_square(value: object) -> bool:
    """Counts of each class by each; none at all in scores that count nothing."""
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


_Must = tuple[Callable[[Any], bool], str]  # what a value must be, and that in words
_TEXT: _Must = (_is_text, "text")
_OR_NONE: _Must = (lambda value: value is None or _is_text(value), "text")
_SHARES: _Must = (lambda v: _is_list(v, _is_share) and bool(v), "a list of numbers from 0 to 1")
_DIFFERENCE: _Must = (lambda value: _is_share(value, low=-1.0), "a number from -1 to 1")
_SCORE: dict[str, _Must] = {
    "kind": _TEXT,
    "n_test": (_is_count, "a count"),
    "sentences": (lambda value: _is_list(value, _is_text), "a list of texts"),
    "rows": (
        lambda v: _is_list(v, lambda row: isinstance(row, dict)) and bool(v),
        "a list of rows",
    ),
}
_NEWER: dict[str, _Must] = {  # that the first versions did not file
    "step": (_is_count, "a count"),
    "layer": (lambda value: value is None or type(value) in (int, str), "a layer"),
    "pooling": _OR_NONE,
    "window": _OR_NONE,
    "k": (lambda v: v in (None, "chosen") or _is_count(v, least=1), 'a count or "chosen"'),
    "warnings": (lambda value: _is_list(value, _is_text), "a list of texts"),
    **dict.fromkeys(("train", "test", "weights"), _TEXT),
    "data": (_is_data, "the places of its examples"),
    "classes": (lambda v: v is None or _is_list(v, _is_text), "a list of names"),
    "confusion": (_is_square, "a square of counts"),
}
_ROW: dict[str, _Must] = {
    "competitor": _TEXT,
    "mean": (_is_share, "a number from 0 to 1"),
    "deviation": (lambda value: value is None or _is_share(value), "a number from 0 to 1"),
}
_SEEDS: dict[str, _Must] = {
    "drawn": (lambda value: type(value) is bool, "true or false"),
    **dict.fromkeys(("accuracies", "values"), _SHARES),
    "k": (lambda v: _is_list(v, lambda k: _is_count(k, least=1)) and bool(v), "a list of counts"),
}
_RETRIEVED: dict[str, _Must] = {"measure": _TEXT}
_PROBED: dict[str, _Must] = {
    "per_class": (lambda v: v == "all" or _is_count(v, least=1), 'a count or "all"'),
    "n_train": (lambda value: _is_count(value, least=1), "a count of at least 1"),
}
_AGAINST: dict[str, _Must] = {
    **dict.fromkeys(("difference", "low", "high"), _DIFFERENCE),
    "verdict": _TEXT,
}
_APART: dict[str, _Must] = {  # correlations may differ by 2
    **dict.fromkeys(
        ("difference", "low", "high"),
        (lambda v: _is_number(v, low=-2.0, high=2.0), "a number from -2 to 2"),
    ),
    "verdict": _TEXT,
}
_SIGNED: _Must = (lambda v: _is_share(v, low=-1.0), "a number from -1 to 1")  # a correlation
_VALUES: dict[str, _Must] = {
    "values": (
        lambda v: _is_list(v, lambda one: _is_share(one, low=-1.0)) and bool(v),
        "a list of numbers from -1 to 1",
    ),
    "mean": _SIGNED,
    "median": _SIGNED,
    "deviation": (lambda v: v is None or _is_number(v, low=0.0, high=2.0), "a number from 0 to 2"),
}
_COMPETITOR: _Must = (lambda value: isinstance(value, dict), "values")
_GLUE: dict[str, _Must] = {
    "mode": (lambda value: value in MODES, "frozen or finetune"),
    "centre": (lambda value: value in ("mean", "median"), "mean or median"),
    "step": (_is_count, "a count"),
    "published": _TEXT,
    "competitors": (lambda v: _is_list(v, _is_text) and bool(v), "a list of texts"),
    "sentences": _SCORE["sentences"],
    **dict.fromkeys(("asked", "data"), (_is_table, "values by task")),
    "rows": _SCORE["rows"],
    "averages": (
        lambda value: isinstance(value, dict) and all(map(_is_averages, value.values())),
        "averages by competitor",
    ),
}
_GLUE_ROW: dict[str, _Must] = {
    **dict.fromkeys(("column", "metric"), _TEXT),
    "published": (lambda v: v is None or _SIGNED[0](v), _SIGNED[1]),
    "against": (lambda value: isinstance(value, dict), "comparisons by competitor"),
}


def score_text(score: dict[str, Any]) -> str:
    """JSON with a line for each value, but for the matrix, which has one for each class."""
    matrix = [json.dumps(row) for row in score.pop("confusion", [])]
    text = json.dumps(score, indent=1)
    lines = ",\n  ".join(matrix)
    return f'{text[:-2]},\n "confusion": [\n  {lines}\n ]\n}}' if matrix else text
