"""What `selfwise glue` leaves with a run, and the section of the report that shows it."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

import selfwise
from selfwise.cli import main as cli
from selfwise.glue.benchmark import run_glue
from selfwise.glue.published import CAPTION, NAME, PUBLISHED
from selfwise.glue.scores import COMPETITORS, GlueScores
from selfwise.report.page.parts import Table
from selfwise.report.page.plots import choose_line_color
from selfwise.report.sections import glue as section
from selfwise.report.sections import label_curve, scores, summary
from selfwise.runs import logs_and_scores
from selfwise.workflows.verdict import read_verdicts
from tests.helpers import show_cases as cases
from tests.helpers.glue_cases import write_glue
from tests.helpers.report_reading import cells, figures, parts, said

CENTRES = {"frozen": "mean", "finetune": "median"}


def task(name, metrics, more=0.0, **asked):
    """The file of a task with three seeds, one of them far off; each metric as good as the first
    less a tenth for its place."""
    values = {"pretrained": (0.6, 0.62, 0.9), "untrained": (0.5, 0.51, 0.52)}
    values["bag of words"] = (0.55, 0.55, 0.55)
    fits = [
        {"competitor": one, "seed": seed, "setting": {"layer": 1}}
        | {"scores": {name: {m: v + more - 0.1 * i for i, m in enumerate(metrics)}}}
        for one, found in values.items()
        for seed, v in enumerate(found)
    ]
    against = {"column": name, "metric": metrics[0], "competitor": "untrained"}
    against |= {"difference": 0.11, "low": 0.02, "high": 0.2, "verdict": "above the noise"}
    found = {"task": name, "asked": asked, "data": {"train": "t"}, "rows": {name: 277}}
    return found | {"notes": [], "fits": fits, "comparisons": [against]}


def tables(mode, *tasks):
    found = tasks or (task("rte", ["accuracy"]),)
    return GlueScores(mode, found, {"qqp": "there is no train.tsv in QQP"})


def left(folder, mode, *tasks, step=0):
    """As `selfwise glue` leaves it."""
    (folder / "glue").mkdir(exist_ok=True)
    told = {"step": step, **tables(mode, *tasks).to_dict()}
    logs_and_scores.format_glue_path(folder, mode, step).write_text(json.dumps(told))
    return told


@pytest.mark.parametrize("mode", CENTRES)
def test_the_section_has_the_scores_with_what_they_are_compared_to(mode, tmp_path, monkeypatch):
    drawn = figures(monkeypatch)
    folder = cases.folder(tmp_path / "run")
    left(folder, mode)
    (found,) = section.build_sections([folder])
    assert found.title == f"GLUE, {mode}"
    centre = CENTRES[mode]
    assert f"Measured on dev; {centre} of 3 seeds." in found.about
    values = np.array([0.6, 0.62, 0.9])
    told = f"{100 * (values.mean() if mode == 'frozen' else 0.62):.1f} ± 16.8"
    (row, against, *averages) = cells([found])
    assert row == ["rte", "accuracy", told, "51.0 ± 1.0", "55.0 ± 0.0", "65.70"]
    assert against == ["rte", "accuracy", "untrained", "+11.0", "+2.0 to +20.0", "above the noise"]
    assert averages[0][0] == "mean of the 1 task here"
    assert "qqp was left out: there is no train.tsv in QQP." in said([found])
    assert (
        "for means over the seeds, but the scores next to them are medians" in said([found])
    ) == (centre == "median")
    (axes,) = drawn
    dots = [line.get_xdata() for line in axes.get_lines() if len(line.get_xdata()) == 3]
    assert np.allclose(dots[0], 100 * values)
    named = {line.get_label(): line for line in axes.get_lines() if line.get_label()[0] != "_"}
    assert named[NAME].get_xdata() == pytest.approx([65.7])
    assert named["pretrained"].get_xdata() == pytest.approx([float(told.split()[0])], abs=0.05)
    assert [named[one].get_color() for one in COMPETITORS] == [
        label_curve.COMPETITOR_COLORS[one] for one in ("pretrained", "untrained", "raw input")
    ]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["rte  accuracy"]


def test_a_figure_has_a_line_for_each_task_and_a_table_one_for_each_metric(tmp_path, monkeypatch):
    drawn = figures(monkeypatch)
    folder = cases.folder(tmp_path / "run")
    left(folder, "frozen", task("mrpc", ["f1", "accuracy"]), task("rte", ["accuracy"]))
    found = section.build_sections([folder])
    assert [row[:2] for row in cells(found)[:3]] == [
        ["mrpc", "f1"],
        ["mrpc", "accuracy"],
        ["rte", "accuracy"],
    ]
    labels = [text.get_text() for text in drawn[0].get_yticklabels()]
    assert labels == ["mrpc  f1", "rte  accuracy"]


def test_tables_of_older_weights_say_so(tmp_path):
    folder = cases.folder(tmp_path / "run")
    left(folder, "frozen", step=60)
    (found,) = section.build_sections([folder])
    assert found.title == "GLUE, frozen, step 60"
    assert found.about.startswith("Of step 60, not the newest step, 0. ")
    assert section.write_lead(folder) == ""
    (verdict,) = read_verdicts(folder, "text")
    assert verdict.level == "not measured"
    left(folder, "frozen")
    assert scores.build_sections([folder]) == []
    said = "GLUE, frozen, mean of the 1 task here: 70.7 %; untrained 51.0 %; bag of words 55.0 %."
    assert section.write_lead(folder) == summary.describe_best_score(folder) == said
    (verdict,) = read_verdicts(folder, "text")
    assert "on 1 of 1 dev sets" in verdict.text


def test_the_newest_table_of_a_mode_and_step_counts(tmp_path):
    folder = cases.folder(tmp_path / "run")
    told = [left(folder, "frozen", step=step) for step in (5, 60)]
    assert logs_and_scores.read_glue_tables(folder) == told[::-1]
    again = {**told[0], "sentences": ["again"]}
    other = folder / "glue" / "again.json"
    other.write_text(json.dumps(again))
    for newest, seconds in ((told[0], 1), (again, 2**32)):
        os.utime(other, (seconds, seconds))
        assert logs_and_scores.read_glue_tables(folder)[1] == newest


def test_several_runs_have_a_column_each(tmp_path, monkeypatch):
    drawn = figures(monkeypatch)
    first, second = (cases.folder(tmp_path / name) for name in ("first", "second"))
    assert section.build_sections([first, second]) == []
    left(first, "frozen", task("rte", ["accuracy"], limit=9), task("mrpc", ["f1", "accuracy"]))
    left(second, "frozen", task("rte", ["accuracy"], more=0.05, limit=0))
    left(second, "finetune")
    together, alone = section.build_sections([first, second])
    assert (together.title, alone.title) == ("GLUE, frozen", "GLUE, finetune, second")
    table, differences, averages = parts([together], Table)
    assert table.head == ["task", "metric", "first", "second", NAME]
    assert table.rows == [
        ["rte", "accuracy", "70.7 ± 16.8", "75.7 ± 16.8", "65.70"],
        ["mrpc", "f1", "70.7 ± 16.8", "", "88.85"],
        ["mrpc", "accuracy", "60.7 ± 16.8", "", "84.07"],
    ]
    told = "+11.0 (+2.0 to +20.0), above the noise"
    assert differences.rows == [["rte", "accuracy", "untrained", told, told],
                                ["mrpc", "f1", "untrained", told, ""]]  # fmt: skip
    assert ["mean of the 1 task here", "", "75.7"] in averages.rows
    words = said([together])
    assert "not comparable between runs: rte." in words
    assert words.count("qqp was left out") == 1  # both say it
    assert "first: official (9 tasks): no average without" in words
    lines = {line.get_label(): line for line in drawn[0].get_lines()}
    assert [lines[name].get_color() for name in ("first", "second")] == [
        choose_line_color(0),
        choose_line_color(1),
    ]
    assert lines["second"].get_xdata() == pytest.approx([75.7], abs=0.05)


WRONG = [
    ({"mode": "thawed"}, "mode is not frozen or finetune"),
    ({"step": -1}, "step is not a count"),
    ({"centre": "best"}, "centre is not mean or median"),
    ({"competitors": ["untrained"]}, "competitors lack pretrained, or are not those of"),
    ({"averages": {}}, "competitors lack pretrained, or are not those of"),
    ({"averages": {"pretrained": {"a": "b"}}}, "averages is not averages by competitor"),
    ({"competitors": ["pretrained", "column"]}, "competitors lack pretrained, or are not those"),
    ({"asked": {"rte": 1}}, "asked is not values by task"),
    ({"data": None}, "data is not values by task"),
    ({"sentences": [1]}, "sentences is not a list of texts"),
    ({"rows": []}, "rows is not a list of rows"),
]
WRONG_ROWS = [
    ({"column": 1}, "in row 1, column is not text"),
    ({"untrained": None}, "in row 1, untrained is not values"),
    ({"pretrained": {"values": []}}, "in row 1, pretrained: values is not a list of numbers"),
    ({"published": "<b>"}, "in row 1, published is not a number"),
    ({"against": []}, "in row 1, against is not comparisons"),
    ({"against": {"untrained": 3}}, "in row 1, against untrained: it holds no names"),
    ({"against": {"untrained": {"low": 0.1}}}, "in row 1, against untrained: difference is miss"),
]


@pytest.mark.parametrize(("changed", "what"), WRONG + WRONG_ROWS)
def test_a_damaged_file_is_one_sentence(changed, what, tmp_path):
    folder = cases.folder(tmp_path / "run")
    told = left(folder, "frozen")
    if (changed, what) in WRONG_ROWS:
        told["rows"][0] |= changed
    else:
        told |= changed
    path = folder / "glue" / "frozen-0.json"
    path.write_text(json.dumps(told))
    with pytest.raises(ValueError, match=r"frozen-0\.json is not a table written") as error:
        logs_and_scores.read_glue_tables(folder)
    assert what in str(error.value)


def test_what_is_no_table_at_all(tmp_path):
    folder = cases.folder(tmp_path / "run")
    left(folder, "finetune")
    path = folder / "glue" / "frozen-0.json"
    for text, what in (("{", "it cannot be read as JSON"), ("[]", "no names and values")):
        path.write_text(text)
        with pytest.raises(ValueError, match=what):
            logs_and_scores.read_glue_tables(folder)


@pytest.mark.run
def test_a_measured_run_is_on_its_page(trained_bert, tmp_path, capsys, monkeypatch):
    shutil.copytree(trained_bert.folder, tmp_path / "run")
    run = selfwise.load(tmp_path / "run")
    data = write_glue(tmp_path / "glue_data", tasks=("rte", "wnli"))
    options = {"data": data, "poolings": "mean", "seeds": 1, "quiet": True}
    measured = run_glue(run, out=tmp_path / "out", **options)
    (found,) = logs_and_scores.read_glue_tables(run.folder)
    assert found == json.loads((tmp_path / "out" / "glue.json").read_text())
    assert found == json.loads(json.dumps({"step": 1, **measured.to_dict()}))
    assert cli.main(["report", str(run.folder)]) == 0
    assert "Scores" not in (page := (run.folder / "report.html").read_text())
    assert "GLUE, frozen" in page
    assert "wnli  accuracy" in page
    # a run that cannot be written to
    logs_and_scores.format_glue_path(run.folder, "frozen", 1).unlink()
    (run.folder / "glue").rmdir()
    (run.folder / "glue").write_text("")
    capsys.readouterr()
    run_glue(run, out=tmp_path / "other", **{**options, "quiet": False})
    assert "the run's report will not contain this table" in capsys.readouterr().out
    assert (tmp_path / "other" / "glue.json").exists()


def test_the_published_scores_are_beside_the_rows_they_belong_to(capsys):
    from rich.console import Console

    found = tables("frozen")
    (row,) = found.rows()
    assert row["published"] == PUBLISHED["rte", "accuracy"] == 0.657
    Console(width=160).print(found.table())
    printed = capsys.readouterr().out
    assert all(word in printed for word in NAME.split())
    (line,) = [line for line in printed.splitlines() if "rte" in line]
    assert "65.70" in line
    assert found.sentences()[-1] == CAPTION
    alone = replace(found, tasks=[{**found.tasks[0], "rows": {"mine": 3}, "fits": [
        fit | {"scores": {"mine": {"accuracy": 0.5}}} for fit in found.tasks[0]["fits"]
    ]}])  # fmt: skip
    assert alone.rows()[0]["published"] is None
    assert CAPTION not in alone.sentences()
    assert len(alone.table().columns) == len(found.table().columns) - 1
