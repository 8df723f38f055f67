"""The types of tune.json, checked before any of its values is used."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0, lt=2**53)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class PlannedRung(_Part):
    """A round that is planned: so many settings get so many steps."""

    settings: Count
    steps: Count


class BegunRung(_Part):
    """A round that has begun, with the numbers of its settings."""

    steps: Count
    settings: list[Count]


class FinishedTrial(_Part):
    """A trial with its values."""

    setting: Count
    steps: Count
    seed: int
    values: dict[str, float]
    seconds: Seconds


class TuneFile(_Part):
    """The contents of tune.json, as plain data."""

    config: dict[str, Any]
    fingerprint: str
    seed: int
    steps: Count
    budget: Count
    measuring: Count
    step_seconds: Seconds | None
    planning_seconds: Seconds
    judged_by: Literal["held_out_loss", "label_free_score"]
    settings: Annotated[list[dict[str, str | int | float | bool | None]], Field(min_length=1)]
    plan: list[PlannedRung]
    rungs: list[BegunRung]
    trials: list[FinishedTrial]
    chosen: Count | None

    def check_numbers(self) -> None:
        """Raise ValueError for numbers of settings or names of values that do not fit together."""
        numbers = [number for rung in self.rungs for number in rung.settings]
        numbers += [trial.setting for trial in self.trials]
        numbers += [] if self.chosen is None else [self.chosen]
        if any(number >= len(self.settings) for number in numbers):
            raise ValueError(f"it names setting {max(numbers)} of {len(self.settings)}")
        if any(one.keys() != self.settings[0].keys() for one in self.settings):
            raise ValueError("its settings have different options")
        if len({frozenset(trial.values) for trial in self.trials if trial.values}) > 1:
            raise ValueError("its trials have different values")
