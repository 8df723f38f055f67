"""The harness of the comparisons: rows, turns, records, the check, the table."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import checking, comparing, limit, row, table, training, turns
from benchmarks.row import Contest, Prepared, Setting
from selfwise.train import memory

ROOT = Path(__file__).parents[1]


def record(ratio: float, *, quick: bool = False, device: str = "cpu") -> dict[str, Any]:
    contest = {**Contest("selfwise", "peer", 2.0)._asdict(), "ratio": [ratio, ratio - 0.1, ratio]}
    return {
        "benchmark": "comparison", "row": "mining", "case": "2", "device": device, "quick": quick,
        "unit": "batches", "rates": {"selfwise": [300.0, 290.0, 310.0], "peer": [0.5, 0.4, 0.6]},
        "contests": [contest], "left_out": [], "equal": "losses agree", "threads": 2,
        "clock": "wall", "vectors": "AVX2",
        "cpu": "a CPU", "torch": "2.14", "commit": "abc", "date": "2026-01-01",
    }  # fmt: skip


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


def test_the_issue_of_every_row_has_a_case_for_the_cpu():
    assert {name for name, _ in row.cases([])} == set(row.names())


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


def test_operations_of_a_step_are_counted():
    x, w = torch.randn(5, 7), torch.randn(3, 7, requires_grad=True)
    forward = 2 * 5 * 7 * 3
    assert limit.counted(lambda: torch.nn.functional.linear(x, w)) == forward
    # the gradient of w alone, as x asks for none
    step = lambda: torch.nn.functional.linear(x, w).sum().backward()  # noqa: E731
    assert limit.counted(step) == 2 * forward


def test_a_matrix_rate_is_what_the_bench_verb_measures(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limit, "product_rate", lambda *told: 123456.0 if told[1] == "bf16" else 2.0)
    assert limit.matrix_rates(["float32", "bf16"]) == {"float32": 2.0, "bf16": 123500.0}


def test_unequal_losses_stop_a_comparison():
    assert "agree within" in training.agreed([1.0, 2.0], [1.0, 2.00001], within=1e-4, what="losses")
    with pytest.raises(AssertionError, match="no numbers"):
        training.agreed([2.0, float("nan")], [2.0, 1.0], within=1e-4, what="losses")
    with pytest.raises(AssertionError, match="losses differ"):
        training.agreed([1.0, 2.0], [1.0, 2.1], within=1e-4, what="losses")


# the check


def test_a_lost_quarter_is_told():
    before = record(4.0)
    assert checking.lost(record(3.1), before) == []
    (told,) = checking.lost(record(2.9), before)
    assert told == "selfwise: 2.90 times peer, it was 4.00"
    (told,) = checking.lost(record(2.9), None)
    assert "never written down" in told


def test_a_contest_that_is_gone_is_told_and_one_that_cannot_be_is_not():
    before, now = record(4.0), record(4.0)
    other = {**now["contests"][0], "side": "selfwise bf16"}
    now["contests"].append(other)
    assert checking.lost(now, before) == [
        "selfwise bf16 against peer was not measured when it was written down"
    ]
    assert checking.lost(before, now) == ["selfwise bf16 against peer was not measured now"]
    before["left_out"].append(other)
    assert checking.lost(now, before) == []
    assert checking.lost(before, now) == []


def test_another_processor_is_told():
    now = record(4.0)
    assert checking.elsewhere(now, record(4.0)) == ""
    assert "AVX512" in checking.elsewhere(now, {**now, "vectors": "AVX512"})


def test_only_the_same_size_and_device_are_compared(tmp_path: Path, monkeypatch):
    lines = [record(9.0), record(4.0), record(1.0, quick=True), record(2.0, device="cuda")]
    lines += [record(3.0) | {"clock": "processor"}, record(3.0) | {"threads": 1}]
    file = tmp_path / "results.jsonl"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in [{"benchmark": "old"}, *lines]))
    monkeypatch.setattr(checking, "RESULTS", file)
    assert checking.last(record(5.0)) == lines[1]
    assert checking.last(record(5.0, quick=True)) == lines[2]
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines[:2]))
    assert checking.last(record(5.0, quick=True)) == lines[1]  # the same work, for longer
    away = {"cpu": "another", "vectors": "AVX512"}
    lines = [record(4.0), record(2.0) | away, record(1.0, quick=True) | away]
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert checking.last(record(5.0, quick=True)) == lines[0]  # of this processor, though older
    assert checking.last(record(5.0, quick=True) | away) == lines[2]
    assert checking.last(record(5.0) | {"cpu": "a third"}) == lines[1]  # or of any
    other = {"row": "embed", "case": "photos"}
    file.write_text(json.dumps(record(4.0) | other))
    assert checking.last(record(5.0, quick=True) | other) is None


@pytest.mark.parametrize(
    ("found", "code"), [([3.9], 0), ([2.0, 2.0], 1), ([2.0, 3.9], 0)], ids=["kept", "lost", "luck"]
)
def test_the_check_fails_where_a_ratio_is_lost_twice(found, code, monkeypatch, capsys):
    left = list(found)
    monkeypatch.setattr(command, "cases", lambda *asked: [("mining", "2")])
    monkeypatch.setattr(command.checking, "last", lambda found: record(4.0))
    monkeypatch.setattr(command, "apart", lambda *told: record(left.pop(0)))
    monkeypatch.setattr(sys, "argv", ["benchmarks", "check", "mining"])
    assert command.main() == code
    assert left == []
    said = capsys.readouterr()
    assert said.out.count("LOST: selfwise: 2.00 times peer") == found.count(2.0)
    assert said.err == ("not as they should be: mining:2\n" if code else "")


def test_a_case_that_cannot_be_measured_does_not_stop_the_others(monkeypatch, capsys):
    def apart(row, case, *told):
        if case == "2":
            raise RuntimeError("mining:2: no peer")
        return record(4.0)

    monkeypatch.setattr(command, "cases", lambda *asked: [("mining", "2"), ("mining", "4")])
    monkeypatch.setattr(command, "apart", apart)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "mining", "--dry"])
    assert command.main() == 1
    said = capsys.readouterr()
    assert said.err == "mining:2: no peer\nnot as they should be: mining:2\n"
    assert "selfwise: 4 times peer" in said.out


# the table


def test_the_table_says_what_was_met_and_what_was_missed(monkeypatch: pytest.MonkeyPatch):
    made = {"full": record(3.0), "quick": record(9.0, quick=True)}
    monkeypatch.setattr(table, "latest", lambda: {"quick": made["quick"]})
    assert "(`mining:2`, in quick)" in table.page()
    monkeypatch.setattr(table, "latest", lambda: made)
    met = table.page()
    assert "| 3 (2.9 to 3) | 2 | met |" in met
    assert "### On a GPU\n\nNot yet measured." in met
    assert "| 9 (" not in met  # the quick one
    monkeypatch.setattr(table, "latest", lambda: {"full": record(1.5)})
    assert "| 1.5 (1.4 to 1.5) | 2 | **missed** |" in table.page()


def test_the_table_has_the_last_ratios_of_other_processors(monkeypatch: pytest.MonkeyPatch):
    away = {"cpu": "another", "vectors": "AVX512"}
    every = [record(1.0) | away, record(2.5) | away, record(3.0), record(7.0, quick=True) | away]
    monkeypatch.setattr(table, "recorded", lambda: every)
    monkeypatch.setattr(table, "latest", lambda: {"full": every[2]})
    lines = [line for line in table.page().splitlines() if line.startswith("- another")]
    assert lines == ["- another (AVX512): `mining:2` 2.5 (selfwise to peer)"]
    monkeypatch.setattr(table, "recorded", lambda: every[2:3])
    assert "another processor" not in table.page()


def test_costs_have_a_line_for_each_goal(monkeypatch: pytest.MonkeyPatch):
    told = {"figure": "step ms", "how": "growth", "most": 1.1, "size": ""}
    goals = [{**told, "found": [1.3, 1.2, 1.4], "met": False}]
    goals += [{**told, "how": "is", "size": "1 GB", "found": [2.6, 2.5, 2.7], "met": True}]
    sizes = {"10 MB": {"step ms": [2.0, 1.9, 2.1]}, "1 GB": {"step ms": [2.6, 2.5, 2.7]}}
    one = {"name": "corpus", "what": "steps", "sizes": sizes, "goals": goals, "quick": False}
    one |= {"cpu": "a CPU", "vectors": "AVX2", "torch": "2", "commit": "abc", "date": "today"}
    monkeypatch.setattr(table, "recorded", lambda kind: [{**one, "quick": True}, one])
    lines = table.costs().splitlines()[2:4]
    assert lines == [
        "| steps (`corpus`) | 10 MB, 1 GB | step ms | 2, 2.6 | 1.3 (1.2 to 1.4) times, largest "
        "against smallest | 1.1 | **missed** |",
        "|  | 1 GB | step ms | 2.6 | 2.6 (2.5 to 2.7) | 1.1 | met |",
    ]
    monkeypatch.setattr(table, "recorded", lambda kind: [{**one, "quick": True}])
    assert table.costs() == "Not yet measured."


def test_a_page_without_marks_is_an_error():
    with pytest.raises(ValueError, match="has no marks"):
        table.made("nothing")


def test_the_page_is_what_the_results_make_of_it():
    text = table.PAGE.read_text()
    assert table.made(text) == text, "run: python -m benchmarks table"
    assert not {"MISSED", "COSTS"} & set(text.splitlines())  # what was to be written


# from the command line


def run(*told: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *told]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
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


def test_where_processors_differ_it_is_said_which_rows_are_of_which():
    a, b = {"cpu": "A", "vectors": "AVX2"}, {"cpu": "B", "vectors": "AVX512"}
    one = a | {"row": "gpt", "case": "cpu"}
    assert table.processors([one, one]) == "A (AVX2)"
    two = [b | {"row": "bert", "case": "mini"}, b | {"row": "embed", "case": "photos"}]
    told = "A (AVX2) for `gpt` and of B (AVX512) for `bert`, `embed`"
    assert table.processors([*two, one]) == told
    parted = [a | {"row": "bert", "case": "base"}, *two]
    told = "A (AVX2) for `bert:base` and of B (AVX512) for `bert:mini`, `embed`"
    assert table.processors(parted) == told
