"""Runs are ranked by a score that they share, and their curves are drawn where they compare."""

import pytest

from selfwise.report.page.parts import Command, Table
from selfwise.report.sections import curves, ranking
from selfwise.runs.score_groups import format_row
from tests.helpers import show_cases as cases
from tests.helpers.report_reading import cells, figures, lines, parts, said


@pytest.fixture
def drawn(monkeypatch):
    """The figures in the order in which they are made, as matplotlib has them."""
    return figures(monkeypatch)


def made(tmp_path, **scores):
    """Run folders with these scores."""
    return [cases.folder(tmp_path / name, scores=files) for name, files in scores.items()]


def test_the_best_comes_first_and_runs_without_a_score_last(tmp_path):
    runs = made(
        tmp_path,
        low=[cases.score(right=0.3)],
        new=[],
        top=[cases.score(right=0.9)],
        near=[cases.score(right=0.85)],
        other=[cases.score(right=0.99, test="elsewhere")],
    )
    found = ranking.build_sections(runs)
    rows = cells(found)
    assert [row[:2] for row in rows] == [
        ["1", "top"],
        ["2", "near"],
        ["3", "low"],
        ["", "new"],
        ["", "other"],
    ]
    assert rows[0][4] == "the first"
    assert rows[1][4].endswith("within the noise of the first")
    assert rows[2][4].endswith("beyond the noise")
    assert rows[3][4] == "not yet measured"
    assert rows[4][4] == "measured with other settings or on other examples"
    assert "linear probe, with all labels, 40 test examples of digits:test" in said(found)
    assert [part.text for part in parts(found, Command)] == [
        f"selfwise probe {run} --train digits:train --test digits:test"
        for run in (runs[1], runs[4])
    ]


def test_numbers_of_the_ranking_are_those_of_the_scores(tmp_path):
    file = cases.score(right=0.7)
    (row,) = [r for r in file["rows"] if (r["competitor"], r["per_class"]) == ("pretrained", "all")]
    (table,) = parts(ranking.build_sections(made(tmp_path, a=[file], b=[file])), Table)
    low, high = (float(end) for end in table.rows[0][3].split(" to "))
    assert table.rows[0][2] == format_row(row)
    assert low < 100 * row["mean"] < high
    assert table.rows[1][4] == "+0.0, within the noise of the first"


def test_the_number_that_most_runs_share_decides(tmp_path):
    """Not the one with the most labels, of which there are two; and no layer."""
    few, everything = cases.score(budgets=(5,)), cases.score(budgets=(None,))
    runs = made(tmp_path, a=[few, everything], b=[few, everything], c=[few])
    assert "with 5 labels per class" in said(ranking.build_sections(runs))
    layers = [few, cases.score(budgets=(None,), layer=-2)]
    runs = made(tmp_path / "more", a=layers, b=layers)
    assert "with 5 labels per class" in said(ranking.build_sections(runs))


def test_runs_that_share_nothing_are_not_ranked(tmp_path):
    runs = made(tmp_path, a=[cases.score()], b=[cases.score(test="elsewhere")], c=[])
    found = ranking.build_sections(runs)
    assert "cannot be ranked" in said(found)
    assert cells(found) == []
    commands = [part.text.split()[2] for part in parts(found, Command)]
    assert commands == [str(run) for run in runs[1:]]
    assert ranking.build_sections(runs[:1]) == []


LOG = cases.lines({"step": 20, "nt_xent": 5.0, "lr": 0.5}, {"step": 40, "nt_xent": 4.0, "lr": 0.2})


def test_losses_that_cannot_be_compared_have_their_own_plots(tmp_path, drawn):
    options = [{}, {"temperature": 0.9}, {"seed": 1}]
    runs = [
        cases.folder(tmp_path / name, cases.settings(**told), metrics=LOG)
        for name, told in zip("abc", options)
    ]
    found = curves.build_sections(runs)
    losses = [axes for axes in drawn if axes.get_title(loc="left") == "NT-Xent loss, nats"]
    assert [len(lines(axes)) for axes in losses] == [2, 1]
    (rates,) = [axes for axes in drawn if axes.get_title(loc="left") == "learning rate"]
    assert len(lines(rates)) == 3
    text = said(found)
    assert 'The plots of "NT-Xent loss" are separate' in text
    assert "runs that differ in temperature (0.2 in a and c; 0.9 in b)." in text
    assert "Of a and c alone." in text
    assert "Of b alone." in text


def test_colours_of_runs_stay_where_plots_are_apart(tmp_path, drawn):
    runs = [
        cases.folder(tmp_path / name, cases.settings(temperature=t), metrics=LOG)
        for name, t in (("a", 0.2), ("b", 0.9))
    ]
    curves.build_sections(runs)
    first, second = drawn[:2]
    rates = drawn[-1]
    colors = [line.get_color() for line in rates.lines]
    assert [axes.lines[0].get_color() for axes in (first, second)] == colors
