"""What the encoders of runs are worth: their scores beside the baselines, as figures and tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from selfwise.core.errors import shorten_folder_names
from selfwise.core.plugins import FROM_PYTHON
from selfwise.evaluation.scores.probe_score import PRETRAINED, RAW, UNTRAINED, VOTE
from selfwise.report.page.parts import Command, Picture, Rows, Section, Words
from selfwise.report.page.plots import GREY, color
from selfwise.report.sections import confusion, glue
from selfwise.report.sections.label_curve import Entry, by_competitor, curve, points
from selfwise.report.sections.summary import data_named
from selfwise.runs import records
from selfwise.runs.record import read_record
from selfwise.runs.score_groups import (
    ALL,
    EXAMPLES,
    MANNER,
    RETRIEVAL,
    Measured,
    Row,
    gathered,
    labels,
    seeds,
    titles,
    value,
)

HOW = {  # what each kind does, as a sentence
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
STYLES: Mapping[str, Any] = {UNTRAINED: (0, (1, 1.6)), RAW: (0, (4, 2)), SCRATCH: "-."}
STYLED = {UNTRAINED: "dotted", RAW: "dashed", SCRATCH: "dashed and dotted"}
BETWEEN = "Intervals compare each run with its own baselines, and not the runs with each other."


def sections(folders: Sequence[Path]) -> list[Section]:
    """The scores of one run, or of several beside each other; or how to get some.

    Args:
        folders: of the runs.

    Raises ValueError for a file among the scores that is none.
    """
    for folder in folders:
        read_record(folder)
    steps = [glue.newest_step(folder) for folder in folders]
    found = [gathered(records.scores(f), step=step) for f, step in zip(folders, steps)]
    lacking = [
        folder
        for folder, scores in zip(folders, found)
        if not any(one.newest for one in scores) and not glue.of_newest(folder)
    ]
    more = [_not_yet(lacking, some=any(found))] if lacking else []
    if len(folders) > 1:
        return [*_beside(shorten_folder_names(folders), found), *more]
    names = titles(found[0])
    shown = [_alone(one, name, step=steps[0]) for one, name in zip(found[0], names)]
    matrix = next((m for one in found[0] if (m := _matrix(one))), None)
    return [*shown, *([matrix] if matrix else []), *more]


def _not_yet(folders: Sequence[Path], *, some: bool) -> Section:
    """How to get a score, for those that have none of their newest weights."""
    if some:
        title, about = "Not probed yet", "Nothing is known of what the newest weights are worth."
    else:
        title, about = "What it is worth", "Not probed yet, so nothing is known of that."
    if len(folders) > 1 or some:
        about += f" This goes for {', '.join(shorten_folder_names(folders))}."
    told = "With labelled examples, the encoder is measured beside the same untrained one and the "
    commands = [Command(f"selfwise probe {quote(str(folder))} {PROBE}") for folder in folders]
    return Section(title, about, [Words([f"{told}raw input:"]), *commands])


def _alone(one: Measured, title: str, *, step: int) -> Section:
    """A score of a single run."""
    old = "" if one.newest else f", step {one['step']}"
    about = "" if one.newest else f"Of step {one['step']}, and not of the newest, {step}. "
    parts = [_figure(by_competitor(one), one), _table(one)]
    return Section(f"{_capital(title)}{old}", about + _about(one), parts)


def _capital(title: str) -> str:
    return title[:1].upper() + title[1:]


def _about(one: Measured) -> str:
    """What was done, on what, and what the bars are."""
    said = f"{HOW.get(one['kind'], '')} {one['n_test']:,} test examples"
    said += _of_data(one["data"] or {})
    if one["kind"] == RETRIEVAL:
        return f"{said}. Bars: the standard deviation over untrained encoders."
    more = "".join(f" {text}" for text in _not_shown(one))
    drawn = max(seeds(row) for row in one.rows.values())
    everything = one.places == [ALL]
    if drawn == 1:
        return f"{said}{'' if everything else '; labels were drawn once'}.{more}"
    over = f"{drawn} trainings" if everything else f"{drawn} draws of labels"
    return f"{said}. Bars: the standard deviation over {over}.{more}"


def _not_shown(one: Measured) -> list[str]:
    """Of the sentences of a score those that no figure and no table of the page tells."""
    told = [one.rows.get((place, PRETRAINED), {}) for place in one.places]
    voted = [text for text in one.sentences if VOTE in text] if any("k" in r for r in told) else []
    return [*voted, *one.warnings]


def _of_data(data: Mapping[str, str | None]) -> str:
    """Where the test examples were; without any, a part of the others was taken."""
    test = data.get("test") or ""
    where = test or data.get("train") or ""
    if where in ("", FROM_PYTHON):
        return ""
    return f" of {data_named(where)}" if test else f", a fifth of {data_named(where)}"


def _figure(entries: Sequence[Entry], one: Measured, about: str = "") -> Picture:
    """A curve where there are several label budgets, otherwise points beside their names."""
    if one["kind"] != RETRIEVAL and len(one.places) > 1:
        return curve(entries, one.places, about)
    if one["kind"] == RETRIEVAL:
        return points(entries, one.places, about, "retrieval")
    return points(entries, one.places, about, f"accuracy with {labels(one.places[0])}")


def _table(one: Measured) -> Rows:
    """Each number with its deviation, and how much better the encoder is."""
    retrieved = one["kind"] == RETRIEVAL
    head = ["measure" if retrieved else "labels per class", "encoder", "%"]
    rows, known = [], one.rows
    for place in one.places:
        for name in one.competitors:
            if row := known.get((place, name)):
                labelled = "" if retrieved else f" ({row['n_train']:,} in all)"
                rows.append([f"{place}{labelled}", name, value(row), *_against(row)])
    head += [f"{PRETRAINED} minus it", "95 % interval", "which is"]
    spread = any(row["deviation"] is not None for row in known.values())
    told = "In percent, with the standard deviation" if spread else "In percent"
    return Rows(head, rows, f"{told}; differences in points")


def _against(row: Row) -> list[str]:
    """The difference to the encoder, its interval, and what that says."""
    if "difference" not in row:
        return ["", "", ""]
    low, high = 100 * row["low"], 100 * row["high"]
    return [f"{100 * row['difference']:+.1f}", f"{low:+.1f} to {high:+.1f}", row["verdict"]]


def _matrix(one: Measured) -> Section | None:
    """What the pretrained encoder takes for what, where that was counted at the most labels."""
    most = one.places[-1]
    shown = one.rows.get((most, PRETRAINED))  # the matrix is of the accuracy that is shown
    files = [file for file in one.files if file.get("confusion") and shown in file["rows"]]
    if shown is None or not files or not one.newest:
        return None
    counts, given = files[-1]["confusion"], files[-1].get("classes") or []
    classes = [*given, *(str(number) for number in range(len(given), len(counts)))]
    about = f"What the {one.title} on the pretrained encoder says of the test examples, with "
    parts = confusion.parts(counts, classes, repeated=seeds(shown))
    return Section("Confusion matrix", f"{about}{labels(most)}.", parts)


def _beside(names: Sequence[str], found: Sequence[Sequence[Measured]]) -> list[Section]:
    """Scores of several runs on the same test examples in the same figures."""
    groups: dict[tuple[object, ...], dict[str, Measured]] = {}
    for name, scores in zip(names, found):
        for one in (one for one in scores if one.newest):
            key = tuple(one[part] for part in (*MANNER, *EXAMPLES))
            groups.setdefault(key, {}).setdefault(name, one)
    firsts = titles([next(iter(group.values())) for group in groups.values()])
    return [_together(group, title, names) for group, title in zip(groups.values(), firsts)]


def _together(group: Mapping[str, Measured], title: str, names: Sequence[str]) -> Section:
    first = next(iter(group.values()))
    files = [file for one in group.values() for file in one.files]
    whole = Measured(files, newest=True)  # of all, for its places alone
    entries = _entries(group, {name: color(names.index(name)) for name in group})
    own = {entry.style for entry in entries if not entry.named}
    dashed = [name for name, style in STYLES.items() if style in own]
    told = "; ".join(f"{STYLED[name]}: {name}" for name in dashed)
    about = (
        f"In the colour of its run, without bars, {told}."
        if dashed and len(whole.places) > 1
        else ""
    )
    lines = [["run", "encoder", *map(_place, whole.places)]]
    for name, one in group.items():
        for competitor in one.competitors:
            cells = [one.rows.get((place, competitor)) for place in whole.places]
            lines.append([name, competitor, *(value(row) if row else "" for row in cells)])
    table = Rows(lines[0], lines[1:], "In percent")
    parts = [_figure(entries, whole, about), table, _differences(group, whole.places)]
    return Section(_capital(title), f"{_about(first)} {BETWEEN}", parts)


def _differences(group: Mapping[str, Measured], places: Sequence[int | str]) -> Rows:
    """How much better each encoder is than what it was compared with."""
    lines = []
    for name, one in group.items():
        for other in one.competitors[1:]:
            found = [_against(one.rows.get((place, other), {})) for place in places]
            cells = [f"{points} ({interval})" if points else "" for points, interval, _ in found]
            lines.append([name, other, *cells])
    head = ["run", f"{PRETRAINED} minus", *map(_place, places)]
    told = "Differences in points, with 95 % intervals; with 0 inside they are within the noise"
    return Rows(head, lines, told)


def _place(place: int | str) -> str:
    """A label budget or measure as the head of a column."""
    return place if isinstance(place, str) else labels(place)


def _entries(group: Mapping[str, Measured], colors: Mapping[str, str]) -> list[Entry]:
    """The encoder of each run, and what they are compared with: once, where it is the same."""
    main = [Entry(name, colors[name], _of(one, PRETRAINED)) for name, one in group.items()]
    others = dict.fromkeys(n for one in group.values() for n in one.competitors if n != PRETRAINED)
    rest = []
    for other in others:
        style = STYLES.get(other, STYLES[SCRATCH])
        known = {name: rows for name, one in group.items() if (rows := _of(one, other))}
        told = next(iter(known.values()))
        if all(_means(rows) == _means(told) for rows in known.values()):
            rest.append(Entry(other, GREY, told, main=False, style=style))
            continue
        rest += [
            Entry(f"{name}, {other}", colors[name], rows, main=False, style=style, named=False)
            for name, rows in known.items()
        ]
    return [*main, *rest]


def _of(one: Measured, competitor: str) -> dict[int | str, Row]:
    return {place: row for (place, name), row in one.rows.items() if name == competitor}


def _means(rows: Mapping[int | str, Row]) -> dict[int | str, float]:
    return {place: row["mean"] for place, row in rows.items()}
