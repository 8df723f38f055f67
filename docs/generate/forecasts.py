"""The table of forecasts in docs/results.md: `python -m docs.generate.forecasts` writes it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from docs.generate.markdown import table
from selfwise.runs.forecast.hindsight import ForecastOutcome, count_errors, forecast_left_out

PAGE = Path(__file__).parents[1] / "results.md"
BEGIN, END = "<!-- forecasts: begin -->", "<!-- forecasts: end -->"
HEADS = (
    "data set",
    "cases",
    "measured, points above the raw input",
    "above",
    "forecast without this set",
    "promised, did not come",
    "not promised, would have paid",
)


def make_forecast_table() -> str:
    """Return a row for each data set, forecast without its own cases, and a row for all."""
    outcomes = list(forecast_left_out())
    rows = []
    for counts in count_errors(outcomes):
        own = [one for one in outcomes if one.case.data_set == counts.data_set]
        points = [one.case.difference for one in own]
        row = (counts.data_set, str(counts.cases), _format_points(points), str(counts.above))
        errors = (str(counts.broken_promises), str(counts.missed))
        rows.append((*row, _count_levels(own), *errors))
    broken = sum(one.is_broken_promise for one in outcomes)
    missed = sum(one.is_missed for one in outcomes)
    above = sum(one.outcome == "above" for one in outcomes)
    total = ("all", str(len(outcomes)), "", str(above), _count_levels(outcomes))
    return table(HEADS, [*rows, (*total, str(broken), str(missed))])


def _format_points(points: Sequence[float]) -> str:
    """Return a difference, or the smallest and the largest of several."""
    low, high = min(points), max(points)
    return f"{low:+.1f} to {high:+.1f}" if low < high else f"{low:+.1f}"


def _count_levels(outcomes: Sequence[ForecastOutcome]) -> str:
    """Return how many forecasts had each level."""
    counts = Counter(one.forecast.level for one in outcomes)
    levels = ("above", "level", "below", "not measured")
    return ", ".join(f"{counts[level]} {level}" for level in levels if counts[level])


def read_written_table() -> str:
    """Return the table that docs/results.md has."""
    return PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0].strip()


def write_forecast_table() -> None:
    """Write the table into docs/results.md, between its markers."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    text = f"{before}{BEGIN}\n\n{make_forecast_table().strip()}\n\n{END}{after}"
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_forecast_table()
