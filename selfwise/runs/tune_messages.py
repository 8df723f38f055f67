"""What a search prints: its plan, a line for each trial, and the table at the end."""

from collections.abc import Mapping

from selfwise.core.progress import print_progress
from selfwise.runs.successive_halving import HELD_OUT_LOSS, LABEL_FREE, Search, Trial
from selfwise.runs.tune_record import TuneRecord
from selfwise.training.progress import format_duration

JUDGES = {HELD_OUT_LOSS: "the loss", LABEL_FREE: "the label-free score"}


def print_plan(record: TuneRecord, *, quiet: bool) -> None:
    """Print what the search tries and how long it takes."""
    search, pace = record.search, record.step_seconds
    lasts = "" if pace is None else f", about {format_duration(record.budget * pace)}"
    rungs = ", then ".join(f"{count} for {steps} steps" for count, steps in search.plan)
    lines = [
        f"search: {len(search.settings)} settings, {rungs}; compared by {JUDGES[search.judge]} of "
        "held-out examples",
        f"search: {record.budget:,} of {record.steps:,} steps with measurements{lasts}; "
        f"the run has the other {record.steps - record.budget:,}",
        *(f"  {format_setting(setting)}" for setting in search.settings),
    ]
    for line in lines:
        print_progress(line, quiet=quiet)


def describe_trial(search: Search, trial: Trial) -> str:
    """Return a line on a finished trial."""
    total = sum(len(rung.settings) for rung in search.rungs)
    total += sum(count for count, _ in search.plan[len(search.rungs) :])
    setting = format_setting(search.settings[trial.setting])
    value = trial.values.get(search.judge)
    result = "diverged" if value is None else f"{search.judge.replace('_', ' ')} {value:.4g}"
    done = len(search.trials) + 1
    return f"search: trial {done} of {total}, {setting}, {trial.steps} steps: {result}"


def format_table(record: TuneRecord) -> list[str]:
    """Return the table of all trials as aligned lines, and a sentence on the choice."""
    search, rows = record.search, tabulate_trials(record)
    assert search.chosen is not None, "the search is finished"
    width = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    table = ["  ".join(text.ljust(n) for text, n in zip(row, width)).rstrip() for row in rows]
    chosen = format_setting(search.settings[search.chosen])
    return [*(f"  {line}" for line in table), f"search: chose {chosen}; {describe_search(record)}"]


def format_setting(setting: Mapping[str, object]) -> str:
    """Return the values of a setting as text: lr 0.003, temperature 0.2."""
    return ", ".join(f"{name} {format_number(value)}" for name, value in setting.items())


def format_number(value: object) -> str:
    """Return a value of an option as text; a number with three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def tabulate_trials(record: TuneRecord) -> list[list[str]]:
    """Return a head and a row for each trial: the setting, steps, measured values, the choice."""
    search = record.search
    options = list(search.settings[0])
    values = list(dict.fromkeys(name for trial in search.trials for name in trial.values))
    rows = [[*options, "steps", "seed", *(name.replace("_", " ") for name in values), ""]]
    last = {trial.setting: number for number, trial in enumerate(search.trials)}
    for number, trial in enumerate(search.trials):
        setting = search.settings[trial.setting]
        texts = [format_number(setting[name]) for name in options]
        measured = [f"{trial.values[n]:.4g}" if trial.values else "-" for n in values]
        notes = ["default"] if trial.setting == 0 else []
        notes += [] if trial.values else ["diverged"]
        if trial.setting == search.chosen and last[trial.setting] == number:
            notes.append("chosen")
        rows.append([*texts, str(trial.steps), str(trial.seed), *measured, ", ".join(notes)])
    return rows


def describe_search(record: TuneRecord) -> str:
    """Return a sentence on what was searched, how it was judged, and what it cost."""
    search = record.search
    spent = search.count_spent(record.measuring)
    return (
        f"{len(search.settings)} settings in {len(search.trials)} trials, compared by "
        f"{JUDGES[search.judge]} of held-out examples; the search cost {spent:,} of "
        f"{record.steps:,} steps with its measurements"
    )
