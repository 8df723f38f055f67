"""A short search for the setting of a run, which then has the rest of the budget.

Each trial is a short run of its own: equal weights before training, equal batches and views, a
schedule for its number of steps. Examples that no trial trains on judge it. The held-out loss may
choose the rate and the warm-up; other options change what the loss means, so that a label-free
score of the encoder chooses them (`evaluation/monitors/view_agreement.py`).
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic

from selfwise.core.config_class import spell_option
from selfwise.core.files import hold_lock
from selfwise.core.own_files import remove_run
from selfwise.core.progress import print_progress
from selfwise.runs.prepare import PreparedRun, change_options
from selfwise.runs.steps import plan_steps
from selfwise.runs.successive_halving import (
    HELD_OUT_LOSS,
    LABEL_FREE,
    MIN_STEPS,
    Search,
    Trial,
    find_least_budget,
    plan_rungs,
    run_search,
)
from selfwise.runs.trials import Trials, make_trials, split_data
from selfwise.runs.tune_config import TUNED
from selfwise.runs.tune_messages import describe_trial, format_table, print_plan
from selfwise.runs.tune_record import (
    TuneRecord,
    read_tune_record,
    write_tune_record,
)
from selfwise.runs.tune_settings import WARMUP, list_candidates, make_settings
from selfwise.runs.unfinished import check_same_request, to_plain
from selfwise.training.config import ResolvedTraining

Rungs = list[tuple[int, int]]  # number of settings and of steps in each


def tune_run(prepared: PreparedRun, out: Path, *, quiet: bool) -> PreparedRun:
    """Search for a setting, record the search in `out`, and return the run with it.

    A search that was stopped continues after its last finished trial. The returned run has the
    steps or minutes that are left of its budget.

    Raises ValueError with one sentence if the search does not fit into its fraction of the budget,
    or if `out` holds a search with other options or data. An error removes what a new search has
    written, and word vectors before it.
    """
    known = read_tune_record(out)
    if known is not None:
        check_same_request(out, "search", known.config, known.fingerprint, prepared)
    try:
        record = known or _plan(prepared, quiet=quiet)
        base = _resolve_base(prepared, record.steps, record.budget)
        trials = make_trials(prepared, base, record.search.judge)
        if known is None:
            print_plan(record, quiet=quiet)
            write_tune_record(out, record)
        with hold_lock(out / ".lock", wait=False):
            _search(record, trials, out, quiet=quiet)
    except TimeoutError as error:
        raise ValueError(f"{out} is being searched by another process") from error
    except ValueError:
        if known is None and out.exists():
            remove_run(out)
        raise
    return _choose(prepared, base, record)


def _resolve_base(prepared: PreparedRun, steps: int, budget: int) -> ResolvedTraining:
    """Return the options of the run after the search, with the default setting."""
    training = prepared.training.replace(steps=steps - budget, epochs=None, minutes=None)
    return prepared.fit_budget(training)


def _plan(prepared: PreparedRun, *, quiet: bool) -> TuneRecord:
    """Plan a new search: its settings, and the steps of each rung."""
    assert prepared.request is not None, "a new run has its request"
    begun = monotonic()
    request, seed = prepared.request, prepared.seed
    probes = prepared.data.probes(prepared.method, prepared.training, seed=seed)
    plan = plan_steps(prepared, probes, estimate=not quiet, quiet=quiet)
    steps, tuning = plan.training.steps, request.config.tuning
    data = split_data(prepared)
    share = int(tuning.tune_fraction * steps)
    count, others = tuning.tune, tuning.others
    base = _resolve_base(prepared, steps, share)
    candidates = {name: list_candidates(request, name, base) for name in others}
    settings = make_settings(count, base.lr, candidates, seed=seed)
    rungs = _fit_rungs(prepared, len(settings), steps, data.cost)
    judge = HELD_OUT_LOSS if set(others) <= {WARMUP} else LABEL_FREE
    return TuneRecord(
        config=to_plain(prepared.record.config),
        fingerprint=prepared.record.info.fingerprint,
        seed=seed,
        steps=steps,
        budget=sum(n * (length + data.cost) for n, length in rungs),
        measuring=data.cost,
        step_seconds=plan.seconds / steps if plan.seconds else None,
        planning_seconds=round(monotonic() - begun, 3),
        search=Search(settings, judge, rungs),
    )


def check_search_fits(prepared: PreparedRun) -> None:
    """Raise ValueError if a search does not fit into a budget of steps.

    Where the budget is a time, only its steps, which must be measured, can tell.
    """
    assert prepared.request is not None, "a new run has its request"
    if prepared.training.minutes is None:
        probes = prepared.data.probes(prepared.method, prepared.training, seed=prepared.seed)
        steps = plan_steps(prepared, probes, estimate=False, quiet=True).training.steps
        _fit_rungs(prepared, prepared.request.config.tuning.tune, steps, split_data(prepared).cost)


def _fit_rungs(prepared: PreparedRun, settings: int, steps: int, cost: int) -> Rungs:
    """Return the number of settings and of steps in each rung. Raises ValueError if none fits."""
    assert prepared.request is not None, "a new run has its request"
    tuning, minutes = prepared.request.config.tuning, prepared.training.minutes
    rungs = plan_rungs(settings, int(tuning.tune_fraction * steps), cost)
    if not rungs:
        least = find_least_budget(settings, cost)
        whole = -(-least // tuning.tune_fraction)
        has = f"{minutes:g} minutes are about {steps:,}" if minutes else f"the run has {steps:,}"
        raise ValueError(
            f"{spell_option('tune')} {tuning.tune} needs {whole:,.0f} steps, {least:,} of them "
            f"({tuning.tune_fraction:.0%}) for the search, and {has}: give "
            f"{'more minutes' if minutes else f'{whole:,.0f} steps'}, or a larger "
            f"{spell_option('tune_fraction')}"
        )
    return rungs


def _search(record: TuneRecord, trials: Trials, out: Path, *, quiet: bool) -> None:
    """Run the trials that are left, and store each one as soon as it is finished."""
    search, prepared = record.search, trials.prepared
    if search.chosen is not None:
        return
    if search.trials:
        text = f"search: continuing after {len(search.trials)} finished trials"
        print_progress(text, quiet=quiet)

    def run_trial(number: int, steps: int) -> Trial:
        trial = trials.run(dict(search.settings[number]), steps, number)
        print_progress(describe_trial(search, trial), quiet=quiet)
        return trial

    try:
        run_search(
            search,
            run_trial=run_trial,
            save=partial(write_tune_record, out, record),
            fit_steps=partial(fit_rung, record, _limit_seconds(prepared)),
        )
    except KeyboardInterrupt as stop:
        done = len(search.trials)
        raise KeyboardInterrupt(
            f"stopped in the search, with {done} trials saved; continue with: selfwise resume {out}"
        ) from stop
    for line in format_table(record):
        print_progress(line, quiet=quiet)


def _limit_seconds(prepared: PreparedRun) -> float | None:
    """Return the seconds that the search may take, if the budget is a time."""
    minutes = prepared.training.minutes
    if minutes is None or prepared.request is None:
        return None
    return 60 * minutes * prepared.request.config.tuning.tune_fraction


def fit_rung(record: TuneRecord, limit: float | None, number: int) -> int:
    """Return the steps of a rung that begins.

    If the budget is a time, a rung is shortened where the trials so far were slower than expected;
    0 if not enough time is left for one that is longer than the rung before.
    """
    plan, search = record.search.plan, record.search
    steps = plan[number][1]
    if limit is None:
        return steps
    assert record.step_seconds is not None, "minutes are measured"
    spent = search.count_spent(record.measuring)
    trial_seconds = sum(trial.seconds for trial in search.trials)
    pace = trial_seconds / spent if spent else record.step_seconds
    cost = sum(count * (length + record.measuring) for count, length in plan[number:])
    left = (limit - record.seconds) / pace
    if left >= cost:
        return steps
    fitted = int((steps + record.measuring) * left / cost) - record.measuring
    least = search.rungs[-1].steps + 1 if search.rungs else MIN_STEPS
    return fitted if fitted >= least else 0


def _choose(prepared: PreparedRun, base: ResolvedTraining, record: TuneRecord) -> PreparedRun:
    """Return the run with the chosen setting and what is left of its budget."""
    search = record.search
    assert search.chosen is not None, "the search is finished"
    values = dict(search.settings[search.chosen])
    sources = dict.fromkeys(values, TUNED)
    # a rate belongs to an optimizer: without it, a rule for both would no longer apply
    if base.optimizer != prepared.training.optimizer:
        values, sources = (
            {**values, "optimizer": base.optimizer},
            {**sources, "optimizer": "budget"},
        )
    chosen = change_options(prepared, values, sources)
    training = chosen.training
    if training.minutes is None:
        training = training.replace(steps=record.rest, epochs=None)
    else:
        training = training.replace(minutes=training.minutes - record.seconds / 60)
    return replace(chosen, training=training)
