"""What the encoders of runs are worth: their scores beside the baselines, as figures and tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from selfwise.core.errors import shorten_folder_names
from selfwise.core.plugins import FROM_PYTHON
from selfwise.evaluation.scores.names import PRETRAINED, RAW, RETRIEVAL, UNTRAINED
from selfwise.evaluation.scores.probe_score import VOTE
from selfwise.report.page.parts import Command, Paragraphs, Part, Picture, Section, Table
from selfwise.report.page.plots import GREY, choose_line_color
from selfwise.report.page.quantities import capitalize_first
from selfwise.report.sections import confusion, glue
from selfwise.report.sections.label_curve import (
    CurveEntry,
    make_entries,
    plot_curve,
    plot_points,
)
from selfwise.report.sections.summary import shorten_data_name
from selfwise.runs import logs_and_scores
from selfwise.runs.run_yaml import read_record
from selfwise.runs.score_groups import (
    ALL,
    EXAMPLE_KEYS,
    MEASUREMENT_KEYS,
    Row,
    ScoreGroup,
    count_seeds,
    describe_budget,
    format_row,
    group_scores,
    title_groups,
)

KIND_SENTENCES = {  # what each kind does, as a sentence
    "linear": "Logistic regression on the frozen vectors, its regularisation chosen on labels of "
    "training.",
    "weighted": "Logistic regression on a learned sum of the vectors of all layers.",
    "sgd": "A linear layer on the frozen vectors, trained as in SimCLR's paper.",
    "finetune": "The encoder is trained on with labels.",
    "knn": "The nearest labelled examples vote; nothing is trained.",
    RETRIEVAL: "Each test example is looked for among the others by cosine; nothing is trained.",
}
PROBE = "--train PATH --test PATH"
SCRATCH = "supervised"  # as the probe calls the same encoder, trained on the labels alone
# lines of what several runs are compared with
LINE_STYLES: Mapping[str, Any] = {UNTRAINED: (0, (1, 1.6)), RAW: (0, (4, 2)), SCRATCH: "-."}
STYLE_NAMES = {UNTRAINED: "dotted", RAW: "dashed", SCRATCH: "dashed and dotted"}


def build_sections(folders: Sequence[Path]) -> list[Section]:
    """The scores of one run, or of several beside each other; or how to get some.

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
    without_scores = [
        folder
        for folder, run_scores in zip(folders, scores_of_runs)
        if not any(score.newest for score in run_scores) and not glue.read_newest_tables(folder)
    ]
    any_scores = any(scores_of_runs)
    how_to = [_suggest_probe(without_scores, any_scores=any_scores)] if without_scores else []
    if len(folders) > 1:
        return [*_compare_scores(shorten_folder_names(folders), scores_of_runs), *how_to]
    own_scores = scores_of_runs[0]
    score_sections = [
        _build_single_section(score, title, step=steps[0])
        for score, title in zip(own_scores, title_groups(own_scores))
    ]
    matrix = next((m for score in own_scores if (m := _build_confusion_section(score))), None)
    return [*score_sections, *([matrix] if matrix else []), *how_to]


def _suggest_probe(folders: Sequence[Path], *, any_scores: bool) -> Section:
    """How to get a score, for those that have none of their newest weights."""
    if any_scores:
        title, about = "Not probed yet", "Nothing is known of what the newest weights are worth."
    else:
        title, about = "What it is worth", "Not probed yet, so nothing is known of that."
    if len(folders) > 1 or any_scores:
        about += f" This goes for {', '.join(shorten_folder_names(folders))}."
    sentence = (
        "With labelled examples, the encoder is measured beside the same untrained one and the raw "
        "input:"
    )
    commands = [Command(f"selfwise probe {quote(str(folder))} {PROBE}") for folder in folders]
    return Section(title, about, [Paragraphs([sentence]), *commands])


def _build_single_section(score: ScoreGroup, title: str, *, step: int) -> Section:
    """A score of a single run."""
    suffix = "" if score.newest else f", step {score['step']}"
    about = "" if score.newest else f"Of step {score['step']}, and not of the newest, {step}. "
    parts: list[Part] = [_draw_scores(make_entries(score), score), _tabulate_score(score)]
    return Section(f"{capitalize_first(title)}{suffix}", about + _describe_score(score), parts)


def _describe_score(score: ScoreGroup) -> str:
    """What was done, on what, and what the bars are."""
    text = f"{KIND_SENTENCES.get(score['kind'], '')} {score['n_test']:,} test examples"
    text += _name_test_data(score["data"] or {})
    if score["kind"] == RETRIEVAL:
        return f"{text}. Bars: the standard deviation over untrained encoders."
    sentences = "".join(f" {sentence}" for sentence in _list_sentences(score))
    num_seeds = max(count_seeds(row) for row in score.rows.values())
    is_all = score.places == [ALL]
    if num_seeds == 1:
        return f"{text}{'' if is_all else '; labels were drawn once'}.{sentences}"
    repeats = f"{num_seeds} trainings" if is_all else f"{num_seeds} draws of labels"
    return f"{text}. Bars: the standard deviation over {repeats}.{sentences}"


def _list_sentences(score: ScoreGroup) -> list[str]:
    """Of the sentences of a score those that no figure and no table of the page tells."""
    rows = [score.rows.get((place, PRETRAINED), {}) for place in score.places]
    votes = any("k" in row for row in rows)
    vote_sentences = [text for text in score.sentences if VOTE in text] if votes else []
    return [*vote_sentences, *score.warnings]


def _name_test_data(data: Mapping[str, str | None]) -> str:
    """Where the test examples were; without any, a part of the others was taken."""
    test = data.get("test") or ""
    where = test or data.get("train") or ""
    if where in ("", FROM_PYTHON):
        return ""
    return f" of {shorten_data_name(where)}" if test else f", a fifth of {shorten_data_name(where)}"


def _draw_scores(entries: Sequence[CurveEntry], score: ScoreGroup, about: str = "") -> Picture:
    """A curve where there are several label budgets, otherwise points beside their names."""
    if score["kind"] != RETRIEVAL and len(score.places) > 1:
        return plot_curve(entries, score.places, about)
    if score["kind"] == RETRIEVAL:
        return plot_points(entries, score.places, about, "retrieval")
    return plot_points(
        entries, score.places, about, f"accuracy with {describe_budget(score.places[0])}"
    )


def _tabulate_score(score: ScoreGroup) -> Table:
    """Each number with its deviation, and how much better the encoder is."""
    retrieved = score["kind"] == RETRIEVAL
    head = ["measure" if retrieved else "labels per class", "encoder", "%"]
    rows, score_rows = [], score.rows
    for place in score.places:
        for name in score.competitors:
            if row := score_rows.get((place, name)):
                num_labels = "" if retrieved else f" ({row['n_train']:,} in all)"
                rows.append(
                    [f"{place}{num_labels}", name, format_row(row), *_format_difference(row)]
                )
    head += [f"{PRETRAINED} minus it", "95 % interval", "which is"]
    spread = any(row["deviation"] is not None for row in score_rows.values())
    caption = "In percent, with the standard deviation" if spread else "In percent"
    return Table(head, rows, f"{caption}; differences in points")


def _format_difference(row: Row) -> list[str]:
    """The difference to the encoder, its interval, and what that says."""
    if "difference" not in row:
        return ["", "", ""]
    low, high = 100 * row["low"], 100 * row["high"]
    return [f"{100 * row['difference']:+.1f}", f"{low:+.1f} to {high:+.1f}", row["verdict"]]


def _build_confusion_section(score: ScoreGroup) -> Section | None:
    """What the pretrained encoder takes for what, where that was counted at the most labels."""
    largest = score.places[-1]
    row = score.rows.get((largest, PRETRAINED))  # the matrix is of the accuracy that is shown
    files = [file for file in score.files if file.get("confusion") and row in file["rows"]]
    if row is None or not files or not score.newest:
        return None
    counts, class_names = files[-1]["confusion"], files[-1].get("classes") or []
    classes = [*class_names, *(str(number) for number in range(len(class_names), len(counts)))]
    about = f"What the {score.title} on the pretrained encoder says of the test examples, with "
    parts = confusion.build_parts(counts, classes, repeated=count_seeds(row))
    return Section("Confusion matrix", f"{about}{describe_budget(largest)}.", parts)


def _compare_scores(
    names: Sequence[str], scores_of_runs: Sequence[Sequence[ScoreGroup]]
) -> list[Section]:
    """Scores of several runs on the same test examples in the same figures."""
    groups: dict[tuple[object, ...], dict[str, ScoreGroup]] = {}
    for name, scores in zip(names, scores_of_runs):
        for score in (score for score in scores if score.newest):
            key = tuple(score[part] for part in (*MEASUREMENT_KEYS, *EXAMPLE_KEYS))
            groups.setdefault(key, {}).setdefault(name, score)
    firsts = title_groups([next(iter(group.values())) for group in groups.values()])
    return [
        _build_combined_section(group, title, names)
        for group, title in zip(groups.values(), firsts)
    ]


def _build_combined_section(
    group: Mapping[str, ScoreGroup], title: str, names: Sequence[str]
) -> Section:
    first = next(iter(group.values()))
    files = [file for score in group.values() for file in score.files]
    merged = ScoreGroup(files, newest=True)  # of all, for its places alone
    entries = _make_curve_entries(
        group, {name: choose_line_color(names.index(name)) for name in group}
    )
    styles = {entry.style for entry in entries if not entry.labelled}
    style_names = [name for name, style in LINE_STYLES.items() if style in styles]
    legend = "; ".join(f"{STYLE_NAMES[name]}: {name}" for name in style_names)
    about = (
        f"In the colour of its run, without bars, {legend}."
        if style_names and len(merged.places) > 1
        else ""
    )
    head = ["run", "encoder", *map(_title_column, merged.places)]
    rows = []
    for name, score in group.items():
        for competitor in score.competitors:
            cells = [score.rows.get((place, competitor)) for place in merged.places]
            rows.append([name, competitor, *(format_row(row) if row else "" for row in cells)])
    table = Table(head, rows, "In percent")
    differences = _tabulate_differences(group, merged.places)
    parts: list[Part] = [_draw_scores(entries, merged, about), table, differences]
    return Section(
        capitalize_first(title), f"{_describe_score(first)} {glue.BASELINES_NOTE}", parts
    )


def _tabulate_differences(group: Mapping[str, ScoreGroup], places: Sequence[int | str]) -> Table:
    """How much better each encoder is than what it was compared with."""
    rows = []
    for name, score in group.items():
        for other in score.competitors[1:]:
            differences = [
                _format_difference(score.rows.get((place, other), {})) for place in places
            ]
            cells = [f"{diff} ({interval})" if diff else "" for diff, interval, _ in differences]
            rows.append([name, other, *cells])
    head = ["run", f"{PRETRAINED} minus", *map(_title_column, places)]
    caption = "Differences in points, with 95 % intervals; with 0 inside they are within the noise"
    return Table(head, rows, caption)


def _title_column(place: int | str) -> str:
    """A label budget or measure as the head of a column."""
    return place if isinstance(place, str) else describe_budget(place)


def _make_curve_entries(
    group: Mapping[str, ScoreGroup], colors: Mapping[str, str]
) -> list[CurveEntry]:
    """The encoder of each run, and what they are compared with: once, where it is the same."""
    main = [
        CurveEntry(name, colors[name], _select_rows(score, PRETRAINED))
        for name, score in group.items()
    ]
    others = dict.fromkeys(
        n for score in group.values() for n in score.competitors if n != PRETRAINED
    )
    rest = []
    for other in others:
        style = LINE_STYLES.get(other, LINE_STYLES[SCRATCH])
        rows_by_name = {
            name: rows for name, score in group.items() if (rows := _select_rows(score, other))
        }
        first_rows = next(iter(rows_by_name.values()))
        means = [_collect_means(rows) for rows in rows_by_name.values()]
        if all(one == means[0] for one in means):
            rest.append(CurveEntry(other, GREY, first_rows, main=False, style=style))
            continue
        rest += [
            CurveEntry(
                f"{name}, {other}", colors[name], rows, main=False, style=style, labelled=False
            )
            for name, rows in rows_by_name.items()
        ]
    return [*main, *rest]


def _select_rows(score: ScoreGroup, competitor: str) -> dict[int | str, Row]:
    return {place: row for (place, name), row in score.rows.items() if name == competitor}


def _collect_means(rows: Mapping[int | str, Row]) -> dict[int | str, float]:
    return {place: row["mean"] for place, row in rows.items()}
