"""Parts of the sections on scores, of one run and of several: figures and sentences."""

from collections.abc import Mapping, Sequence

from selfwise.core.plugins import FROM_PYTHON
from selfwise.evaluation.scores.names import COMBINED, RETRIEVAL
from selfwise.evaluation.scores.sentences import CHOICE, VOTE
from selfwise.report.page.parts import Picture
from selfwise.report.sections.label_curve import (
    CurveEntry,
    plot_curve,
    plot_points,
)
from selfwise.report.sections.summary import shorten_data_name
from selfwise.runs.score_groups import (
    ALL,
    Row,
    ScoreGroup,
    count_seeds,
    describe_budget,
)

KIND_SENTENCES = {  # what each kind does, as a sentence
    "linear": "Logistic regression on the frozen vectors, its regularization chosen on training "
    "labels.",
    "weighted": "Logistic regression on a learned sum of the vectors of all layers.",
    "sgd": "A linear layer on the frozen vectors, trained as in SimCLR's paper.",
    "finetune": "The encoder is trained further, with labels.",
    "knn": "The nearest labeled examples vote, without any training.",
    RETRIEVAL: "Each test example searches the other ones by cosine, without any training.",
}


def describe_score(score: ScoreGroup) -> str:
    """Describe the probe, its test examples, and the bars."""
    text = f"{KIND_SENTENCES.get(score['kind'], '')} {score['n_test']:,} test examples"
    text += _name_test_data(score["data"] or {})
    if score["kind"] == RETRIEVAL:
        return f"{text}. Bars: the standard deviation over untrained encoders."
    sentences = "".join(f" {sentence}" for sentence in _list_sentences(score))
    num_seeds = max(count_seeds(row) for row in score.rows.values())
    is_all = score.places == [ALL]
    if num_seeds == 1:
        return f"{text}{'' if is_all else ', labels drawn once'}.{sentences}"
    repeats = f"{num_seeds} trainings" if is_all else f"{num_seeds} draws of labels"
    return f"{text}. Bars: the standard deviation over {repeats}.{sentences}"


def _list_sentences(score: ScoreGroup) -> list[str]:
    """Select the sentences of a score that no figure or table of the page already states."""
    marks = {"k": VOTE, "choices": CHOICE, "against": f"{COMBINED} against"}
    used = [mark for key, mark in marks.items() if any(key in row for row in score.rows.values())]
    sentences = [text for text in score.sentences if any(mark in text for mark in used)]
    return [*sentences, *score.warnings]


def _name_test_data(data: Mapping[str, str | None]) -> str:
    """Name the location of the test examples, or of the training examples they are a part of."""
    test = data.get("test") or ""
    where = test or data.get("train") or ""
    if where in ("", FROM_PYTHON):
        return ""
    return f" of {shorten_data_name(where)}" if test else f", a fifth of {shorten_data_name(where)}"


def draw_scores(entries: Sequence[CurveEntry], score: ScoreGroup, about: str = "") -> Picture:
    """Draw a curve for several label budgets, otherwise points next to their names."""
    if score["kind"] != RETRIEVAL and len(score.places) > 1:
        return plot_curve(entries, score.places, about)
    if score["kind"] == RETRIEVAL:
        return plot_points(entries, score.places, about, "retrieval")
    return plot_points(
        entries, score.places, about, f"accuracy with {describe_budget(score.places[0])}"
    )


def format_difference(row: Row) -> list[str]:
    """Return the difference to the encoder, its interval, and what that says."""
    if "difference" not in row:
        return ["", "", ""]
    low, high = 100 * row["low"], 100 * row["high"]
    return [f"{100 * row['difference']:+.1f}", f"{low:+.1f} to {high:+.1f}", row["verdict"]]
