"""The JSON of `OUT/<task>.json`, as types."""

from typing import NotRequired, TypedDict

PlainValue = str | int | float | bool | None
SettingValues = dict[str, PlainValue]


class FitRecord(TypedDict):
    """One fit of one competitor: see `CompetitorFit`."""

    competitor: str
    seed: int
    setting: SettingValues
    tried: list[tuple[SettingValues, float | None]]
    scores: dict[str, dict[str, float]]
    predicted: dict[str, list[float]]


class ComparisonRecord(TypedDict):
    """The pretrained encoder minus one competitor, in one metric of one column of dev."""

    column: str
    metric: str
    competitor: str
    difference: float
    low: float
    high: float
    seeds: NotRequired[list[list[float]]]  # the interval of each seed; earlier versions have none
    verdict: str


class TaskDescription(TypedDict):
    """The data of a task."""

    task: str
    data: dict[str, str]  # a split -> its fingerprint
    rows: dict[str, int]  # a split -> number of examples
    ids: dict[str, list[str]]  # a file of test -> the ids of its rows
    notes: list[str]


class TaskRecord(TaskDescription):
    """The whole file of a task."""

    asked: dict[str, object]  # the options that decide on the results
    fits: list[FitRecord]
    comparisons: list[ComparisonRecord]
    done: bool
