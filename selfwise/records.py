"""What a run folder holds beside its weights, read without opening the run: logs and scores."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple


class Logged(NamedTuple):
    """The lines of a log, and how many of them could not be read."""

    lines: list[dict[str, float]]  # each with its step
    unreadable: int = 0

    @property
    def names(self) -> list[str]:
        """Of all values, in the order in which they first occur."""
        found = dict.fromkeys(name for line in self.lines for name in line)
        return [name for name in found if name != "step"]

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


def metrics(folder: Path) -> Logged:
    """metrics.jsonl of a run: losses and what was measured, by step."""
    return _read(folder / "metrics.jsonl")


def timing(folder: Path) -> Logged:
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
        found = json.loads(text)
    except ValueError:
        return None
    right = isinstance(found, dict) and all(type(value) in (int, float) for value in found.values())
    return found if right and "step" in found else None


def scores(folder: Path) -> list[dict[str, Any]]:
    """The scores of a run as they were filed, oldest first.

    Raises ValueError for a file that is none.
    """
    found = [path for path in (folder / "scores").glob("*.json") if path.name[0] != "."]
    return [_score(path) for path in sorted(found, key=lambda p: (p.stat().st_mtime_ns, p.name))]


def _score(path: Path) -> dict[str, Any]:
    try:
        score = json.loads(path.read_text(encoding="utf-8"))
        right = isinstance(score, Mapping) and isinstance(score["kind"], str)
        right = right and {"n_test", "sentences"} <= score.keys()
        right = right and all(
            {"competitor", "mean", "deviation"} <= row.keys() for row in score["rows"]
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        right = False
    if not right:
        raise ValueError(f"{path} is no score that selfwise probe has written")
    return dict(score)
