"""The scores of runs and of their baselines, as figures and tables."""

from collections.abc import Sequence
from pathlib import Path

from selfwise.core.errors import shorten_folder_names
from selfwise.evaluation.scores.names import PRETRAINED, RETRIEVAL
from selfwise.report.page.parts import Part, Section, Table
from selfwise.report.page.quantities import capitalize_first
from selfwise.report.sections import confusion, glue
from selfwise.report.sections.label_curve import make_entries
from selfwise.report.sections.score_parts import describe_score, draw_scores, format_difference
from selfwise.report.sections.scores_compared import build_compared_sections
from selfwise.runs import logs_and_scores
from selfwise.runs.run_yaml import read_record
from selfwise.runs.score_groups import (
    ScoreGroup,
    count_seeds,
    describe_budget,
    format_row,
    group_scores,
    title_groups,
)


def build_sections(folders: Sequence[Path]) -> list[Section]:
    """Return the scores of one run, or of several in the same figures.

    Args:
        folders: of the runs.

    Raises ValueError for a file among the scores that is none.
    """
    for folder in folders:
        read_record(folder)
    steps = [glue.find_newest_step(folder) for folder in folders]
    scores_of_runs = [
        group_scores(logs_and_scores.read_scores(f), step=step) for f, step in zip(folders, steps)
    ]
    if len(folders) > 1:
        return build_compared_sections(shorten_folder_names(folders), scores_of_runs)
    own_scores = scores_of_runs[0]
    score_sections = [
        _build_single_section(score, title, step=steps[0])
        for score, title in zip(own_scores, title_groups(own_scores))
    ]
    matrix = next((m for score in own_scores if (m := _build_confusion_section(score))), None)
    return [*score_sections, *([matrix] if matrix else [])]


def _build_single_section(score: ScoreGroup, title: str, *, step: int) -> Section:
    """Return a score of a single run."""
    suffix = "" if score.newest else f", step {score['step']}"
    about = "" if score.newest else f"Of step {score['step']}, not the newest step, {step}. "
    parts: list[Part] = [draw_scores(make_entries(score), score), _tabulate_score(score)]
    return Section(f"{capitalize_first(title)}{suffix}", about + describe_score(score), parts)


def _tabulate_score(score: ScoreGroup) -> Table:
    """Return each number with its deviation, and how much better the encoder is."""
    retrieved = score["kind"] == RETRIEVAL
    head = ["measure" if retrieved else "labels per class", "encoder", "%"]
    rows, score_rows = [], score.rows
    for place in score.places:
        for name in score.competitors:
            if row := score_rows.get((place, name)):
                num_labels = "" if retrieved else f" ({row['n_train']:,} in all)"
                rows.append(
                    [f"{place}{num_labels}", name, format_row(row), *format_difference(row)]
                )
    head += [f"{PRETRAINED} minus this", "95 % interval", "which means"]
    spread = any(row["deviation"] is not None for row in score_rows.values())
    caption = "In percent, with the standard deviation" if spread else "In percent"
    return Table(head, rows, f"{caption}; differences in points")


def _build_confusion_section(score: ScoreGroup) -> Section | None:
    """Show the confusions of the pretrained encoder at the most labels, if they were counted."""
    largest = score.places[-1]
    row = score.rows.get((largest, PRETRAINED))  # the matrix is of the accuracy that is shown
    files = [file for file in score.files if file.get("confusion") and row in file["rows"]]
    if row is None or not files or not score.newest:
        return None
    counts, class_names = files[-1]["confusion"], files[-1].get("classes") or []
    classes = [*class_names, *(str(number) for number in range(len(class_names), len(counts)))]
    about = (
        f"Predictions of the {score.title} on the pretrained encoder for the test examples, with "
    )
    parts = confusion.build_parts(counts, classes, repeated=count_seeds(row))
    return Section("Confusion matrix", f"{about}{describe_budget(largest)}.", parts)
