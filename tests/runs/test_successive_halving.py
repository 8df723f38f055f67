"""Successive halving without training: the budget, the choice, and searches that are stopped."""

import json
from math import inf, nan

import pytest

from selfwise.runs.successive_halving import (
    HELD_OUT_LOSS,
    LABEL_FREE,
    MIN_STEPS,
    Search,
    Trial,
    find_least_budget,
    list_counts,
    plan_rungs,
    run_search,
)
from selfwise.runs.tune import fit_rung
from selfwise.runs.tune_record import TuneRecord, read_tune_record, write_tune_record

RATES = [1.0, 0.1, 10.0, 0.01, 100.0, 0.001]
BEST = 4  # rate 100


def loss(setting, steps):
    """Fall towards a loss that depends on the rate; the best rate is best at any length."""
    return abs(setting - BEST) + 1 / steps


def search(judge=HELD_OUT_LOSS, plan=None):
    plan = plan_rungs(len(RATES), 600, 2) if plan is None else plan
    return Search([{"lr": rate} for rate in RATES], judge, plan)


def run(state, value=loss, *, stop_after=inf, judge=HELD_OUT_LOSS, calls=None):
    calls = [] if calls is None else calls

    def run_trial(setting, steps):
        if len(calls) >= stop_after:
            raise KeyboardInterrupt
        calls.append((setting, steps))
        number = value(setting, steps)
        return Trial(setting, steps, 7, {} if number is None else {judge: number}, 1.0)

    return run_search(
        state, run_trial=run_trial, save=lambda: None, fit_steps=lambda k: state.plan[k][1]
    )


@pytest.mark.parametrize("settings", range(2, 20))
@pytest.mark.parametrize("measuring", [0, 3])
def test_all_trials_with_their_measurements_fit_into_the_budget(settings, measuring):
    least = find_least_budget(settings, measuring)
    assert plan_rungs(settings, least - 1, measuring) == []
    for budget in (least, least + 17, 10 * least):
        plan = plan_rungs(settings, budget, measuring)
        assert sum(count * (steps + measuring) for count, steps in plan) <= budget
        assert plan[0] == (settings, plan[0][1])
        assert plan[0][1] >= MIN_STEPS
        assert [steps for _, steps in plan] == [plan[0][1] * 3**k for k in range(len(plan))]


def test_the_best_third_goes_on():
    assert list_counts(6) == [6, 2]
    assert list_counts(10) == [10, 4, 2]
    calls = []
    run(search(), calls=calls)
    (_, short), (_, long) = search().plan
    assert calls == [(k, short) for k in range(6)] + [(4, long), (3, long)]


def test_the_best_rate_is_found():
    assert run(search()) == BEST
    assert run(search(LABEL_FREE), lambda s, n: -loss(s, n), judge=LABEL_FREE) == BEST


def test_equal_settings_are_decided_for_the_default():
    assert run(search(), lambda setting, steps: 1.0) == 0


@pytest.mark.parametrize("judge", [HELD_OUT_LOSS, LABEL_FREE])
@pytest.mark.parametrize(("gain", "chosen"), [(0.02, BEST), (0.008, 0)])
def test_a_small_lead_in_the_last_round_is_decided_for_the_default(judge, gain, chosen):
    better = -1 if judge == HELD_OUT_LOSS else 1
    gains = {0: 0.0, BEST: gain}

    def value(setting, steps):
        return 5.0 * (1 + better * gains.get(setting, -0.1))

    assert run(search(judge), value, judge=judge) == chosen


@pytest.mark.parametrize("stop_after", range(9))
def test_a_search_that_is_stopped_goes_on_after_its_last_trial(tmp_path, stop_after):
    """The state passes through tune.json, as after a kill."""
    whole, stopped = search(), search()
    run(whole)
    try:
        run(stopped, stop_after=stop_after)
    except KeyboardInterrupt:
        assert stop_after < 8
    write_tune_record(tmp_path, record(stopped))
    again = read_tune_record(tmp_path).search
    calls = []
    assert run(again, calls=calls) == BEST
    assert len(calls) == max(0, 8 - stop_after)
    assert [again.trials, again.rungs, again.chosen] == [whole.trials, whole.rungs, whole.chosen]


def test_settings_that_diverge_are_never_chosen():
    def value(setting, steps):
        return {0: nan, 1: None, 2: inf}.get(setting, 5.0 - setting)

    assert run(search(), value) == 5


def test_one_usable_setting_needs_no_second_rung():
    calls = []
    assert run(search(), lambda s, n: 1.0 if s == 2 else None, calls=calls) == 2
    assert len(calls) == 6


def test_a_search_without_a_usable_setting_is_an_error():
    with pytest.raises(ValueError, match="all 6 settings became NaN or infinite"):
        run(search(), lambda setting, steps: None)


def record(state, **changes):
    values = {"config": {"method": "simclr", "data": "x"}, "fingerprint": "f", "seed": 7}
    values |= {"steps": 2_400, "budget": 600, "measuring": 2}
    values |= {"step_seconds": 1.0, "planning_seconds": 10.0}
    return TuneRecord(**(values | changes), search=state)


def test_the_run_has_the_steps_that_the_search_has_not_used():
    state = search()
    run(state)
    spent = sum(trial.steps + 2 for trial in state.trials)
    assert record(state).rest == 2_400 - spent
    assert 1_800 <= record(state).rest < 1_850


def test_in_minutes_a_slow_search_is_shortened_and_stays_within_its_time():
    state = search()
    (count, short), (_, long) = state.plan
    assert fit_rung(record(state), None, 0) == short
    assert fit_rung(record(state), 1_000.0, 0) == short
    assert fit_rung(record(state), 310.0, 0) == (short + 2) * 300 // 580 - 2
    assert fit_rung(record(state), 60.0, 0) == 0, "not enough for 10 steps each"
    for pace in (0.5, 1.0, 1.4):  # seconds of a step in the first rung; 1 was expected
        state = search()
        run(state, stop_after=10**9)
        state.rungs, state.trials = state.rungs[:1], state.trials[:count]
        state.trials[:] = [t._replace(seconds=pace * (short + 2)) for t in state.trials]
        about = record(state)
        steps = fit_rung(about, 610.0, 1)
        assert steps == long or pace > 1
        assert steps > short
        assert about.seconds + 2 * (steps + 2) * pace <= 610
    state.trials[:] = [t._replace(seconds=2.5 * (short + 2)) for t in state.trials]
    assert fit_rung(record(state), 610.0, 1) == 0, "no time for a rung longer than the first"


def test_a_damaged_file_is_named(tmp_path):
    write_tune_record(tmp_path, record(search()))
    content = json.loads((tmp_path / "tune.json").read_text())
    del content["plan"]
    (tmp_path / "tune.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"tune\.json cannot be read: plan is wrong"):
        read_tune_record(tmp_path)
