"""Curves and options of the page are what the files of the runs say."""

import shutil
from dataclasses import replace

import pytest

from selfwise.report.page import page
from selfwise.report.page.parts import Command, Picture
from selfwise.report.page.plots import GREY, choose_line_color, shorten_name, spread_labels
from selfwise.report.sections import curves, logged_runs, options, scores, summary
from selfwise.runs.reproduce import format_reproduce_command
from selfwise.runs.resume import resume
from tests.helpers import show_cases as cases
from tests.helpers.report_cases import photos, simclr
from tests.helpers.report_reading import cells, figures, lines, parts, said, titled


@pytest.fixture
def drawn(monkeypatch):
    """The figures in the order in which they are made, as matplotlib has them."""
    return figures(monkeypatch)


LOG = cases.lines(
    {"step": 20, "nt_xent": 5.0, "contrastive_top1": 0.25, "lr": 0.5},
    {"step": 40, "nt_xent": 4.0, "contrastive_top1": 0.5, "lr": 0.25, "effective_rank": 8.0},
    {"step": 60, "nt_xent": 4.5, "contrastive_top1": 0.75, "lr": 0.125},
)
TIMES = cases.lines({"step": 20, "steps_per_second": 2.0, "data_wait": 0.5})


def test_curves_are_those_of_the_log(tmp_path, drawn):
    run = cases.folder(tmp_path / "run", metrics=LOG, timing=TIMES)
    found = curves.build_sections([run])
    assert lines(titled(drawn, "NT-Xent loss, nats")) == [([20, 40, 60], [5.0, 4.0, 4.5])]
    assert lines(titled(drawn, "accuracy: the partner is the nearest, %")) == [
        ([20, 40, 60], [25, 50, 75])
    ]
    assert lines(titled(drawn, "learning rate")) == [([20, 40, 60], [0.5, 0.25, 0.125])]
    assert lines(titled(drawn, "examples a second")) == [([20], [128.0])]  # 64 in a step
    assert lines(titled(drawn, "fraction of time waiting for data, %")) == [([20], [50.0])]
    assert lines(titled(drawn, "effective rank of the vectors")) == [([40], [8.0])]
    assert [section.title for section in found] == ["Training", "Health of the vectors"]
    assert "mean over the 20 steps" in found[0].about
    assert len(drawn) == 6


def test_curves_are_also_numbers(tmp_path):
    run = cases.folder(tmp_path / "run", metrics=LOG, timing=TIMES)
    found = cells(curves.build_sections([run]))
    assert ["NT-Xent loss, nats", "5", "4", "5", "4.5", "60"] in found
    assert ["accuracy: the partner is the nearest, %", "25", "25", "75", "75", "60"] in found
    assert ["examples a second", "128", "128", "128", "128", "20"] in found
    assert ["effective rank of the vectors", "8", "8", "8", "8", "40"] in found
    pictures = parts(curves.build_sections([run]), Picture)
    assert "NT-Xent loss, nats by step; at the end: training 4.5" in pictures[0].alt


def test_runs_share_a_plot_where_both_have_a_value(tmp_path, drawn):
    more = cases.lines({"step": 20, "rotation_accuracy": 0.5, "lr": 0.5}, {"step": 80, "lr": 0.0})
    one = cases.folder(tmp_path / "one", metrics=LOG)
    two = cases.folder(tmp_path / "two", cases.settings("rotation"), metrics=more)
    found = curves.build_sections([one, two])
    rates = titled(drawn, "learning rate")
    assert lines(rates) == [([20, 40, 60], [0.5, 0.25, 0.125]), ([20, 80], [0.5, 0.0])]
    assert [line.get_color() for line in rates.lines] == [
        choose_line_color(0),
        choose_line_color(1),
    ]
    assert {"one", "two"} <= {text.get_text() for text in rates.texts}
    alone = titled(drawn, "rotation accuracy, %")
    assert [line.get_color() for line in alone.lines] == [choose_line_color(1)]  # as everywhere
    assert "Of two alone." in said(found)
    assert ["learning rate", "two", "0.5", "0", "0.5", "0", "80"] in cells(found)


@pytest.mark.run
def test_values_of_a_run_that_are_read_together(tmp_path, drawn):
    """In one plot; beside other runs none of them has the colour of another run."""
    log = cases.lines({"step": 2, "positive_distance": 1.0, "negative_distance": 2.0, "loss": 1.0})
    run = cases.folder(tmp_path / "run", metrics=log)
    curves.build_sections([run])
    axes = titled(drawn, "squared distances of triplets")
    assert lines(axes) == [([2], [1.0]), ([2], [2.0])]
    assert [line.get_color() for line in axes.lines] == [choose_line_color(0), choose_line_color(1)]
    assert {"to the positive", "to the negative"} <= {text.get_text() for text in axes.texts}
    drawn.clear()
    plain = cases.folder(tmp_path / "plain", metrics=LOG)
    found = curves.build_sections([plain, run, cases.folder(tmp_path / "b", metrics=LOG)])
    colors = [line.get_color() for line in titled(drawn, "squared distances of triplets").lines]
    assert colors == [choose_line_color(1), GREY]
    assert ["squared distances of triplets to the negative", "run"] in [c[:2] for c in cells(found)]
    drawn.clear()
    curves.build_sections([run, cases.folder(tmp_path / "c", metrics=log)])
    assert len(titled(drawn, "squared distances of triplets to the positive").lines) == 2


def test_what_is_held_out_is_dashed(tmp_path, drawn):
    log = cases.lines(
        {"step": 2, "masked_loss": 3.0}, {"step": 4, "masked_loss": 2.0, "val/masked_loss": 2.5}
    )
    found = curves.build_sections([cases.folder(tmp_path / "run", metrics=log)])
    axes = titled(drawn, "loss at masked frames, nats")
    assert lines(axes) == [([2, 4], [3.0, 2.0]), ([4], [2.5])]
    assert [line.is_dashed() for line in axes.lines] == [False, True]
    assert {"training", "held out"} <= {text.get_text() for text in axes.texts}
    assert ["loss at masked frames, nats, held out", "2.5", "2.5", "2.5", "2.5", "4"] in cells(
        found
    )


def test_lines_that_are_none(tmp_path, drawn):
    torn = (
        LOG + "no json\n[1]\n" + '{"nt_xent": 1.0}\n{"step": 80, "nt_xent": "a"}\n{"step": 99, "nt'
    )
    run = cases.folder(tmp_path / "run", metrics=torn, timing="x\n")
    found = curves.build_sections([run])
    assert lines(titled(drawn, "NT-Xent loss, nats")) == [([20, 40, 60], [5.0, 4.0, 4.5])]
    assert "4 lines of metrics.jsonl could not be read." in said(found)
    assert "1 line of timing.jsonl could not be read." in said(found)


def test_values_that_are_no_numbers(tmp_path, drawn):
    log = cases.lines(
        {"step": 1, "nt_xent": 3.0, "effective_rank": float("nan")},
        {"step": 2, "nt_xent": float("nan")},
        {"step": 3, "nt_xent": float("inf")},
        {"step": 4, "nt_xent": 2.0},
    )
    found = curves.build_sections([cases.folder(tmp_path / "run", metrics=log)])
    assert lines(titled(drawn, "NT-Xent loss, nats")) == [([1, 4], [3.0, 2.0])]
    assert "Not drawn: 2 values of nt_xent that are infinite or NaN." in said(found)
    assert "1 value of effective_rank" in said(found)
    assert len(drawn) == 1
    nothing = cases.lines({"step": 1, "nt_xent": float("nan")})
    found = curves.build_sections([cases.folder(tmp_path / "b", metrics=nothing)])
    assert "Not drawn: 1 value" in said(found)


def test_runs_without_logs(tmp_path):
    empty = cases.folder(tmp_path / "empty")
    assert "The run has not logged anything yet" in said(curves.build_sections([empty]))
    both = curves.build_sections([empty, cases.folder(tmp_path / "run", metrics=LOG)])
    assert "empty has logged nothing yet." in said(both)


@pytest.mark.run
def test_a_resumed_run_has_one_line(tmp_path, drawn):
    """A kill after a line that no checkpoint has: resuming drops it, and the steps only rise."""
    run = simclr(photos(tmp_path / "data"), tmp_path / "run", steps=6, log_every=1).folder
    whole = (run / "metrics.jsonl").read_text()
    shutil.rmtree(run / "checkpoints" / "step-00000006")
    resume(run, quiet=True)
    assert (run / "metrics.jsonl").read_text() == whole
    curves.build_sections([run])
    (loss,) = lines(titled(drawn, "NT-Xent loss, nats"))
    assert loss[0] == [1, 2, 3, 4, 5, 6]
    assert lines(titled(drawn, "examples a second"))[0][0] == sorted(
        lines(titled(drawn, "examples a second"))[0][0]
    )


def test_long_logs_are_thinned_and_keep_their_end(tmp_path, drawn):
    log = cases.lines(*({"step": i, "nt_xent": float(i)} for i in range(1, 2502)))
    found = curves.build_sections([cases.folder(tmp_path / "run", metrics=log)])
    ((steps, _),) = lines(titled(drawn, "NT-Xent loss, nats"))
    assert len(steps) <= logged_runs.MAX_POINTS + 1
    assert (steps[0], steps[1], steps[-1]) == (1, 4, 2501)
    assert "Of 2,501 logged values, one in 3 is drawn." in said(found)


def test_options_of_one_run(tmp_path):
    run = cases.folder(tmp_path / "run")
    found = options.build_sections([run])
    assert [section.title for section in found] == [
        "Options",
        "Data and versions",
        "To reproduce it",
    ]
    assert ["temperature", "0.2", "0.5"] in cells(found)
    assert ["batch-size", "64", "256"] in cells(found)
    assert ["weight-decay", "1e-06"] in cells(found)
    assert ["torch", "2.14.1"] in cells(found)
    assert ["fingerprint", "9a14"] in cells(found)
    names = [line[0] for line in cells(found[:1])]
    assert len(names) == len(set(names))
    command = format_reproduce_command(cases.settings(), out=f"{run}-again").command
    assert [part.text for part in parts(found, Command)] == [command]


def test_options_of_several_runs(tmp_path):
    told = cases.settings("rotation", temperature=None, lr=0.3)
    told = replace(told, environment={**cases.ENVIRONMENT, "torch": "2.11.0"})
    runs = [cases.folder(tmp_path / "one"), cases.folder(tmp_path / "two", told)]
    differ, same, makes = options.build_sections(runs)
    assert [table.caption for table in differ.parts] == ["Options", "Versions and hardware"]
    assert differ.parts[0].head == ["", "one", "two"]
    assert [list(row) for row in differ.parts[0].rows] == [
        ["method", "simclr", "rotation"],
        ["temperature", "0.2", ""],
        ["lr", "0.6", "0.3"],
    ]
    assert [list(row) for row in differ.parts[1].rows] == [["torch", "2.14.1", "2.11.0"]]
    assert ["batch-size", "64"] in cells([same])
    assert not {"method", "temperature", "lr", "torch"} & {line[0] for line in cells([same])}
    assert [part.text.split()[2] for part in makes.parts if isinstance(part, Command)] == [
        "simclr",
        "rotation",
    ]
    equal = [cases.folder(tmp_path / name) for name in ("three", "four")]
    assert "Nothing differs" in options.build_sections(equal)[0].about


def test_names_that_would_be_markup(tmp_path):
    """In figures, tables and commands alike; and dollars are no mathematics."""
    evil = "<script>$x_1$&amp;</script>"
    score = cases.score(data={"train": evil, "test": evil})
    score["classes"][0] = evil
    folders = [tmp_path / f"<i>$a_{i}$" for i in (1, 2)]
    told = cases.settings(data=evil)
    runs = [cases.folder(path, told, metrics=LOG, scores=[score]) for path in folders]
    for some in (runs, runs[:1]):
        found = [
            *scores.build_sections(some),
            *curves.build_sections(some),
            *options.build_sections(some),
        ]
        text = page.render("Runs", found)
        assert "<script>$" not in text
        assert "<i>" not in text
        assert "&lt;script&gt;$x_1$&amp;amp;" in text


def test_names_at_the_ends_keep_apart():
    assert spread_labels([5.0, 5.5, 40.0], 10, 100) == pytest.approx([0.25, 10.25, 40.0])
    assert spread_labels([99.0, 100.0], 10, 100) == [90.0, 100.0]
    assert shorten_name("a" * 30) == f"{'a' * 11}…{'a' * 11}"


def test_steps_of_runs_beside_each_other(tmp_path):
    """Of an imported run there are none; where seconds of sound decide, a step's size is a mean."""
    imported = cases.settings(data="<imported>", steps=0, batch_size=256, log_every=50)
    one, two = cases.folder(tmp_path / "one", metrics=LOG), cases.folder(tmp_path / "two", imported)
    told = curves.build_sections([one, two])[0].about
    assert told == "Each point is the mean over the 20 steps before it."
    heard = cases.folder(
        tmp_path / "heard", cases.settings("hubert", batch_size=13, batch_seconds=20.0)
    )
    told = curves.build_sections([one, heard])[0].about
    assert "a step has about 13 or 64 examples" in told
    steps = dict(list(row)[:2] for row in cells(summary.build_sections([heard])))["steps"]
    assert steps == "0 of 60, each of about 13 examples"
    assert "each of 64 examples" in str(summary.build_sections([one]))
