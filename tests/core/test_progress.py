"""Lines on stderr about work that takes a while."""

import pytest

from selfwise.core.progress import (
    format_all,
    format_count,
    format_none,
    hide_progress,
    obey_quiet,
    print_progress,
    report_tenths,
)


def test_progress_goes_to_stderr_unless_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    print_progress("reading")
    print_progress("layer 3", prefix="units: ")
    print_progress("hidden", quiet=True)
    assert capsys.readouterr() == ("", "reading\nunits: layer 3\n")


def test_every_tenth_is_reported_once(capsys: pytest.CaptureFixture[str]) -> None:
    report = report_tenths(lambda done, total: f"{done} of {total}", min_total=10)
    for done in range(41):
        report(done, 40)
    assert capsys.readouterr().err.splitlines() == [f"{d} of 40" for d in range(4, 41, 4)]


def test_short_work_is_not_reported(capsys: pytest.CaptureFixture[str]) -> None:
    report = report_tenths(lambda done, total: f"{done} of {total}", min_total=10)
    for done in range(11):
        report(done, 10)
    assert capsys.readouterr().err == ""


def test_parts_that_do_not_know_of_quiet_obey_it(capsys: pytest.CaptureFixture[str]) -> None:
    @obey_quiet
    def read(name: str, *, quiet: bool = False) -> str:
        report = report_tenths(lambda done, total: f"{name}: {done} of {total}", min_total=0)
        report(5, 10)
        return name

    assert read("loud") == "loud"
    assert read("hidden", quiet=True) == "hidden"
    assert read("b", quiet=False) == "b"
    assert capsys.readouterr().err == "loud: 5 of 10\nb: 5 of 10\n"
    with pytest.raises(RuntimeError), hide_progress():
        raise RuntimeError
    print_progress("again")
    assert capsys.readouterr().err == "again\n"


def test_numbers_agree_with_their_words():
    assert format_count(1, "file", "are", "left out") == "1 file is left out"
    assert format_count(2000, "file", "are", "left out") == "2,000 files are left out"
    assert format_all(1, "frame", "have", "one label") == "the only frame has one label"
    assert format_all(5, "frame", "have", "one label") == "all 5 frames have one label"
    assert format_none(1, "file") == "the only file cannot"
    assert format_none(1300, "file") == "none of the 1,300 files can"
