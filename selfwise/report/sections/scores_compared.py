"""Scores of several runs on the same test examples in the same figures."""

from collections.abc import Mapping, Sequence
from typing import Any

from selfwise.evaluation.scores.names import COMBINED, PRETRAINED, RAW, SUPERVISED, UNTRAINED
from selfwise.report.page.parts import Part, Section, Table
from selfwise.report.page.plots import GREY, choose_line_color
from selfwise.report.page.quantities import capitalize_first
from selfwise.report.sections import glue
from selfwise.report.sections.label_curve import CurveEntry
from selfwise.report.sections.score_parts import describe_score, draw_scores, format_difference
from selfwise.runs.score_groups import (
    EXAMPLE_KEYS,
    MEASUREMENT_KEYS,
    Row,
    ScoreGroup,
    describe_budget,
    format_row,
    title_groups,
)

# lines of what several runs are compared with
LINE_STYLES: dict[str, Any] = {UNTRAINED: (0, (1, 1.6)), RAW: (0, (4, 2)), SUPERVISED: "-."}
LINE_STYLES |= {COMBINED: (0, (6, 1.5, 1, 1.5, 1, 1.5))}
STYLE_NAMES = {UNTRAINED: "dotted", RAW: "dashed", SUPERVISED: "dashed and dotted"}
STYLE_NAMES |= {COMBINED: "dashed and twice dotted"}


def build_compared_sections(
    names: Sequence[str], scores_of_runs: Sequence[Sequence[ScoreGroup]]
) -> list[Section]:
    """Return scores of several runs on the same test examples in the same figures."""
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
        f"In the color of its run, without bars, {legend}."
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
    parts: list[Part] = [draw_scores(entries, merged, about), table, differences]
    return Section(capitalize_first(title), f"{describe_score(first)} {glue.BASELINES_NOTE}", parts)


def _tabulate_differences(group: Mapping[str, ScoreGroup], places: Sequence[int | str]) -> Table:
    """Return how much better each encoder is than what it was compared with."""
    rows = []
    for name, score in group.items():
        for other in score.competitors[1:]:
            differences = [
                format_difference(score.rows.get((place, other), {})) for place in places
            ]
            cells = [f"{diff} ({interval})" if diff else "" for diff, interval, _ in differences]
            rows.append([name, other, *cells])
    head = ["run", f"{PRETRAINED} minus", *map(_title_column, places)]
    caption = (
        "Differences in points, with 95 % intervals; an interval that contains 0 is within the "
        "noise"
    )
    return Table(head, rows, caption)


def _title_column(place: int | str) -> str:
    """Return a label budget or measure as the head of a column."""
    return place if isinstance(place, str) else describe_budget(place)


def _make_curve_entries(
    group: Mapping[str, ScoreGroup], colors: Mapping[str, str]
) -> list[CurveEntry]:
    """Return the encoder of each run, and what they are compared with: once, where it is the
    same."""
    main = [
        CurveEntry(name, colors[name], _select_rows(score, PRETRAINED))
        for name, score in group.items()
    ]
    others = dict.fromkeys(
        n for score in group.values() for n in score.competitors if n != PRETRAINED
    )
    rest = []
    for other in others:
        style = LINE_STYLES.get(other, LINE_STYLES[SUPERVISED])
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
