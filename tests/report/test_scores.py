"""Label curves and matrices of the page are what the probes have filed."""

import json

import numpy as np
import pytest

from selfwise.report.page.parts import Picture, Table
from selfwise.report.page.plots import choose_line_color
from selfwise.report.sections import confusion, label_curve, scores
from selfwise.runs.score_groups import format_row
from selfwise.workflows import probe as probing
from selfwise.workflows.iterate import iterate
from tests.helpers import show_cases as cases
from tests.helpers import unit_cases
from tests.helpers.report_reading import bars, cells, figures, parts, said, titled


@pytest.fixture
def drawn(monkeypatch):
    """The figures in the order in which they are made, as matplotlib has them."""
    return figures(monkeypatch)


NAMES = ("pretrained", "untrained", "raw input")


def test_bars_are_the_deviations_of_the_scores(tmp_path, drawn):
    score = cases.score()
    found = scores.build_sections([cases.folder(tmp_path / "run", scores=[score])])
    axes = titled(drawn, "accuracy, %")
    rows = {name: [r for r in score["rows"] if r["competitor"] == name] for name in NAMES}
    for name, line, bar in zip(NAMES, axes.containers, bars(axes)):
        told = rows[name]
        assert np.allclose(line[0].get_ydata(), [100 * r["mean"] for r in told])
        ends = [
            (100 * (r["mean"] - r["deviation"]), 100 * (r["mean"] + r["deviation"])) for r in told
        ]
        assert np.allclose(bar, ends), name
    assert set(NAMES) <= {text.get_text() for text in axes.texts}
    assert [text.get_text() for text in axes.get_xticklabels()] == ["2", "5", "all\n(20)"]
    assert "Bars: the standard deviation over 3 draws of labels." in said(found)
    assert "40 test examples of digits:test" in said(found)


def test_scores_are_also_numbers(tmp_path):
    score = cases.score()
    found = cells(scores.build_sections([cases.folder(tmp_path / "run", scores=[score])]))
    for row in score["rows"]:
        place = f"{row['per_class']} ({row['n_train']} in all)"
        (line,) = [line for line in found if line[:2] == [place, row["competitor"]]]
        assert line[2] == format_row(row)
        if "difference" in row:
            assert line[3] == f"{100 * row['difference']:+.1f}"
            assert line[4] == f"{100 * row['low']:+.1f} to {100 * row['high']:+.1f}"
            assert line[5] == row["verdict"]


def test_one_draw_has_no_bars(tmp_path, drawn):
    found = scores.build_sections([cases.folder(tmp_path / "run", scores=[cases.score(seeds=1)])])
    assert all(low == high for line in bars(titled(drawn, "accuracy, %")) for low, high in line)
    assert "labels drawn once" in said(found)


def test_runs_in_one_label_curve(tmp_path, drawn):
    """The raw input is the same for both, the untrained encoders are not."""
    one, two = cases.score(), cases.score(right=0.7)
    for row in two["rows"]:
        row["mean"] += 0.01 if row["competitor"] == "untrained" else 0.0
    runs = [cases.folder(tmp_path / n, scores=[s]) for n, s in (("one", one), ("two", two))]
    found = scores.build_sections(runs)
    axes = titled(drawn, "accuracy, %")
    assert [c[0].get_color() for c in axes.containers] == [
        choose_line_color(i) for i in (0, 1, 0, 1)
    ] + [label_curve.GREY]
    assert choose_line_color(5) != label_curve.GREY
    names = {text.get_text() for text in axes.texts}
    assert {"one", "two", "raw input"} <= names
    assert "untrained" not in names
    assert "In the color of its run, without bars, dotted: untrained." in said(found)
    assert [section.title for section in found] == ["Linear probe"]
    table = cells(found)
    for name, score in (("one", one), ("two", two)):
        values = [format_row(r) for r in score["rows"] if r["competitor"] == "pretrained"]
        assert [name, "pretrained", *values] in table
    row = next(r for r in one["rows"] if r["competitor"] == "raw input")
    interval = f"{100 * row['low']:+.1f} to {100 * row['high']:+.1f}"
    (line,) = [line for line in table if line[:2] == ["one", "raw input"] and "(" in line[2]]
    assert line[2] == f"{100 * row['difference']:+.1f} ({interval})"


def test_runs_with_other_budgets_share_an_axis(tmp_path, drawn):
    few, many = cases.score(budgets=(5,)), cases.score(budgets=(None,))
    runs = [cases.folder(tmp_path / n, scores=[s]) for n, s in (("few", few), ("many", many))]
    scores.build_sections(runs)
    ticks = titled(drawn, "accuracy, %").get_xticklabels()
    assert [text.get_text() for text in ticks] == ["5", "all\n(20)"]


def test_budgets_that_are_near_have_one_label(tmp_path, drawn):
    scores.build_sections(
        [cases.folder(tmp_path / "run", scores=[cases.score(budgets=(1, 18, None))])]
    )
    ticks = titled(drawn, "accuracy, %").get_xticklabels()
    assert [text.get_text() for text in ticks] == ["1", "", "all\n(20)"]


def test_scores_on_other_examples_have_their_own_figures(tmp_path, drawn):
    told = [cases.score(test=name, data={"train": "a", "test": name}) for name in ("b", "c")]
    runs = [cases.folder(tmp_path / f"r{i}", scores=[one]) for i, one in enumerate(told)]
    titles = [section.title for section in scores.build_sections(runs)]
    assert [title.partition(" (")[0] for title in titles] == [
        "Linear probe on b",
        "Linear probe on c",
    ]
    assert len(drawn) == 2


def test_older_scores_are_shown(tmp_path, drawn):
    found = scores.build_sections(
        [cases.folder(tmp_path / "run", scores=[cases.older(cases.score())])]
    )
    assert [section.title for section in found] == ["Linear probe"]
    assert len(bars(titled(drawn, "accuracy, %"))) == 3


def test_a_run_without_scores_has_no_section_of_them(tmp_path):
    run = cases.folder(tmp_path / "a run")
    assert scores.build_sections([run]) == []
    both = scores.build_sections([run, cases.folder(tmp_path / "b", scores=[cases.score()])])
    assert [section.title for section in both] == ["Linear probe"]


@pytest.fixture(scope="module")
def probed(home) -> dict[str, dict]:
    """A score of an image, a text and a speech probe, as it was filed."""
    data = home / "photos"
    text = (home / "text.txt").read_text().split("\n\n")
    labelled = "".join(f"{line}\t{i % 2}\n" for i, line in enumerate(text))
    (home / "labelled.tsv").write_text("sentence\tlabel\n" + labelled)
    voices = unit_cases.voices(home / "voices")
    told = {**unit_cases.SPEECH, "iterations": 1}
    iterate("hubert", data=voices, out=home / "speech", **told)
    runs = {"image": (home / "run", data), "text": (home / "text", home / "labelled.tsv")}
    runs["speech"] = (home / "speech" / "iteration-1", voices)
    found = {}
    for name, (run, labels) in runs.items():
        probing.probe(run, train=labels, labels_per_class="2,4", seeds=2, quiet=True)
        (file,) = (run / "scores").glob("*.json")
        found[name] = json.loads(file.read_text())
    probing.probe(runs["image"][0], train=data, kind="retrieval", quiet=True)
    (file,) = (runs["image"][0] / "scores").glob("retrieval-*.json")
    return found | {"retrieval": json.loads(file.read_text())}


@pytest.mark.run
@pytest.mark.parametrize("name", ["image", "text", "speech"])
def test_a_matrix_is_of_the_accuracy_that_was_filed(probed, name):
    score = probed[name]
    counts = np.array(score["confusion"])
    assert counts.sum() == score["n_test"] * len(score["seeds"])
    assert np.trace(counts) / counts.sum() == pytest.approx(score["accuracy"])
    (row,) = [r for r in score["rows"] if (r["competitor"], r["per_class"]) == ("pretrained", 4)]
    assert np.trace(counts) / counts.sum() == pytest.approx(row["mean"])
    assert len(score["classes"]) == len(counts)
    assert len(score["classes"]) == {"image": 3, "text": 2, "speech": 2}[name]


def test_rows_of_a_matrix_are_the_true_classes(tmp_path, drawn):
    score = cases.score()
    found = scores.build_sections([cases.folder(tmp_path / "run", scores=[score])])
    counts = np.array(score["confusion"])
    assert np.trace(counts) / counts.sum() == pytest.approx(score["accuracy"])
    assert counts.sum(axis=1).tolist() == [30] * 4  # 10 of each class, 3 seeds
    assert counts[0, 1] == 30 - counts[0, 0]  # class 0 is only taken for class 1
    rows = parts(found, Table)[-1].rows
    assert rows[0] == [
        "class 0",
        "10",
        f"{counts[0, 0] / 0.3:.0f}",
        f"class 1 ({counts[0, 1] / 0.3:.0f})",
    ]
    axes = drawn[-1]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted as", "class")
    told = {(t.get_position()[0], t.get_position()[1]): t.get_text() for t in axes.texts}
    assert told[1.5, 0.52] == f"{counts[0, 1] / 0.3:.0f}"  # in the first row, the second column
    squares = axes.collections[0]
    shares = dict(zip(map(_corner, squares.get_paths()), squares.get_facecolors()[:, 3]))
    assert len(shares) == (counts > 0).sum()
    for (j, i), full in shares.items():  # fuller, the more
        assert full == pytest.approx(0.12 + 0.88 * counts[i, j] / 30)
    assert "with all labels" in found[-1].about


def _corner(path) -> tuple[int, int]:
    """Column and row of a cell."""
    x, y = path.vertices.min(axis=0)
    return int(x), int(y)


def test_a_matrix_is_that_of_the_accuracy_on_the_page(tmp_path):
    """Of two files with all labels the page shows that with more seeds, and so its matrix."""
    many, few = cases.score(seeds=3), cases.score(seeds=1, seed=7)
    found = scores.build_sections([cases.folder(tmp_path / "run", scores=[many, few])])
    right = [int(counts[i] / 0.3 + 0.5) for i, counts in enumerate(many["confusion"])]
    assert [int(row[2]) for row in parts(found, Table)[-1].rows] == right


@pytest.mark.run
@pytest.mark.parametrize("name", ["retrieval", "older", "unlabelled"])
def test_where_there_is_no_matrix(probed, tmp_path, name):
    told = [probed["retrieval"]] if name == "retrieval" else [cases.older(cases.score())]
    run = cases.folder(tmp_path / "run", scores=[] if name == "unlabelled" else told)
    titles = [section.title for section in scores.build_sections([run])]
    assert "Confusion matrix" not in titles
    assert ("Retrieval, step 4" in titles) == (name == "retrieval")


def test_a_matrix_of_many_classes_becomes_its_largest_entries(tmp_path):
    """Of 100 and of 1,000 classes nothing is drawn; what is confused most is told."""
    random = np.random.default_rng(0)
    for n in (41, 100, 1000):
        counts = 90 * np.eye(n, dtype=int) + np.eye(n, k=1, dtype=int) * random.integers(0, 9, n)
        counts[7, 3] = 60
        found = confusion.build_parts(counts.tolist(), [f"c{i}" for i in range(n)])
        assert not [part for part in found if isinstance(part, Picture)]
        pairs, worst = found
        assert pairs.rows[0] == ["c7", "c3", f"{100 * 60 / counts[7].sum():.1f}"]
        assert len(pairs.rows) == confusion.MAX_PAIRS
        assert worst.rows[0][0] == "c7"
        assert len(worst.rows) == confusion.MAX_DRAWN
        assert worst.caption == f"The 30 of {n} classes with the lowest accuracy"


def test_a_matrix_of_some_classes_is_drawn_without_numbers(drawn):
    counts = 9 * np.eye(20, dtype=int) + 1
    (picture, pairs, table) = confusion.build_parts(
        counts.tolist(), [f"a long name {i}" for i in range(20)]
    )
    assert isinstance(picture, Picture)
    assert len(drawn[0].texts) == 0
    assert len(pairs.rows) == confusion.MAX_PAIRS
    assert table.rows[0][3].endswith(" and 16 more")


def test_classes_that_nobody_has_are_left_out():
    counts = [[0, 0, 0], [0, 3, 1], [0, 0, 4]]
    *_, table = confusion.build_parts(counts, ["never", "a", "b"], repeated=2)
    assert table.rows == [["a", "2", "75", "b (25)"], ["b", "2", "100", ""]]


def test_nothing_that_is_there_becomes_nothing():
    assert [confusion._format_percent(s) for s in (0.0, 0.001, 0.5, 0.999, 1.0)] == [
        "0",
        "<1",
        "50",
        ">99",
        "100",
    ]
