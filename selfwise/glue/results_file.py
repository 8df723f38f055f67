"""The types of `OUT/<task>.json`, checked before any of its values is used."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class FitPart(_Part):
    """The types of `FitRecord`."""

    competitor: str
    seed: int
    setting: dict[str, str | int | float | bool | None]
    tried: list[list[Any]]
    scores: dict[str, dict[str, float]]
    predicted: dict[str, list[float]]


class ComparisonPart(_Part):
    """The types of `ComparisonRecord`."""

    column: str
    metric: str
    competitor: str
    difference: float
    low: float
    high: float
    seeds: list[list[float]] = []
    verdict: str


class ResultsFile(_Part):
    """The types of `TaskRecord`."""

    task: str
    asked: dict[str, Any]
    data: dict[str, str]
    rows: dict[str, int]
    ids: dict[str, list[str]]
    notes: list[str]
    fits: list[FitPart]
    comparisons: list[ComparisonPart]
    done: bool
