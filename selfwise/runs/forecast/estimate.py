"""A forecast of a score compared with the raw input, from the nearest measured cases.

Nadaraya and Watson's mean of neighbors, weighted by distance; the weights are as wide as the
nearest case is far, so that an equal case decides. The uncertainty grows with that distance, too,
so that a few cases promise nothing about data unlike theirs.
"""

from collections.abc import Iterable, Sequence
from math import exp, log10, sqrt
from typing import Literal, NamedTuple

from selfwise.evaluation.scores.names import RAW_NAMES
from selfwise.runs.forecast.cases import MeasuredCase, read_cases

Level = Literal["above", "level", "below", "not measured"]

FEW_LABELS = 10  # labels per class: what most people have when they begin
FAMILIES = (  # methods whose scores say something about each other
    {"simclr", "triplet"},
    {"rotation", "jigsaw", "colorization"},
    {"bert", "roberta", "albert", "gpt"},
)
# a distance of 1: twice this much of it leaves hardly any weight
DECADES_OF_AMOUNT, DECADES_OF_STEPS, DECADES_OF_LABELS = 1.0, 0.4, 1.5
OTHER_KIND, OTHER_METHOD = 1.0, 1.0
NARROWEST = 0.5  # width of the weights around a case at distance 0; others widen it
FARTHEST = 3.0  # cases beyond it are not compared
NOISE = 3.0  # points between two runs that differ in nothing but options and seeds
NOISE_OF_DISTANCE = 5.0  # points of it for a distance of 1
PROBABLE = 1.28  # standard deviations: one side of an 80 % interval
SHOWN = 3  # cases that a forecast names


class TrainingOutline(NamedTuple):
    """What a forecast is about: a training as it is planned, in the words of the cases."""

    modality: str
    kind: str
    amount: float
    method: str
    start: str = ""
    steps: float = 0
    core_minutes: float = 0
    labels_per_class: float = FEW_LABELS


class Forecast(NamedTuple):
    """What a training will probably be worth, compared with the raw input."""

    level: Level
    modality: str
    labels_per_class: float
    difference: float = 0.0
    """Points above the raw input, expected."""
    low: float = 0.0
    high: float = 0.0
    """An interval of 80 %."""
    distance: float = 0.0
    """From the nearest case; 0 for a case of equal data, method and budget."""
    cases: tuple[MeasuredCase, ...] = ()
    """The cases with the largest weights."""

    def __str__(self) -> str:
        if self.level == "not measured":
            return "not measured: nothing like this was measured"
        relation = {"above": "probably above", "below": "probably below"}
        few = self.labels_per_class == FEW_LABELS
        labels = "at few labels" if few else f"with {self.labels_per_class:,.0f} labels per class"
        return (
            f"{relation.get(self.level, 'about level with')} {RAW_NAMES[self.modality]} {labels} "
            f"({round(self.low):+d} to {round(self.high):+d} points)"
        )

    def list_basis(self) -> list[str]:
        """Return a line for each case that weighs most."""
        return [
            f"{case.method} on {case.data}, {case.steps:,.0f} steps, {case.labels_per_class:,.0f} "
            f"labels: {case.score:g} against {case.raw:g}"
            for case in self.cases
        ]


def forecast(outline: TrainingOutline, cases: Sequence[MeasuredCase] | None = None) -> Forecast:
    """Return the forecast for a planned training, from all measured cases unless given."""
    near = _find_near(outline, read_cases() if cases is None else cases)
    modality, labels = outline.modality, outline.labels_per_class
    if not near:
        return Forecast("not measured", modality, labels)
    distance = near[0][0]
    width = max(NARROWEST, distance)
    weights = [exp(-((far / width) ** 2) / 2) for far, _ in near]
    total = sum(weights)
    mean = sum(w * case.difference for w, (_, case) in zip(weights, near)) / total
    squares = (w * (case.difference - mean) ** 2 for w, (_, case) in zip(weights, near))
    deviation = sqrt(NOISE**2 + (NOISE_OF_DISTANCE * distance) ** 2 + sum(squares) / total)
    low, high = mean - PROBABLE * deviation, mean + PROBABLE * deviation
    level: Level = "above" if low > 0 else "below" if high < 0 else "level"
    # cases that differ in nothing that a line shows count once
    alike = {(c.data, c.method, c.steps, c.labels_per_class): c for _, c in reversed(near)}
    shown = [case for _, case in near if case in alike.values()][:SHOWN]
    return Forecast(level, modality, labels, mean, low, high, distance, tuple(shown))


def _find_near(
    outline: TrainingOutline, cases: Iterable[MeasuredCase]
) -> list[tuple[float, MeasuredCase]]:
    """Return the cases that can be compared, with their distances, the nearest first."""
    pairs = [
        (distance, case)
        for case in cases
        if (distance := measure_distance(outline, case)) is not None and distance <= FARTHEST
    ]
    return sorted(pairs, key=lambda pair: pair[0])


def measure_distance(outline: TrainingOutline, case: MeasuredCase) -> float | None:
    """Return how far a case is from a plan; None if it says nothing about it."""
    if (case.modality, case.start) != (outline.modality, outline.start):
        return None
    same = case.method == outline.method
    if not same and not any({case.method, outline.method} <= family for family in FAMILIES):
        return None
    parts = (
        OTHER_KIND * (case.kind != outline.kind),
        OTHER_METHOD * (not same),
        _count_decades(case.amount, outline.amount) / DECADES_OF_AMOUNT,
        _compare_budgets(outline, case) / DECADES_OF_STEPS,
        _count_decades(case.labels_per_class, outline.labels_per_class) / DECADES_OF_LABELS,
    )
    return sqrt(sum(part**2 for part in parts))


def _compare_budgets(outline: TrainingOutline, case: MeasuredCase) -> float:
    """Return the distance of the steps, or of the minutes of a core where steps are not known."""
    if case.steps and outline.steps:
        return _count_decades(case.steps, outline.steps)
    return _count_decades(case.core_minutes, outline.core_minutes)


def _count_decades(a: float, b: float) -> float:
    """Return the distance of two numbers in powers of ten; one if one of them is not known."""
    return abs(log10(a) - log10(b)) if a > 0 and b > 0 else 1.0
