"""The numbers of tiny runs are those that were kept: to the last digit where they were recorded,
and nearly everywhere else.

Rounding differs between processors and versions, and grows from step to step; so elsewhere the
first line is compared closely, the last one loosely, and counts are not.
"""

import json
import math
from pathlib import Path

import pytest

from tests.golden import golden_cases as golden

SAME = json.loads(golden.RECORDED.read_text()) == golden.recorded_with()
COUNTED = ("accuracy", "share", "active", "top1", "used")  # a tie may fall the other way
FIRST, LAST = 1e-5, 1e-2


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / ".cache"))
    golden.write_inputs(tmp_path)
    return tmp_path


def kept(name: str):
    """What a run was given, and the lines of its log."""
    text = find_kept(name).read_text()
    content, end = json.JSONDecoder().raw_decode(text)
    return content, [json.loads(line) for line in text[end:].splitlines() if line]


def find_kept(name: str) -> Path:
    """The file of this kind of processor, or the other kind's where this one has none yet."""
    own, other = (golden.HERE / f"{name}.json", golden.OTHER / f"{name}.json")
    return own if own.is_file() else other


def is_same(name: str) -> bool:
    """Whether every digit must agree: the file was recorded on a processor like this one."""
    return SAME and find_kept(name).parent == golden.HERE


def check_value(
    found: float, expected: float, relative: float, where: str, *, same: bool = False
) -> None:
    if same:
        assert found == expected, where
    else:
        assert math.isclose(found, expected, rel_tol=relative, abs_tol=1e-6), (
            f"{where}: {found} and {expected}"
        )


@pytest.mark.parametrize("name", golden.RUNS)
def test_a_tiny_run_gives_the_numbers_that_were_kept(name, home):
    content, expected = kept(name)
    _, log = golden.run_golden(name, home, content["options"])
    assert [line.keys() for line in log] == [line.keys() for line in expected]
    for line, wanted in zip(log, expected):
        relative = FIRST if wanted["step"] == expected[0]["step"] else LAST
        for key, value in wanted.items():
            if is_same(name) or not any(word in key for word in COUNTED):
                where = f"{name}, step {wanted['step']}, {key}"
                check_value(line[key], value, relative, where, same=is_same(name))


@pytest.mark.parametrize("name", golden.PROBES)
def test_a_probe_gives_the_accuracies_that_were_kept(name, home):
    run, _ = golden.PROBES[name]
    golden.run_golden(run, home, kept(run)[0]["options"])
    scores = golden.probe_golden(name, home)
    expected = kept("scores")[0][name]
    assert scores.keys() == expected.keys()
    for competitor, wanted in expected.items():
        assert len(scores[competitor]) == len(wanted)
        for one, other in zip(scores[competitor], wanted):
            assert math.isclose(one, other, abs_tol=0 if SAME else 0.1), competitor


def test_a_report_shows_the_numbers_that_were_kept(home):
    golden.run_golden("simclr", home, kept("simclr")[0]["options"])
    golden.probe_golden("probe_images", home)
    rows, expected = golden.report_golden(home), kept("report")[0]["rows"]
    assert len(rows) == len(expected)
    if SAME:
        assert rows == expected


def test_every_method_has_a_golden_run():
    from selfwise import methods

    assert {method for method, _, _ in golden.RUNS.values()} == set(methods.method_names())
    for name in golden.RUNS:
        log = kept(name)[1]
        assert log[-1]["step"] == golden.STEPS
