"""The harness of the comparisons: rows, turns, records, the command line."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import checking, comparing, limit, row, training, turns
from benchmarks.row import Contest, Prepared, Setting
from selfwise.core import memory

ROOT = Path(__file__).parents[2]


# rows on disk


@pytest.mark.parametrize("name", row.names())
def test_every_row_keeps_the_contract(name: str):
    module = row.find(name)
    assert module.__doc__
    assert len(module.PEER) > 20
    assert set(module.CASES) == set(module.GOALS)
    lone = [set(getattr(module, name, ())) for name in ("ON_GPU", "ON_CPU")]
    assert lone[0] < set(module.CASES)
    assert lone[1] <= set(module.CASES) - lone[0]
    for package in module.PACKAGES:
        assert version(package)
    for contests in module.GOALS.values():
        assert contests
        for one in contests:
            assert one.side.startswith("selfwise")
            assert not one.against.startswith("selfwise")
            assert one.goal > 0
            # a side of another precision has to say what differs
            halves = ["bf16" in side for side in (one.side, one.against)]
            assert one.best or halves[0] == halves[1], one


# how many times as fast as the peer it is meant to be on a CPU: at equal precision, and at best
MEANT = {
    "bert:mini": (2.5, 6), "bert_uneven:mini": (8, 8), "gpt:cpu": (1.3, 1.3),
    "simclr_views:32": (8, None), "simclr_views:96": (3, None), "simclr_views:224": (1.2, None),
    "simclr_step:32": (1.1, 1.5), "simclr_step:224": (1.1, 1.5), "hubert:mini": (1.5, 1.5),
    "linear_probe:lightly": (5, None), "linear_probe:sklearn": (1, None),
    "embed:photos": (1.2, 1.2), "mining:2": (10, None), "mining:4": (10, None),
    "mining:32": (10, None), "tokenize:text": (1.5, None),
}  # fmt: skip


@pytest.mark.parametrize("name", MEANT)
def test_what_is_meant_to_be_faster_was_measured_in_full(name: str):
    """With the goals that were set before anything was measured."""
    found, case = name.split(":")
    equal, best = MEANT[name]
    contests = row.find(found).GOALS[case]
    assert contests[0].goal == equal
    assert best in (None, *(one.goal for one in contests if "bf16" in one.side))
    assert (found, case) in row.cases([])
    known = [one for one in checking.recorded() if (one["row"], one["case"]) == (found, case)]
    assert any(one["device"] == "cpu" and not one["quick"] for one in known)


def test_work_of_a_run_is_timed_as_in_one():
    """The others are not: texts are made ready before a run, and embedding keeps memory itself."""
    files = {name: Path(row.find(name).__file__).read_text() for name in row.names()}
    apart = {name for name, text in files.items() if "in_a_run=True" not in text}
    assert apart == {"embed", "linear_probe", "tokenize"}


@pytest.mark.parametrize("name", row.names())
def test_who_has_other_processes_and_shares_to_reach_is_a_case(name: str):
    module = row.find(name)
    assert set(getattr(module, "OTHER_PROCESSES", ())) <= set(module.CASES)
    for case, shares in getattr(module, "SHARES", {}).items():
        assert set(shares) <= {one.side for one in module.GOALS[case]}


def test_cases_are_those_asked_for():
    assert row.cases(["gpt:small"]) == [("gpt", "small")]
    assert row.cases(["gpt"]) == [("gpt", "cpu")]
    assert row.cases(["gpt"], "cuda") == [("gpt", "small")]
    assert ("tokenize", "text") not in row.cases([], "cuda")


def test_a_gpu_has_goals_of_its_own():
    one = Contest("selfwise", "peer", 1.1, on_gpu=4)
    assert (one.on("cpu").goal, one.on("cuda").goal) == (1.1, 4)
    assert Contest("selfwise", "peer", 1.1).on("cuda").goal == 1.1


@pytest.mark.parametrize(
    ("asked", "told"), [("gtp", "did you mean 'gpt'"), ("gpt:smal", "did you mean 'small'")]
)
def test_a_wrong_name_gets_the_nearest(asked: str, told: str):
    with pytest.raises(ValueError, match=told):
        row.cases([asked])


# turns


def test_sides_take_turns_and_the_order_turns_round():
    seen: list[str] = []

    def side(name: str) -> Any:
        def run(number: int) -> float:
            seen.append(f"{name}{number // 1000}")
            return 1.0

        return run

    turns.by_turns({"a": side("a"), "b": side("b")}, rounds=3, seconds=1e-9)
    assert seen == ["a0", "b0", "a1", "b1", "b2", "a2", "a3", "b3"]


def test_in_a_run_selfwise_keeps_memory_and_a_piece_comes_first():
    seen: list[str] = []

    def side(name: str) -> Any:
        def run(number: int) -> float:
            seen.append(f"{name}{number} {memory._inside[0]}")
            return 1.0

        return run

    both = {"selfwise bf16": side("a"), "peer": side("b")}
    turns.by_turns(both, rounds=1, seconds=1e-9, in_a_run=True)
    assert seen == ["a0 1", "a1 1", "b0 0", "b1 0", "a1000 1", "a1001 1", "b1000 0", "b1001 0"]


def test_the_untimed_piece_is_over_before_the_clock_starts(monkeypatch: pytest.MonkeyPatch):
    seen: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: seen.append("over"))

    def run(number: int) -> float:
        seen.append(str(number))
        return 1.0

    turns._in_a_run("peer", run, 0, 1e-9, "wall")
    assert seen == ["0", "over", "1", "over"]


def test_a_rate_is_work_over_time(monkeypatch: pytest.MonkeyPatch):
    now = iter([0.0, 1.0, 3.0, 3.0])  # begun, after the first and the second piece, at the end
    monkeypatch.setitem(turns.CLOCKS, "wall", lambda: next(now))
    assert turns.rate(lambda number: 6.0, 0, 2.0) == 4.0


def test_ratios_are_of_the_same_round():
    rates = {"selfwise": [4.0, 9.0], "peer": [2.0, 3.0]}
    assert turns.ratios(rates, Contest("selfwise", "peer", 1.0)) == [2.0, 3.0]
    assert turns.spread([3.0, 1.0, 2.0]) == [2.0, 1.0, 3.0]


# a record


class Module:
    PACKAGES = ("numpy",)
    GOALS: ClassVar = {
        "one": [Contest("selfwise", "peer", 2.0), Contest("selfwise bf16", "peer", 3.0, "x")]
    }

    @staticmethod
    def prepare(case: str, setting: Setting) -> Prepared:
        sides = {name: lambda number: 10.0 for name in ("peer", "selfwise", "selfwise bf16", "no")}
        flops = {"selfwise": 100.0, "selfwise bf16": 100.0}
        return Prepared("things", sides, "the same", {"size": 3}, flops)


@pytest.mark.parametrize("halves", [False, True])
def test_a_record_has_what_the_machine_can_measure(monkeypatch, halves: bool):
    monkeypatch.setattr(comparing, "find", lambda name: Module)
    monkeypatch.setattr(limit, "multiplies_bf16", lambda: halves)
    monkeypatch.setattr(limit, "matrix_rates", lambda kinds, device: dict.fromkeys(kinds, 1e12))
    threads = torch.get_num_threads()
    found = comparing.measured("m", "one", Setting(threads=threads), comparing.Plan(2, 1e-4))
    assert set(found["rates"]) == {"peer", "selfwise"} | ({"selfwise bf16"} if halves else set())
    assert [one["goal"] for one in found["contests"]] == ([2.0, 3.0] if halves else [2.0])
    assert [one["goal"] for one in found["left_out"]] == ([] if halves else [3.0])
    share = found["rates"]["selfwise"][0] * 100 / 1e12
    assert found["share_of_matrix_rate"]["selfwise"] == round(share, 3)
    assert found["size"] == 3
    assert found["numpy"] == version("numpy")
    assert {"cpu", "vectors", "threads", "rounds", "commit", "date", "load_before"} <= set(found)


@pytest.mark.parametrize("in_a_run", [False, True])
def test_what_a_row_says_of_its_work_is_heard(monkeypatch, in_a_run: bool):
    seen = set()

    class Row(Module):
        @staticmethod
        def prepare(case: str, setting: Setting) -> Prepared:
            def run(number: int) -> float:
                seen.add(memory._inside[0])
                return 1.0

            sides = {"selfwise": run, "selfwise bf16": run, "peer": lambda number: 1.0}
            return Prepared("things", sides, "the same", in_a_run=in_a_run)

    monkeypatch.setattr(comparing, "find", lambda name: Row)
    setting = Setting(threads=torch.get_num_threads())
    comparing.measured("m", "one", setting, comparing.Plan(1, 1e-4))
    assert seen == {int(in_a_run)}


@pytest.mark.parametrize("said", ["", "no record\n"])
def test_a_process_without_a_record_is_named(monkeypatch, said: str):
    done = subprocess.CompletedProcess([], 0, said, "")
    monkeypatch.setattr(comparing.subprocess, "run", lambda *told, **more: done)
    with pytest.raises(RuntimeError, match=r"m:one ended without a record.*no"):
        comparing.apart("m", "one", Setting(), comparing.Plan())


def test_operations_of_a_step_are_counted():
    x, w = torch.randn(5, 7), torch.randn(3, 7, requires_grad=True)
    forward = 2 * 5 * 7 * 3
    assert limit.counted(lambda: torch.nn.functional.linear(x, w)) == forward
    # the gradient of w alone, as x asks for none
    step = lambda: torch.nn.functional.linear(x, w).sum().backward()  # noqa: E731
    assert limit.counted(step) == 2 * forward


def test_a_matrix_rate_is_what_the_bench_verb_measures(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        limit, "measure_matmul_rate", lambda *told: 123456.0 if told[1] == "bf16" else 2.0
    )
    assert limit.matrix_rates(["float32", "bf16"]) == {"float32": 2.0, "bf16": 123500.0}


def test_unequal_losses_stop_a_comparison():
    assert "agree within" in training.agreed([1.0, 2.0], [1.0, 2.00001], within=1e-4, what="losses")
    with pytest.raises(AssertionError, match="no numbers"):
        training.agreed([2.0, float("nan")], [2.0, 1.0], within=1e-4, what="losses")
    with pytest.raises(AssertionError, match="losses differ"):
        training.agreed([1.0, 2.0], [1.0, 2.1], within=1e-4, what="losses")


# from the command line


def run(*told: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *told]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.mark.slow  # a process
def test_a_row_runs_and_writes_nothing_when_dry():
    before = checking.RESULTS.read_bytes()
    found = run("mining:2", "--dry", "--quick", "--rounds", "1", "--seconds", "0.05")
    assert found.returncode == 0, found.stderr
    assert "times pytorch-metric-learning" in found.stdout
    assert checking.RESULTS.read_bytes() == before


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (["gtp"], "benchmarks: row: there is no 'gtp'; did you mean 'gpt'?"),
        (["gpt", "--rounds", "0"], "benchmarks: --rounds and --threads have to be at least 1"),
    ],
)
def test_a_mistake_is_one_line(told: list[str], line: str, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks", *told])
    assert command.main() == 2
    assert capsys.readouterr().err.startswith(line)
