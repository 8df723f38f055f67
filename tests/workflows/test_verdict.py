"""The verdict is decided by the filed intervals, and says what it rests on."""

from pathlib import Path

import pytest

from selfwise.cli import main as cli
from selfwise.evaluation.scores.names import COMBINED
from selfwise.runs.score_groups import group_scores
from selfwise.workflows.verdict import judge_run
from tests.helpers import show_cases as cases


def score(*rows, kind="linear", n_test=500, seeds=3, **more):
    """A score file with these rows: competitor, labels per class, mean, low, high."""
    made = []
    for name, place, mean, *ends in rows:
        row = {"competitor": name, "per_class": place, "n_train": 100, "mean": mean}
        row |= {"deviation": None, "accuracies": [mean] * (1 if place == "all" else seeds)}
        if ends:
            row |= {"difference": sum(ends) / 2, "low": ends[0], "high": ends[1], "verdict": ""}
        made.append(row)
    told = {"train": "a", "test": "b", "layer": None, "pooling": "", "weights": "w", "step": 0}
    return {"kind": kind, "n_test": n_test, "sentences": [], "rows": made, **told, **more}


ABOVE, WITHIN, BELOW = (0.1, 0.2), (-0.01, 0.03), (-0.2, -0.1)


def verdict(*files, modality="image", step=0):
    (one,) = judge_run(Path("runs/a"), modality, group_scores(files, step=step))
    return one


def at(place, untrained, raw):
    return [
        ("pretrained", place, 0.8),
        ("untrained", place, 0.5, *untrained),
        ("raw input", place, 0.6, *raw),
    ]


@pytest.mark.parametrize(
    ("untrained", "raw", "level", "text"),
    [
        (
            ABOVE,
            ABOVE,
            "better",
            "Better than the untrained encoder and than raw pixels, beyond the noise, with all "
            "labels.",
        ),
        (
            ABOVE,
            WITHIN,
            "no better",
            "No better than raw pixels (+1.0 points, 95 % interval -1.0 to +3.0), within the "
            "noise, but better than the untrained encoder, beyond the noise, with all labels.",
        ),
        (
            ABOVE,
            BELOW,
            "no better",
            "Worse than raw pixels, but better than the untrained encoder, beyond the noise, with "
            "all labels.",
        ),
        (
            WITHIN,
            ABOVE,
            "no better",
            "Better than raw pixels, beyond the noise, but no better than the untrained encoder "
            "(+1.0 points, 95 % interval -1.0 to +3.0), within the noise, with all labels.",
        ),
        (
            BELOW,
            BELOW,
            "no better",
            "Worse than the untrained encoder and than raw pixels, beyond the noise, with all "
            "labels.",
        ),
        (
            (0.0, 0.2),
            (-0.2, 0.0),
            "no better",
            "No better than the untrained encoder (+10.0 points, 95 % interval +0.0 to +20.0) or "
            "than raw pixels (-10.0 points, 95 % interval -20.0 to +0.0), within the noise, with "
            "all labels.",
        ),
    ],
)
def test_intervals_decide(untrained, raw, level, text):
    got = verdict(score(*at("all", untrained, raw)))
    assert (got.level, got.text) == (level, text)
    assert got.basis == "This is one training run, measured by a linear probe on 500 test examples."


def test_label_counts_that_differ_are_named():
    rows = [*at(10, ABOVE, ABOVE), *at(50, ABOVE, ABOVE), *at("all", ABOVE, BELOW)]
    got = verdict(score(*rows))
    assert got.level == "mixed"
    assert got.text == (
        "With 10 and 50 labels per class, better than the untrained encoder and than raw pixels, "
        "beyond the noise. With all labels, worse than raw pixels, but better than the untrained "
        "encoder, beyond the noise."
    )


@pytest.mark.parametrize(("modality", "raw"), [("text", "a bag of words"), ("audio", "MFCC fea")])
def test_raw_input_is_named_for_what_it_is(modality, raw):
    assert f"than {raw}" in verdict(score(*at("all", ABOVE, ABOVE)), modality=modality).text


def test_few_examples_and_a_single_draw_are_said():
    got = verdict(score(*at(5, ABOVE, ABOVE), seeds=1, n_test=40))
    assert "on 40 test examples, with labels drawn once." in got.basis
    assert "only differences above about 5 points" in got.basis  # half of an interval of 10
    assert "drawn once" not in verdict(score(*at(5, ABOVE, ABOVE), n_test=200)).basis
    assert "So few" not in verdict(score(*at(5, ABOVE, ABOVE), n_test=200)).basis


def test_the_supervised_baseline_is_mentioned_where_it_was_measured():
    rows = at(10, ABOVE, ABOVE) + at("all", ABOVE, ABOVE)
    rows += [("supervised", 10, 0.5, *ABOVE), ("supervised", "all", 0.9, *BELOW)]
    got = verdict(score(*rows))
    assert got.level == "better"
    assert "It is also better than the supervised baseline with 10 labels per class." in got.text
    assert "It is worse than the supervised baseline with all labels." in got.text


def together(encoder, raw, *, minus_encoder, minus_raw, place="all"):
    """Rows of a score that measured encoder and raw input together."""
    against = {"pretrained": minus_encoder, "raw input": minus_raw}
    return [*at(place, encoder, raw), (COMBINED, place, 0.8, *BELOW)], {
        name: {"difference": sum(ends) / 2, "low": ends[0], "high": ends[1], "verdict": ""}
        for name, ends in against.items()
    }


@pytest.mark.parametrize(
    ("raw", "minus_encoder", "minus_raw", "text"),
    [
        (WITHIN, WITHIN, WITHIN, "Use raw pixels alone with all labels: neither the encoder nor"),
        (BELOW, ABOVE, WITHIN, "Use raw pixels alone with all labels: neither the encoder nor"),
        (ABOVE, WITHIN, ABOVE, "Use the encoder alone with all labels: it is better than raw pix"),
        (ABOVE, BELOW, ABOVE, "Use the encoder alone with all labels: it is better than raw pix"),
        (BELOW, ABOVE, ABOVE, "Use the encoder and raw pixels together with all labels: together "),
        (WITHIN, WITHIN, ABOVE, "raw pixels, beyond the noise; the encoder alone is not."),
        (ABOVE, ABOVE, WITHIN, "together they are better than the encoder, beyond the noise."),
    ],
)
def test_the_verdict_says_which_features_to_use(raw, minus_encoder, minus_raw, text):
    rows, against = together(ABOVE, raw, minus_encoder=minus_encoder, minus_raw=minus_raw)
    file = score(*rows)
    file["rows"][-1]["against"] = against
    assert text in verdict(file).text
    assert "Use " not in verdict(score(*rows)).text  # older scores have no such intervals


def test_a_score_with_both_or_with_a_chosen_layer_decides():
    plain, auto = score(*at("all", BELOW, BELOW)), score(*at("all", ABOVE, ABOVE), layer="auto")
    assert verdict(plain, auto).level == "better"
    assert "layer chosen on training labels" in verdict(plain, auto).basis
    rows, against = together(ABOVE, WITHIN, minus_encoder=ABOVE, minus_raw=ABOVE)
    both = score(*rows)
    both["rows"][-1]["against"] = against
    assert "Use the encoder and raw pixels" in verdict(auto, both).text


def test_the_encoders_output_and_the_first_kind_decide():
    layer = score(*at("all", BELOW, BELOW), layer=-2)
    voted = score(*at("all", ABOVE, BELOW), kind="knn", k=5)
    got = verdict(layer, voted, score(*at("all", ABOVE, ABOVE)))
    assert got.level == "better"
    assert "Other probes differ (nearest-neighbor probe, k 5: no better)." in got.basis


def test_each_task_has_its_own():
    files = [score(*at("all", ABOVE, ABOVE), test=t, data={"train": "x", "test": t}) for t in "cd"]
    both = judge_run(Path("runs/a"), "image", group_scores(files, step=0))
    assert [one.task for one in both] == ["c", "d"]


def test_retrieval_has_measures():
    rows = [dict(row, measure="recall@1") for row in score(*at("all", ABOVE, ABOVE))["rows"]]
    got = verdict(score(kind="retrieval") | {"rows": rows})
    assert got.text.endswith("beyond the noise, in recall@1.")
    assert "measured by retrieval on 500" in got.basis


@pytest.mark.parametrize("step", [0, 9])
def test_what_is_not_measured_has_a_command(step):
    files = [] if not step else [score(*at("all", ABOVE, ABOVE), data={"train": "t", "test": "u"})]
    got = verdict(*files, step=step)
    examples = "--train t --test u" if step else "--train PATH --test PATH"
    text = "The newest weights are not yet measured (the scores are of step 0)" if step else "Not"
    assert got.level == "not measured"
    assert str(got).startswith(text)
    assert str(got).endswith(f": run selfwise probe runs/a {examples}")


def test_a_score_without_differences_is_not_judged():
    rows = [row[:3] for row in at("all", ABOVE, ABOVE)]
    assert "cannot be judged" in verdict(score(*rows)).text


def test_show_names_the_runs_of_verdicts_and_what_not_to_compare(tmp_path, capsys):
    log = cases.lines({"step": 20, "nt_xent": 5.0, "lr": 0.5})
    other = cases.settings(temperature=0.9)
    runs = [cases.folder(tmp_path / "a", metrics=log, scores=[cases.score(right=0.9)])]
    runs += [cases.folder(tmp_path / "b", other, metrics=log)]
    assert cli.main(["show", *map(str, runs)]) == 0
    text = capsys.readouterr().out
    assert "  a: Better than" in text
    assert "  b: Not yet measured" in text
    assert "do not compare nt_xent: the runs differ in temperature (0.2 in a; 0.9 in b)" in text


def test_numbers_of_the_verdict_are_those_of_the_score():
    file = cases.score(budgets=(None,))
    (row,) = [r for r in file["rows"] if r["competitor"] == "raw input"]
    got = verdict(file)
    assert (got.level == "better") == (row["low"] > 0)
