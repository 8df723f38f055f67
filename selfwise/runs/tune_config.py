"""Options of the short search for a setting before a run."""

from typing import Annotated

from annotated_types import Ge, Gt, Le
from pydantic import AfterValidator

from selfwise.core.config_class import Config

TUNED = "tune"  # the source of values that a search has chosen, also where the user gave others


def join_options(names: str | list[str]) -> str:
    """Return names of options in their own spelling, joined by commas."""
    parts = names.split(",") if isinstance(names, str) else names
    return ",".join(part.strip().lstrip("-").replace("-", "_") for part in parts if part.strip())


class TuningConfig(Config):
    """Options of the search; without `tune` a run has none."""

    tune: Annotated[int, Ge(0)] = 0
    """Number of settings that a short search tries before the run: learning rates around the
    default, judged on held-out examples without labels. In both measured cases the search cost a
    quarter of the budget and gained nothing (docs/results.md). 0 for no search."""
    tune_fraction: Annotated[float, Gt(0), Le(0.5)] = 0.25
    """Fraction of the steps or minutes that the search may use; the run has the rest."""
    tune_options: Annotated[str | list[str], AfterValidator(join_options)] = ""
    """Options that the search tries together with the rate, at most two, separated by commas, such
    as min_crop_scale,temperature."""

    @property
    def others(self) -> list[str]:
        """The options that are tried together with the rate."""
        names = self.tune_options
        assert isinstance(names, str), "join_options has joined them"
        return [name for name in dict.fromkeys(names.split(",")) if name not in ("", "lr")]
