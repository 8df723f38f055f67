"""Costs that must not grow: how growth is reckoned, and one cost from its command to its table."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from benchmarks import costs, costs_process, costs_startup
from benchmarks.circumstances import RESULTS
from benchmarks.costs_record import Found, Goal, compared, judged, peaks, record, table

ROOT = Path(__file__).parents[2]
# the last turn was disturbed, and so were both of its sizes
TURNS = {
    "small": [{"ms": 10.0, "MiB": 100.0}, {"ms": 11.0, "MiB": 100.0}, {"ms": 40.0, "MiB": 101.0}],
    "middle": [{"ms": 99.0, "MiB": 99.0}] * 3,
    "large": [{"ms": 11.0, "MiB": 104.0}, {"ms": 11.0, "MiB": 105.0}, {"ms": 48.0, "MiB": 103.0}],
}


def cost(*goals: Goal, grows: bool = True) -> ModuleType:
    return SimpleNamespace(WHAT="a thing", GOALS=list(goals), GROWS=grows)  # type: ignore[return-value]


def test_growth_is_that_of_the_largest_against_the_smallest_in_the_same_turn():
    assert compared(TURNS, "ms", "growth") == [1.1, 1.0, 1.2]
    assert compared(TURNS, "MiB", "added") == [4.0, 2.0, 5.0]


def test_a_goal_is_met_by_the_median_up_to_its_limit():
    assert judged(TURNS, Goal("ms", "growth", 1.1))["met"]
    assert not judged(TURNS, Goal("ms", "growth", 1.09))["met"]
    assert judged(TURNS, Goal("MiB", "added", 4))["met"]
    assert not judged(TURNS, Goal("MiB", "added", 3.9))["met"]


def test_a_figure_itself_is_that_of_its_size_or_of_the_largest():
    assert judged(TURNS, Goal("MiB", "is", 104))["found"] == [104, 103, 105]
    assert judged(TURNS, Goal("MiB", "is", 104, "small"))["found"] == [100, 100, 101]
    assert not judged(TURNS, Goal("MiB", "is", 103))["met"]


def test_a_record_has_sizes_growth_and_goals():
    met, missed = Goal("ms", "growth", 1.1), Goal("MiB", "added", 1)
    found = record("thing", cost(met), TURNS, {"rounds": 3})
    assert found["sizes"]["small"] == {"ms": [11, 10, 40], "MiB": [100, 100, 101]}
    assert found["growth"] == {"ms": [1.1, 1.0, 1.2], "MiB": [1.04, 1.02, 1.05]}
    assert (found["benchmark"], found["name"], found["rounds"]) == ("cost", "thing", 3)
    assert found["met"]
    assert "MISSED" not in table(found)
    found = record("thing", cost(met, missed), TURNS, {})
    assert not found["met"]
    assert [goal["met"] for goal in found["goals"]] == [True, False]
    assert "  MiB adds 4 (2 to 5), at most 1  MISSED" in table(found).splitlines()


def test_what_is_nothing_at_the_smallest_size_has_no_growth():
    turns = {"small": [{"ms": 1.0, "MiB": 0.0}], "large": [{"ms": 2.0, "MiB": 0.5}]}
    found = record("thing", cost(Goal("MiB", "added", 1)), turns, {})
    assert found["growth"] == {"ms": [2, 2, 2]}
    assert found["goals"][0]["found"] == [0.5, 0.5, 0.5]


def test_goals_of_sizes_that_were_not_measured_are_left_out():
    elsewhere = Goal("ms", "is", 0, "huge")
    assert record("thing", cost(elsewhere, grows=False), TURNS, {})["goals"] == []


def test_a_peak_is_the_most_within_its_phase():
    mib = 2**20
    seen = [(1.0, 90 * mib), (2.0, 50 * mib), (3.0, 70 * mib), (4.0, 60 * mib), (5.0, 95 * mib)]
    found = Found({}, {"opening": (1.5, 3.5), "training": (3.5, 4.5)})
    assert peaks(found, seen) == {"opening MiB": 70, "training MiB": 60}
    with pytest.raises(AssertionError, match="later was over before"):
        peaks(Found({}, {"later": (6.0, 7.0)}), seen)


@pytest.mark.run  # a process
def test_memory_of_a_file_is_not_counted_and_memory_of_its_own_is(tmp_path):
    mib = 2**20
    np.zeros(64 * mib, np.uint8).tofile(tmp_path / "file")
    # in a process of its own: this one may have freed as much, and take it from there
    script = (
        "import sys; import numpy as np; from benchmarks.costs_record import anonymous\n"
        "np.ones(1000).sum(); before = anonymous()\n"
        "mapped = np.memmap(sys.argv[1], np.uint8, mode='r'); assert mapped.sum() == 0\n"
        "looked = anonymous(); held = np.ones(mapped.size, np.uint8)\n"
        "print(looked - before, anonymous() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "file"], cwd=ROOT, capture_output=True, check=True
    )
    looked, held = map(int, done.stdout.split())
    assert looked < 32 * mib
    assert 48 * mib < held < 96 * mib


def test_memory_is_watched_from_outside(tmp_path, monkeypatch):
    script = (
        "import json, time; t = time.monotonic(); x = b'x' * (80 * 2**20); time.sleep(0.2);"
        "m = time.monotonic(); del x; time.sleep(0.2); print(json.dumps([{'ms': 1.0},"
        " {'full': [t, m], 'empty': [m + 0.05, time.monotonic()]}]))"
    )
    monkeypatch.setattr(costs_process, "COMMAND", [sys.executable, "-c", script])
    found = costs_process.apart("corpus", tmp_path, "1 MB", "wall")
    assert found["ms"] == 1
    assert 80 < found["full MiB"] < 110
    assert found["empty MiB"] < 30


def test_a_step_is_seen_on_the_bar_only_when_it_is_done():
    bar = "━━━━╺━━━━ {}/300 0:00:21 nt_xent 5.1234"
    assert not costs_startup.STEP.search(bar.format("  0").encode())
    assert costs_startup.STEP.search(bar.format("  1").encode())
    assert costs_startup.STEP.search(bar.format("120").encode())


def test_a_command_that_ends_without_a_step_is_an_error(tmp_path, monkeypatch):
    command = tmp_path / "selfwise"
    command.write_text("#!/bin/sh\necho nothing to do\n")
    command.chmod(0o755)
    monkeypatch.setattr(costs_startup, "command", lambda: str(command))
    with pytest.raises(RuntimeError, match="nothing to do"):
        costs_startup.of_first_step(tmp_path)
    command.write_text("#!/bin/sh\necho '--- 0/300'; sleep 0.3; echo '--- 2/300'; sleep 60\n")
    begun = time.monotonic()
    assert 0.3 <= costs_startup.of_first_step(tmp_path) < time.monotonic() - begun + 0.1


def run(*words: str) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "benchmarks.costs", *words]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True)


@pytest.mark.run  # a process
def test_the_cheapest_cost_from_its_command_to_its_table():
    before = RESULTS.read_bytes()
    done = run("startup", "--quick", "--dry")
    assert "Traceback" not in done.stderr, done.stderr
    assert re.search(r"^  seconds at --help is \d.*, at most 0\.5", done.stdout, re.MULTILINE)
    assert RESULTS.read_bytes() == before


def test_a_goal_that_is_missed_is_a_result(monkeypatch, capsys):
    found = record("thing", cost(Goal("MiB", "added", 1)), TURNS, {})
    assert not found["met"]
    monkeypatch.setattr(costs, "measured", lambda *told, **more: found)
    options = costs.parser().parse_args(["--dry"])
    assert costs.run(["startup"], options) == 0
    assert "MISSED" in capsys.readouterr().out


@pytest.mark.run  # a process
def test_mistakes_are_one_line():
    done = run("corpse", "--dry")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "there is no 'corpse'" in done.stderr
    assert "corpus" in done.stderr
    assert run("startup", "--rounds", "0").returncode == 2
