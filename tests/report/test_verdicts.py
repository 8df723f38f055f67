"""The page begins with the verdict that probe and show print, and ends with what to do next."""

import html
import re

import pytest

from selfwise.cli import main as cli
from selfwise.report.page.parts import Command, Heading, Paragraphs
from selfwise.report.sections import next_steps, verdicts
from selfwise.report.write import write_page
from selfwise.workflows.next_steps import list_next_steps
from selfwise.workflows.verdict import read_verdicts
from tests.helpers import show_cases as cases
from tests.helpers.report_reading import parts


def read_text(page) -> str:
    body = re.sub(r"<(style|script)\b.*?</\1>", "", page.read_text("utf-8"), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", body)).replace("\u00a0", " ").split())


@pytest.mark.run
def test_probe_show_and_report_say_the_same(home, capsys):
    run, data = home / "run", home / "photos"
    assert cli.main(["probe", str(run), "--train", str(data), "--quiet"]) == 0
    last = capsys.readouterr().out.strip().splitlines()[-2]  # before where it is saved
    (told,) = read_verdicts(run, "image")
    assert last == f"Verdict: {told}"
    assert cli.main(["show", str(run)]) == 0
    assert f"  {told}\n" in capsys.readouterr().out
    text = read_text(write_page([run]))
    assert text.index(told.text) < text.index("In short")
    last_step = list_next_steps(run)[-1]
    assert text.index("What to do next") < text.index(last_step.text)
    assert text.index(last_step.text) > text.rindex("To reproduce it")


def test_statements_have_the_colour_of_their_verdict(tmp_path):
    runs = [cases.folder(tmp_path / "good", scores=[cases.score(right=0.9)])]
    runs += [cases.folder(tmp_path / "bad", scores=[cases.score(right=0.3)])]
    runs += [cases.folder(tmp_path / "new")]
    told = verdicts.list_statements(runs)
    assert [one.level for one in told] == ["good", "bad", "unknown"]
    assert [one.head for one in told] == ["good", "bad", "new"]
    assert told[2].command.startswith("selfwise probe ")
    (alone,) = verdicts.list_statements(runs[:1])
    assert alone.head == ""


def test_steps_of_several_runs_are_below_their_names(tmp_path):
    runs = [cases.folder(tmp_path / name) for name in ("one", "two")]
    found = next_steps.build_sections(runs)
    assert [part.text for part in parts(found, Heading)] == ["one", "two"]
    assert len(parts(found, Paragraphs)) <= 2 * next_steps.MAX_OF_SEVERAL
    assert all(part.text.startswith("selfwise ") for part in parts(found, Command))
