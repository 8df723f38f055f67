"""Successive halving: many settings get few steps, and the best third gets three times as many.

Jamieson and Talwalkar 2016, arXiv:1502.07943. The factor 3 is that of Hyperband (Li et al. 2018,
arXiv:1603.06560, section 2.6). A setting starts again in each rung and its schedule is made for the
steps of that rung: a run whose rate has fallen to the end of its schedule ranks settings better
than the beginning of a longer one (Li, Yumer, Ramanan 2020, arXiv:1905.04753, section 5), and the
beginning of a longer one favors rates that are too low (Wu et al. 2018, arXiv:1803.02021). What
remains is a bias the other way: a longer run prefers a somewhat lower rate (Bjorck et al. 2024,
arXiv:2409.19913), for which `trials.fit_options` makes up where the law is known. In the last round
the defaults win unless the best is ahead by more than a hundredth: trials of a few steps differ by
as much by chance.

These functions train nothing: the caller supplies the trials.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, inf, isfinite
from typing import NamedTuple

from selfwise.core.progress import format_all

FACTOR = 3  # the best third gets three times the steps
MIN_STEPS = 10  # of a trial: fewer steps say nothing about a setting
MIN_GAIN = 0.01  # of the value of the defaults: a smaller lead in the last round is chance

DEFAULT = 0  # the number of the setting with the defaults
HELD_OUT_LOSS, LABEL_FREE = "held_out_loss", "label_free_score"
SIGNS = {HELD_OUT_LOSS: 1.0, LABEL_FREE: -1.0}  # times the value: smaller is better


class Rung(NamedTuple):
    """A round of trials with an equal number of steps."""

    steps: int
    settings: tuple[int, ...]
    """Numbers of the settings that are tried."""


class Trial(NamedTuple):
    """A finished trial."""

    setting: int
    steps: int
    seed: int
    values: Mapping[str, float]
    """The measured values; empty if the loss was not finite."""
    seconds: float


@dataclass
class Search:
    """The state of a search: its plan, and what has been tried."""

    settings: Sequence[Mapping[str, object]]
    """Values of options by name; the first setting has the defaults."""
    judge: str
    """The value by which settings are compared: held_out_loss or label_free_score."""
    plan: Sequence[tuple[int, int]]
    """The number of settings and of steps in each rung."""
    rungs: list[Rung] = field(default_factory=list)
    """The rungs that have begun."""
    trials: list[Trial] = field(default_factory=list)
    """The finished trials, in their order."""
    chosen: int | None = None
    """The setting that was chosen."""

    def score(self, trial: Trial) -> float:
        """Return a number that is smaller for a better trial, and infinite for a failed one."""
        value = trial.values.get(self.judge, inf)
        return SIGNS[self.judge] * value if isfinite(value) else inf

    def trials_of(self, number: int) -> list[Trial]:
        """Return the finished trials of a rung; -1 is the last."""
        number %= len(self.rungs)
        first = sum(len(rung.settings) for rung in self.rungs[:number])
        return self.trials[first : first + len(self.rungs[number].settings)]

    def count_spent(self, measuring: int) -> int:
        """Return the cost of all finished trials in steps, with `measuring` for each."""
        return sum(trial.steps + measuring for trial in self.trials)


def list_counts(settings: int) -> list[int]:
    """Return the number of settings in each rung, until one is left."""
    counts: list[int] = []
    while settings > 1:
        counts.append(settings)
        settings = ceil(settings / FACTOR)
    return counts


def plan_rungs(settings: int, budget: int, measuring: int) -> list[tuple[int, int]]:
    """Return the number of settings and of steps in each rung; a plan that does not fit is empty.

    Args:
        settings: number of settings.
        budget: steps that all trials together may cost.
        measuring: cost of the measurement after each trial, in steps.
    """
    counts = list_counts(settings)
    weights = [count * FACTOR**number for number, count in enumerate(counts)]
    steps = (budget - measuring * sum(counts)) // sum(weights)
    if steps < MIN_STEPS:
        return []
    return [(count, steps * FACTOR**number) for number, count in enumerate(counts)]


def find_least_budget(settings: int, measuring: int) -> int:
    """Return the smallest budget for which `plan_rungs` has a plan."""
    counts = list_counts(settings)
    return sum(n * (MIN_STEPS * FACTOR**number + measuring) for number, n in enumerate(counts))


def run_search(
    search: Search,
    *,
    run_trial: Callable[[int, int], Trial],
    save: Callable[[], None],
    fit_steps: Callable[[int], int],
) -> int:
    """Try the settings and return the number of the best one; continue a search that was stopped.

    Args:
        search: the plan with the trials so far, to which this function adds.
        run_trial: returns the trial of a setting with a number of steps.
        save: stores the search; called after each change.
        fit_steps: returns the steps of a rung that begins, at most those of the plan; 0 ends the
            search before it.

    Raises ValueError if no setting has a finite value.
    """
    alive = list(range(len(search.settings)))
    for number, (count, _) in enumerate(search.plan):
        alive = alive[:count]
        if len(alive) == 1:
            break
        if number == len(search.rungs):
            steps = fit_steps(number)
            if not steps:
                break
            search.rungs.append(Rung(steps, tuple(alive)))
            save()
        rung = search.rungs[number]
        for setting in rung.settings[len(search.trials_of(number)) :]:
            search.trials.append(run_trial(setting, rung.steps))
            save()
        alive = _rank(search, number)
    search.chosen = _choose(search, alive[0])
    save()
    return search.chosen


def _choose(search: Search, best: int) -> int:
    """Return the best setting, or the defaults where it is hardly ahead of them."""
    scores = {trial.setting: search.score(trial) for trial in search.trials_of(-1)}
    default = scores.get(DEFAULT, inf)
    is_close = isfinite(default) and default - scores[best] <= MIN_GAIN * abs(default)
    return DEFAULT if is_close else best


def _rank(search: Search, number: int) -> list[int]:
    """Return the settings of a rung, the best first; of equal settings the earlier one."""
    scores = {trial.setting: search.score(trial) for trial in search.trials_of(number)}
    finite = [setting for setting, score in scores.items() if isfinite(score)]
    if not finite:
        all_settings = format_all(len(scores), "setting")
        raise ValueError(
            f"the search has no usable setting: the loss of {all_settings} became NaN "
            "or infinite; give a lower --lr, around which the search looks"
        )
    return sorted(finite, key=lambda setting: (scores[setting], setting))
