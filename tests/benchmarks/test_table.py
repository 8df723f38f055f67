"""The tables of docs/performance.md."""

import json

import pytest

from benchmarks import checking, table
from tests.helpers.benchmark_cases import record


def test_the_table_says_what_was_met_and_what_was_missed(monkeypatch: pytest.MonkeyPatch):
    made = {"full": record(3.0), "quick": record(9.0, quick=True)}
    monkeypatch.setattr(table, "latest", lambda: {"quick": made["quick"]})
    assert "(`mining:2`, in quick)" in table.page()
    monkeypatch.setattr(table, "latest", lambda: made)
    met = table.page()
    assert "| 3 (2.9 to 3; 5) | 2 | met |" in met
    assert "### On a GPU\n\nNot yet measured." in met
    assert "| 9 (" not in met  # the quick one
    monkeypatch.setattr(table, "latest", lambda: {"full": record(1.5)})
    assert "| 1.5 (1.4 to 1.5; 5) | 2 | **missed** |" in table.page()


def test_the_newest_measurement_is_shown_whatever_its_threads(tmp_path, monkeypatch):
    lines = [record(5.0), record(6.0) | {"threads": 1}, record(7.0)]
    file = tmp_path / "results.jsonl"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    monkeypatch.setattr(checking, "RESULTS", file)
    assert "| 7 (6.9 to 7; 5) |" in table.page()
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines[:2]))
    assert "| 6 (5.9 to 6; 5) |" in table.page()


def test_a_share_of_the_matrix_rate_may_have_a_goal():
    shares = {"selfwise bf16": 0.6, "selfwise bf16 compiled": 0.49}
    one = record(3.0) | {"row": "bert", "case": "base", "share_of_matrix_rate": shares}
    line = table.limits([one]).splitlines()[-1]
    assert line.endswith("selfwise bf16 60%, selfwise bf16 compiled 49% (goal 50%: **missed**)")
    shares["selfwise bf16 compiled"] = 0.5
    assert table.limits([one]).endswith("50% (goal 50%: met)")


def test_the_table_has_the_last_ratios_of_other_processors(monkeypatch: pytest.MonkeyPatch):
    away = {"cpu": "another", "vectors": "AVX512"}
    every = [record(1.0) | away, record(2.5) | away, record(3.0), record(7.0, quick=True) | away]
    monkeypatch.setattr(table, "recorded", lambda: every)
    monkeypatch.setattr(table, "latest", lambda: {"full": every[2]})
    lines = [line for line in table.page().splitlines() if line.startswith("- another")]
    assert lines == [
        "- another (AVX512; 2026-01-01; commits abc): `mining:2` 2.5 (selfwise to peer)"
    ]
    monkeypatch.setattr(table, "recorded", lambda: every[2:3])
    assert "another processor" not in table.page()


def test_costs_have_a_line_for_each_goal(monkeypatch: pytest.MonkeyPatch):
    told = {"figure": "step ms", "how": "growth", "most": 1.1, "size": ""}
    goals = [{**told, "found": [1.3, 1.2, 1.4], "met": False}]
    goals += [{**told, "how": "is", "size": "1 GB", "found": [2.6, 2.5, 2.7], "met": True}]
    sizes = {"10 MB": {"step ms": [2.0, 1.9, 2.1]}, "1 GB": {"step ms": [2.6, 2.5, 2.7]}}
    one = {"name": "corpus", "what": "steps", "sizes": sizes, "goals": goals, "quick": False}
    one |= {"cpu": "a CPU", "vectors": "AVX2", "torch": "2", "commit": "abc", "date": "today"}
    one |= {"clock": "wall"}
    others = [{**one, "quick": True}, one, {**one, "clock": "processor", "goals": []}]
    monkeypatch.setattr(table, "recorded", lambda kind: others)
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
