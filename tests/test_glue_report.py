"""What `selfwise glue` leaves with a run, and the section of the report that shows it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import show_cases as cases
from glue_cases import write_glue
from report_reading import cells, figures, said

import selfwise
from selfwise import cli, records
from selfwise.evaluate.glue_published import NAME, PUBLISHED
from selfwise.evaluate.glue_scores import GlueScores
from selfwise.glue import glue
from selfwise.report import glue as section

CENTRES = {"frozen": "mean", "finetune": "median"}


def fit(competitor, seed, **scores):
    told = {"rte": {"accuracy": scores["rte"]}}
    return {"competitor": competitor, "seed": seed, "setting": {"layer": 1}, "scores": told}


def tables(mode):
    """Of one task with three seeds, one of them far off."""
    values = {"pretrained": (0.6, 0.62, 0.9), "untrained": (0.5, 0.51, 0.52)}
    values["bag of words"] = (0.55, 0.55, 0.55)
    fits = [fit(name, seed, rte=v) for name, vs in values.items() for seed, v in enumerate(vs)]
    against = {"column": "rte", "metric": "accuracy", "competitor": "untrained"}
    against |= {"difference": 0.11, "low": 0.02, "high": 0.2, "verdict": "above the noise"}
    found = {"task": "rte", "asked": {}, "data": {}, "rows": {"rte": 277}, "notes": []}
    found |= {"fits": fits, "comparisons": [against]}
    return GlueScores(mode, [found], {"qqp": "there is no train.tsv in QQP"})


def left(folder, mode):
    """As `selfwise glue` leaves it."""
    (folder / "glue").mkdir(exist_ok=True)
    told = {"step": 60, **tables(mode).to_dict()}
    (folder / "glue" / f"{mode}.json").write_text(json.dumps(told))
    return told


@pytest.mark.parametrize("mode", CENTRES)
def test_the_section_has_the_scores_with_what_they_are_compared_to(mode, tmp_path, monkeypatch):
    drawn = figures(monkeypatch)
    folder = cases.folder(tmp_path / "run")
    left(folder, mode)
    (found,) = section.sections([folder])
    assert found.title == f"GLUE, {mode}"
    centre = CENTRES[mode]
    assert f"Measured at step 60, on dev; {centre} of 3 seeds." in found.about
    values = np.array([0.6, 0.62, 0.9])
    told = f"{100 * (values.mean() if mode == 'frozen' else 0.62):.1f} ± 16.8"
    (row, *averages) = cells([found])
    assert row == ["rte", "accuracy", told, "51.0 ± 1.0", "55.0 ± 0.0",
                   "+11.0 (+2.0 to +20.0)", "above the noise", "65.7"]  # fmt: skip
    assert averages[0][0] == "mean of the 1 task here"
    assert "qqp is left out: there is no train.tsv in QQP." in said([found])
    (axes,) = drawn
    dots = [line.get_xdata() for line in axes.get_lines() if len(line.get_xdata()) == 3]
    assert np.allclose(dots[0], 100 * values)
    assert [text.get_text() for text in axes.get_yticklabels()] == ["rte  accuracy"]


def test_runs_are_told_apart_and_one_without_has_no_section(tmp_path):
    first, second = (cases.folder(tmp_path / name) for name in ("first", "second"))
    assert section.sections([first]) == []
    for folder in (first, second):
        left(folder, "frozen")
    left(second, "finetune")
    titles = [one.title for one in section.sections([first, second])]
    assert titles == ["GLUE, frozen, first", "GLUE, frozen, second", "GLUE, finetune, second"]


WRONG = [
    ({"mode": "thawed"}, "mode is not frozen or finetune"),
    ({"step": -1}, "step is not a count"),
    ({"centre": "best"}, "centre is not mean or median"),
    ({"competitors": ["untrained"]}, "competitors lack pretrained, or are not those of"),
    ({"averages": {}}, "competitors lack pretrained, or are not those of"),
    ({"averages": {"pretrained": {"a": "b"}}}, "averages is not averages by competitor"),
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
    path = folder / "glue" / "frozen.json"
    path.write_text(json.dumps(told))
    with pytest.raises(ValueError, match=r"frozen\.json is no table that selfwise glue") as error:
        records.glue(folder)
    assert what in str(error.value)


def test_what_is_no_table_at_all(tmp_path):
    folder = cases.folder(tmp_path / "run")
    path = folder / "glue" / "frozen.json"
    told = left(folder, "finetune")
    path.write_text(json.dumps(told))
    with pytest.raises(ValueError, match=r"frozen\.json is about another mode, finetune"):
        records.glue(folder)
    for text, what in (("{", "it cannot be read as JSON"), ("[]", "no names and values")):
        path.write_text(text)
        with pytest.raises(ValueError, match=what):
            records.glue(folder)


def test_a_measured_run_is_on_its_page(tmp_path, capsys, monkeypatch):
    line = "the old sea was calm and a small boat went far. it was old.\n"
    (tmp_path / "lines.txt").write_text(line * 20)
    told = {"tokenizer": "wordpiece:120", "held_out": 0.0, "threads": 1, "documents": "line"}
    told |= {"encoder": {"name": "bert-tiny", "dim": 16, "heads": 2, "depth": 1}, "quiet": True}
    told |= {"steps": 1, "batch": 2, "length": 16, "precision": "float32"}
    run = selfwise.pretrain("bert", data=tmp_path / "lines.txt", out=tmp_path / "run", **told)
    data = write_glue(tmp_path / "glue_data", tasks=("rte", "wnli"))
    options = {"data": data, "poolings": "mean", "seeds": 1, "quiet": True}
    scores = glue(run, out=tmp_path / "out", **options)
    (found,) = records.glue(run.folder)
    assert found == json.loads((tmp_path / "out" / "glue.json").read_text())
    assert found == json.loads(json.dumps({"step": 1, **scores.to_dict()}))
    assert cli.main(["report", str(run.folder)]) == 0
    page = (run.folder / "report.html").read_text()
    assert "GLUE, frozen" in page
    assert "wnli  accuracy" in page
    # a run that cannot be written to
    (run.folder / "glue" / "frozen.json").unlink()
    (run.folder / "glue").rmdir()
    (run.folder / "glue").write_text("")
    capsys.readouterr()
    glue(run, out=tmp_path / "other", **{**options, "quiet": False})
    assert "the run's report will not have this" in capsys.readouterr().out
    assert (tmp_path / "other" / "glue.json").exists()


def test_the_published_scores_are_beside_the_rows_they_belong_to(capsys):
    from rich.console import Console

    scores = tables("frozen")
    (row,) = scores.rows()
    assert row["published"] == PUBLISHED["rte", "accuracy"] == 65.7
    Console(width=160).print(scores.table())
    printed = capsys.readouterr().out
    assert NAME in printed
    (line,) = [line for line in printed.splitlines() if "rte" in line]
    assert "65.7" in line
    alone = replace(scores, tasks=[{**scores.tasks[0], "rows": {"mine": 3}, "fits": [
        fit | {"scores": {"mine": {"accuracy": 0.5}}} for fit in scores.tasks[0]["fits"]
    ]}])  # fmt: skip
    assert alone.rows()[0]["published"] is None
