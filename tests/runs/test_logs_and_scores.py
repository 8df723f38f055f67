"""Logs and scores that someone else has written, or that were damaged, are told from ours."""

import json

import pytest

from selfwise.cli import main as cli
from selfwise.evaluation.scores.names import PRETRAINED
from selfwise.runs import logs_and_scores, score_groups
from tests.helpers import show_cases as cases

SCORE = cases.score()
RETRIEVED = {  # as `selfwise probe --kind retrieval` files it
    "kind": "retrieval",
    "n_test": 40,
    "sentences": [],
    "rows": [{"competitor": "pretrained", "measure": "map", "mean": 0.5, "deviation": None}],
}


def filed(path, score) -> list[dict]:
    """The scores of a run that has this one."""
    text = score if isinstance(score, str) else json.dumps(score)
    (path / "scores").mkdir(exist_ok=True)
    (path / "scores" / "a.json").write_text(text)
    return logs_and_scores.read_scores(path)


def row(number: int, *gone: str, **told) -> dict:
    """A score whose row has lost some values, or has others."""
    rows = [dict(one) for one in SCORE["rows"]]
    rows[number] = {n: v for n, v in {**rows[number], **told}.items() if n not in gone}
    return {**SCORE, "rows": rows}


def whole(**told) -> dict:
    """A score with other values."""
    return {**SCORE, **told}


WRONG = {
    "it cannot be read as JSON": ["{", "[" * 100_000],
    "it holds no names and values": ["[1]", "null"],
    "rows is not a list of rows": [whole(rows=[]), whole(rows=[1])],
    "data is not the locations": [whole(data="foo"), whole(data={"test": 1})],
    "n_test is not a count": [whole(n_test="many"), whole(n_test=True)],
    "step is not a count": [whole(step=None)],
    "train is not text": [whole(train=["a"])],
    "confusion is not a square": [
        whole(confusion=[[1, 2], [3]]),
        whole(confusion=[[0]]),
        whole(confusion=3),
    ],
    "classes is not a list of names": [whole(classes=[1])],
    "in row 1, per_class is missing": [row(0, "per_class")],
    "in row 1, per_class is not": [row(0, per_class=0), row(0, per_class="some")],
    "in row 1, n_train is missing": [row(0, "n_train")],
    "in row 2, low is missing": [row(1, "low")],
    "in row 2, verdict is not text": [row(1, verdict=1)],
    "in row 1, mean is not a number": [
        row(0, mean="<b>"),
        row(0, mean=float("nan")),
        row(0, mean=float("inf")),
        row(0, mean=True),
        row(0, mean=10**400),
    ],
    "in row 1, deviation is not": [row(0, deviation=-0.5)],
    "in row 1, accuracies is not": [row(0, accuracies=[])],
    "pretrained has no row at the per_class of row 1": [row(0, competitor="b")],
    "in row 1, measure is missing": [whole(kind="retrieval")],
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_in_a_file_is_said(wrong, tmp_path):
    for score in WRONG[wrong]:
        with pytest.raises(ValueError, match=wrong) as error:
            filed(tmp_path, score)
        assert str(error.value).startswith(f"{tmp_path}/scores/a.json is not a score written by")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("command", ["show", "report"])
def test_a_command_ends_with_one_sentence(command, tmp_path, capsys):
    run = cases.folder(tmp_path / "run", scores=[row(0, mean="<b>")])
    assert cli.main([command, str(run)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(run.glob("*.html"))


def test_what_is_written_or_was_once_is_right(tmp_path):
    told = [SCORE, cases.older(SCORE), RETRIEVED, whole(classes=None)]
    for score in told:
        assert filed(tmp_path, score) == [score]
    assert (logs_and_scores.RETRIEVAL, logs_and_scores.PRETRAINED) == (
        score_groups.RETRIEVAL,
        PRETRAINED,
    )


def test_lines_whose_steps_or_values_are_none_are_left_out(tmp_path):
    odd = ["Infinity", "NaN", "-1", "true", '"a"', str(10**400)]
    lines = [f'{{"step": {step}, "loss": 1.0}}' for step in odd]
    lines += [f'{{"step": 3, "loss": {10**400}}}', "[" * 100_000]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 20, "loss": 2}', ""]))
    assert logs_and_scores.read_metrics(tmp_path) == logs_and_scores.Logged(
        [{"step": 20, "loss": 2}], len(lines)
    )
