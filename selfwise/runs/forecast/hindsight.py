"""Test the forecasts: each data set is forecast without its own measured cases."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from selfwise.runs.forecast.cases import IMPORT, MeasuredCase, read_cases
from selfwise.runs.forecast.estimate import Forecast, Level, TrainingOutline, forecast

LEVEL = 2.0  # points: a smaller difference is within the noise of most test sets


class ForecastOutcome(NamedTuple):
    """A measured case, and what was forecast without the cases of its data set."""

    case: MeasuredCase
    forecast: Forecast

    @property
    def outcome(self) -> Level:
        return judge_difference(self.case.difference)

    @property
    def is_broken_promise(self) -> bool:
        """Whether it was promised to be above the raw input and was not."""
        return self.forecast.level == "above" and self.outcome != "above"

    @property
    def is_missed(self) -> bool:
        """Whether it was not promised, and would have paid."""
        return self.forecast.level != "above" and self.outcome == "above"


class DataSetOutcome(NamedTuple):
    """The forecasts of one data set, and both kinds of error."""

    data_set: str
    cases: int
    promised: int
    above: int
    """Cases that were above the raw input."""
    broken_promises: int
    """Promised, and did not come."""
    missed: int
    """Not promised, and would have paid."""
    not_measured: int
    """Cases about which the others say nothing."""


def judge_difference(points: float) -> Level:
    """Return which level a measured difference to the raw input has."""
    return "above" if points >= LEVEL else "below" if points <= -LEVEL else "level"


def outline_case(case: MeasuredCase) -> TrainingOutline:
    """Return the plan that a measured case would have had."""
    return TrainingOutline(
        case.modality,
        case.kind,
        case.amount,
        case.method,
        case.start,
        case.steps,
        case.core_minutes,
        case.labels_per_class,
    )


def forecast_left_out(
    cases: Sequence[MeasuredCase] | None = None,
) -> Iterator[ForecastOutcome]:
    """Yield a forecast of each trained case, made without every case of its data set."""
    cases = read_cases() if cases is None else cases
    for case in cases:
        if case.method != IMPORT:
            others = [other for other in cases if other.data_set != case.data_set]
            yield ForecastOutcome(case, forecast(outline_case(case), others))


def count_errors(outcomes: Sequence[ForecastOutcome]) -> list[DataSetOutcome]:
    """Count the forecasts and both kinds of error for each data set."""
    rows = []
    for name in dict.fromkeys(one.case.data_set for one in outcomes):
        own = [one for one in outcomes if one.case.data_set == name]
        rows.append(
            DataSetOutcome(
                name,
                cases=len(own),
                promised=sum(one.forecast.level == "above" for one in own),
                above=sum(one.outcome == "above" for one in own),
                broken_promises=sum(one.is_broken_promise for one in own),
                missed=sum(one.is_missed for one in own),
                not_measured=sum(one.forecast.level == "not measured" for one in own),
            )
        )
    return rows
