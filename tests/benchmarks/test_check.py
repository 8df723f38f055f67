"""The check of what was written down last."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import checking
from tests.helpers.benchmark_cases import record


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


def test_what_is_lost_has_to_be_lost_again(monkeypatch, capsys):
    """Bad luck of one contest, and then of another one, is no loss."""

    def both(*ratios: float) -> dict[str, Any]:
        (one,) = record(0)["contests"]
        named = zip(("selfwise", "selfwise bf16"), ratios)
        made = [{**one, "side": side, "ratio": [ratio] * 3} for side, ratio in named]
        rates = {side: [1.0] * 3 for side in ("selfwise", "selfwise bf16", "peer")}
        return record(0) | {"contests": made, "rates": rates}

    left = [both(1.0, 4.0), both(4.0, 1.0)]
    monkeypatch.setattr(command, "cases", lambda *asked: [("mining", "2")])
    monkeypatch.setattr(command.checking, "last", lambda found: both(4.0, 4.0))
    monkeypatch.setattr(command, "apart", lambda *told: left.pop(0))
    monkeypatch.setattr(sys, "argv", ["benchmarks", "check", "mining"])
    assert command.main() == 0
    assert left == []


def test_what_was_never_written_down_is_measured_once(monkeypatch, capsys):
    left = [record(4.0)]
    monkeypatch.setattr(command, "cases", lambda *asked: [("mining", "2")])
    monkeypatch.setattr(command.checking, "last", lambda found: None)
    monkeypatch.setattr(command, "apart", lambda *told: left.pop(0))
    monkeypatch.setattr(sys, "argv", ["benchmarks", "check", "mining"])
    assert command.main() == 1
    assert "never written down" in capsys.readouterr().out


def test_one_processs_clock_is_not_for_work_of_several(monkeypatch, capsys):
    monkeypatch.setattr(command, "apart", lambda *told: pytest.fail("it was measured"))
    monkeypatch.setattr(sys, "argv", ["benchmarks", "embed", "--clock", "processor", "--dry"])
    assert command.main() == 2
    assert "others work for embed:photos" in capsys.readouterr().err


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
