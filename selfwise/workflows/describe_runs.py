"""`selfwise show`: options, progress, metrics and scores of runs, side by side for several."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfwise.core.memory_limit import takes_memory_limit

if TYPE_CHECKING:
    from selfwise.runs.logs_and_scores import Logged
    from selfwise.runs.run_yaml import RunRecord
    from selfwise.runs.score_groups import ScoreGroup

WIDTH = 44  # characters of a value in a column; longer values lose their middle


@takes_memory_limit
def show(runs: Sequence[str | Path] | str | Path, *, max_memory: str = "") -> str:
    """Describe options, state, last metrics and scores of a run, or the differences of several.

    Args:
        runs: folders of the runs, or the folder of one.
        max_memory: most memory for reading one file, as in 4G; by default half of what is free.

    Raises ValueError for a folder that is not a run, or for one given twice.
    """
    from selfwise.runs.run_yaml import read_record

    folders = find_folders(runs, verb="show")
    run_records = [read_record(folder) for folder in folders]
    if len(folders) == 1:
        return "\n".join(_describe_one(folders[0], run_records[0]))
    return "\n".join(_describe_several(folders, run_records))


def find_folders(runs: Sequence[str | Path] | str | Path, *, verb: str) -> list[Path]:
    """Return the folders of the runs that a command names.

    Raises ValueError for no folder, a folder that is not a run, and a folder given twice.
    """
    from selfwise.runs.run_yaml import read_record

    folders = [Path(run) for run in ([runs] if isinstance(runs, str | Path) else runs)]
    if not folders:
        raise ValueError(f"name the folder of a run: selfwise {verb} RUN")
    for folder in folders:
        read_record(folder)
    places = [folder.resolve() for folder in folders]
    for folder, place in zip(folders, places):
        if places.count(place) > 1:
            raise ValueError(f"{folder} is given twice")
    return folders


def describe_progress(folder: Path, record: "RunRecord") -> tuple[int, list[str]]:
    """Return the step of the newest complete checkpoint, and sentences on the progress."""
    from selfwise.training import checkpoint

    newest, torn = checkpoint.find_latest(folder / "checkpoints")
    done, steps = newest.step if newest else 0, record.steps
    if record.imported:
        return done, [f"imported from {record.imported['from']}", *torn]
    more = "" if done >= steps else f"; continue with selfwise resume {folder}"
    return done, [f"step {done} of {steps}{more}", *torn]


def describe_group(record: "RunRecord", group: str) -> dict[str, str]:
    """Return names and values as text: of `options`, `found` (on the data), or `environment`."""
    if group == "options":
        return flatten_texts(record.options)
    if group == "environment":
        return flatten_texts(record.environment)
    about = {name: dict(each) for name, each in record.needs.items()}
    imported = {"imported": record.imported} if record.imported else {}
    own = {"about": record.about} if record.about else {}
    return flatten_texts({**record.info.model_dump(), **about, **own, **imported})


def flatten_texts(values: Mapping[str, Any], front: str = "") -> dict[str, str]:
    """Flatten nested names and values to text, a name for each value; skip None and ""."""
    texts: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            texts |= flatten_texts(value, f"{front}{name}.")
        elif value not in (None, ""):
            texts[f"{front}{name}"] = format_value(value)
    return texts


def format_value(value: object) -> str:
    """Format a value as a user types it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(format_value(one) for one in value) + "]"
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    # characters that move the cursor or end the line would break a table
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(value))


def _describe_one(folder: Path, record: "RunRecord") -> list[str]:
    from selfwise.runs import logs_and_scores, score_groups
    from selfwise.runs.reproduce import format_reproduce_command, list_changes

    step, progress = describe_progress(folder, record)
    lines = [f"{record.method} in {folder}", *_indent_lines(progress)]
    lines += ["", "verdict", *_indent_lines(_describe_verdicts(folder, record))]
    lines += _describe_tuning(folder)
    log = logs_and_scores.read_metrics(folder)
    lines += _add_heading("last metrics", _list_last_metrics(log))
    if log.unreadable:
        count = "1 line" if log.unreadable == 1 else f"{log.unreadable} lines"
        lines += _indent_lines([f"{count} of metrics.jsonl cannot be read"])
    groups = _group_scores(folder, step)
    for one, title in zip(groups, score_groups.title_groups(groups)):
        old = "" if one.newest else f", of step {one['step']}, not the newest"
        data = f" of {one.test_data}" if one.test_data and title == one.title else ""
        lines += ["", f"{title}, {one['n_test']:,} test examples{data}, in %{old}"]
        lines += [*_indent_lines(_align_columns(one.table())), *_indent_lines(one.sentences)]
    differ = [
        [
            name,
            format_value(change.value),
            "" if change.default is None else f"not {format_value(change.default)}",
        ]
        for name, change in list_changes(record).items()
    ]
    lines += _add_heading("options that differ from the defaults", differ)
    for name in ("options", "found", "environment"):
        texts = describe_group(record, name)
        lines += _add_heading(
            f"all {name}" if name == "options" else name, map(list, texts.items())
        )
    reproduce = format_reproduce_command(record, out=f"{folder}-again", folder=folder)
    lines += [
        "",
        "to reproduce it",
        *_indent_lines(reproduce.notes),
        *_indent_lines([reproduce.command]),
    ]
    return lines


def _describe_tuning(folder: Path) -> list[str]:
    """Return the trials of the search before a run; none if it had no search."""
    from selfwise.runs.tune_messages import describe_search, tabulate_trials
    from selfwise.runs.tune_record import read_tune_record

    record = read_tune_record(folder)
    if record is None:
        return []
    table = _add_heading("search for a setting", tabulate_trials(record))
    return [*table, *_indent_lines([describe_search(record)])]


def _describe_several(folders: Sequence[Path], run_records: "Sequence[RunRecord]") -> list[str]:
    from selfwise.core import errors as names
    from selfwise.runs import logs_and_scores

    heads = names.shorten_folder_names(folders)
    states = [describe_progress(*pair) for pair in zip(folders, run_records)]
    lines = _align_columns(
        [
            ["", *heads],
            ["method", *(record.method for record in run_records)],
            ["state", *(sentences[0].partition(";")[0] for _, sentences in states)],
        ]
    )
    lines += [
        f"{head}: {text}" for head, (_, sentences) in zip(heads, states) for text in sentences[1:]
    ]
    lines += _compare_runs(
        "last metrics",
        heads,
        [dict(_list_last_metrics(logs_and_scores.read_metrics(f))) for f in folders],
    )
    lines += _warn_incomparable(dict(zip(heads, zip(folders, run_records))))
    groups = [_group_scores(f, step) for f, (step, _) in zip(folders, states)]
    lines += _compare_runs("scores, in %", heads, _list_scores(groups))
    lines += ["", "verdicts"]
    lines += [
        f"  {head}: {text}"
        for head, folder, record in zip(heads, folders, run_records)
        for text in _describe_verdicts(folder, record)
    ]
    for name in ("options", "found", "environment"):
        differ = find_differences([describe_group(one, name) for one in run_records])
        what = f"{name} that differ" if name == "options" else f"{name}, where it differs"
        lines += _compare_runs(what, heads, differ) or ["", f"{name}: nothing differs"]
    return lines


def _warn_incomparable(runs: "Mapping[str, tuple[Path, RunRecord]]") -> list[str]:
    """Name the metrics that cannot be compared between the runs, and the differing settings."""
    from selfwise.runs.logs_and_scores import read_metrics
    from selfwise.workflows.comparability import explain_differences, group_comparable

    logged = {name: set(read_metrics(folder).names) for name, (folder, _) in runs.items()}
    reasons: dict[str, list[str]] = {}
    for metric in dict.fromkeys(one for names in logged.values() for one in sorted(names)):
        records = {name: record for name, (_, record) in runs.items() if metric in logged[name]}
        if len(group_comparable(records, metric)) > 1:
            reasons.setdefault(explain_differences(records, metric), []).append(metric)
    return [
        f"  do not compare {', '.join(metrics)}: the runs differ in {reason}"
        for reason, metrics in reasons.items()
    ]


def find_differences(values: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Return the values of each mapping that are not equal in all."""
    names = dict.fromkeys(name for one in values for name in one)
    other = [name for name in names if len({one.get(name) for one in values}) > 1]
    return [{name: one.get(name, "") for name in other} for one in values]


def _list_last_metrics(log: "Logged") -> list[list[str]]:
    """Return the last value of each metric, with its step if it is not the last step."""
    newest = log.newest
    last = max((step for step, _ in newest.values()), default=0)
    return [
        [name, f"{value:.6g}" + ("" if step == last else f" (step {step})")]
        for name, (step, value) in newest.items()
    ]


def _describe_verdicts(folder: Path, record: "RunRecord") -> list[str]:
    """Describe whether the run is worth having, in a line for each measured task."""
    from selfwise.workflows.verdict import describe_verdict, read_verdicts

    verdicts = read_verdicts(folder, record.modality)
    return [describe_verdict(verdict, named=len(verdicts) > 1) for verdict in verdicts]


def _group_scores(folder: Path, step: int) -> "list[ScoreGroup]":
    from selfwise.runs import logs_and_scores, score_groups

    return score_groups.group_scores(logs_and_scores.read_scores(folder), step=step)


def _list_scores(runs: "Sequence[Sequence[ScoreGroup]]") -> list[dict[str, str]]:
    """Return the scores of each run as names and values, only of its newest weights."""
    from selfwise.runs.score_groups import describe_budget, format_row, title_groups

    newest = [[one for one in several if one.newest] for several in runs]
    names = iter(title_groups([one for several in newest for one in several]))
    texts: list[dict[str, str]] = []
    for several in newest:
        texts.append({})
        for one, title in zip(several, names):
            for (place, competitor), row in one.rows.items():
                at = describe_budget(place) if one.axis == "per_class" else place
                texts[-1][f"{title}, {at}: {competitor}"] = format_row(row)
    return texts


def _compare_runs(
    what: str, heads: Sequence[str], values: Sequence[Mapping[str, str]]
) -> list[str]:
    """Make a table with a column for each run; empty if no run has a value."""
    names = dict.fromkeys(name for one in values for name in one)
    rows = [[name, *(_shorten_text(one.get(name, "")) for one in values)] for name in names]
    return ["", *_align_columns([[what, *heads], *rows])] if rows else []


def _add_heading(title: str, rows: Iterable[Sequence[str]]) -> list[str]:
    lines = _indent_lines(_align_columns(list(rows)))
    return ["", title, *lines] if lines else []


def _indent_lines(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for text in lines for line in text.splitlines()]


def _align_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align the columns of rows of text."""
    count = max((len(row) for row in rows), default=0)
    width = [max((len(row[i]) for row in rows if i < len(row)), default=0) for i in range(count)]
    return ["  ".join(c.ljust(w) for c, w in zip(row, width)).rstrip() for row in rows]


def _shorten_text(text: str) -> str:
    """Shorten a text to WIDTH characters by cutting its middle: paths differ at their ends."""
    if len(text) <= WIDTH:
        return text
    half = (WIDTH - 3) // 2
    return f"{text[:half]}...{text[-half:]}"
