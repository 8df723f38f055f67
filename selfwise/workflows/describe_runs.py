"""`selfwise show`: what a run was told, how far it is, what it is worth; several side by side."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfwise.runs.record import RunRecord
    from selfwise.runs.score_groups import Measured

WIDTH = 44  # characters of a value beside others; longer ones lose their middle


def show(runs: Sequence[str | Path]) -> str:
    """Options, state, last metrics and scores of a run; of several, side by side, what differs.

    Args:
        runs: folders of the runs.

    Raises ValueError for a folder that is no run, or that is named twice.
    """
    from selfwise.runs.record import read_record

    folders = named(runs, verb="show")
    settings = [read_record(folder) for folder in folders]
    if len(folders) == 1:
        return "\n".join(_one(folders[0], settings[0]))
    return "\n".join(_several(folders, settings))


def named(runs: Sequence[str | Path] | str | Path, *, verb: str) -> list[Path]:
    """The folders of the runs that a verb is given.

    Raises ValueError for none, for a folder that is no run, and for one that is named twice.
    """
    from selfwise.runs.record import read_record

    folders = [Path(run) for run in ([runs] if isinstance(runs, str | Path) else runs)]
    if not folders:
        raise ValueError(f"name the folder of a run: selfwise {verb} RUN")
    for folder in folders:
        read_record(folder)
    places = [folder.resolve() for folder in folders]
    for folder, place in zip(folders, places):
        if places.count(place) > 1:
            raise ValueError(f"{folder} is named twice")
    return folders


def state(folder: Path, record: "RunRecord") -> tuple[int, list[str]]:
    """The step of the newest whole checkpoint, and sentences on how far that is."""
    from selfwise.training import checkpoint

    found, torn = checkpoint.find_latest(folder / "checkpoints")
    done, steps = found.step if found else 0, record.steps
    if record.imported:
        return done, [f"imported from {record.imported['from']}", *torn]
    more = "" if done >= steps else f"; selfwise resume {folder} goes on"
    return done, [f"step {done} of {steps}{more}", *torn]


def describe_group(record: "RunRecord", group: str) -> dict[str, str]:
    """Names and values as text: of `options`, `found` (about the data), or `environment`."""
    if group == "options":
        return flat(record.options)
    if group == "environment":
        return flat(record.environment)
    about = {name: dict(each) for name, each in record.needs.items()}
    imported = {"imported": record.imported} if record.imported else {}
    own = {"about": record.about} if record.about else {}
    return flat({**record.info.model_dump(), **about, **own, **imported})


def flat(values: Mapping[str, Any], front: str = "") -> dict[str, str]:
    """Nested names and values as text, a name for each value; what is None or "" is left out."""
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{front}{name}.")
        elif value not in (None, ""):
            found[f"{front}{name}"] = spoken(value)
    return found


def spoken(value: Any) -> str:
    """A value as it is typed."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(spoken(one) for one in value) + "]"
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    # what would move the cursor or end the line is no part of a table
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(value))


def _one(folder: Path, record: "RunRecord") -> list[str]:
    from selfwise.runs import records
    from selfwise.runs import score_groups as measured
    from selfwise.runs.reproduce import list_changes, reproduce_command

    step, said = state(folder, record)
    lines = [f"{record.method} in {folder}", *_indented(said)]
    log = records.metrics(folder)
    lines += _headed("last metrics", _last(log))
    if log.unreadable:
        count = "1 line" if log.unreadable == 1 else f"{log.unreadable} lines"
        lines += _indented([f"{count} of metrics.jsonl cannot be read"])
    found = _measured(folder, step)
    for one, title in zip(found, measured.titles(found)):
        old = "" if one.newest else f", of step {one['step']}, not of the newest"
        on = f" of {one.on}" if one.on and title == one.title else ""
        lines += ["", f"{title}, {one['n_test']:,} test examples{on}, in %{old}"]
        lines += [*_indented(_columns(one.table())), *_indented(one.sentences)]
    differ = [
        [
            name,
            spoken(change.value),
            "" if change.default is None else f"not {spoken(change.default)}",
        ]
        for name, change in list_changes(record).items()
    ]
    lines += _headed("options that are no defaults", differ)
    for name in ("options", "found", "environment"):
        told = describe_group(record, name)
        lines += _headed(f"all {name}" if name == "options" else name, map(list, told.items()))
    makes = reproduce_command(record, out=f"{folder}-again")
    lines += ["", "to make it again", *_indented(makes.notes), *_indented([makes.command])]
    return lines


def _several(folders: Sequence[Path], settings: "Sequence[RunRecord]") -> list[str]:
    from selfwise.core import errors as names
    from selfwise.runs import records

    heads = names.shorten_folder_names(folders)
    states = [state(folder, told) for folder, told in zip(folders, settings)]
    lines = _columns(
        [
            ["", *heads],
            ["method", *(told.method for told in settings)],
            ["state", *(said[0].partition(";")[0] for _, said in states)],
        ]
    )
    lines += [f"{head}: {text}" for head, (_, said) in zip(heads, states) for text in said[1:]]
    lines += _beside("last metrics", heads, [dict(_last(records.metrics(f))) for f in folders])
    measured = [_measured(f, step) for f, (step, _) in zip(folders, states)]
    lines += _beside("scores, in %", heads, _scores(measured))
    for name in ("options", "found", "environment"):
        differ = different([describe_group(one, name) for one in settings])
        what = f"{name} that differ" if name == "options" else f"{name}, where it differs"
        lines += _beside(what, heads, differ) or ["", f"{name}: nothing differs"]
    return lines


def different(values: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Of each, what is not the same in all."""
    names = dict.fromkeys(name for one in values for name in one)
    other = [name for name in names if len({one.get(name) for one in values}) > 1]
    return [{name: one.get(name, "") for name in other} for one in values]


def _last(log: Any) -> list[list[str]]:
    """The last value of each metric, with its step where that is not the last one."""
    newest = log.newest
    last = max((step for step, _ in newest.values()), default=0)
    return [
        [name, f"{value:.6g}" + ("" if step == last else f" (step {step})")]
        for name, (step, value) in newest.items()
    ]


def _measured(folder: Path, step: int) -> "list[Measured]":
    from selfwise.runs import records
    from selfwise.runs import score_groups as measured

    return measured.gathered(records.scores(folder), step=step)


def _scores(found: "Sequence[Sequence[Measured]]") -> list[dict[str, str]]:
    """The scores of each run as names and values, of its newest weights alone."""
    from selfwise.runs.score_groups import labels, titles, value

    newest = [[one for one in several if one.newest] for several in found]
    names = iter(titles([one for several in newest for one in several]))
    told: list[dict[str, str]] = []
    for several in newest:
        told.append({})
        for one, title in zip(several, names):
            for (place, competitor), row in one.rows.items():
                at = labels(place) if one.axis == "per_class" else place
                told[-1][f"{title}, {at}: {competitor}"] = value(row)
    return told


def _beside(what: str, heads: Sequence[str], values: Sequence[Mapping[str, str]]) -> list[str]:
    """A table with a column for each run; nothing where no run has anything."""
    names = dict.fromkeys(name for one in values for name in one)
    rows = [[name, *(_short(one.get(name, "")) for one in values)] for name in names]
    return ["", *_columns([[what, *heads], *rows])] if rows else []


def _headed(title: str, rows: Iterable[Sequence[str]]) -> list[str]:
    lines = _indented(_columns(list(rows)))
    return ["", title, *lines] if lines else []


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for text in lines for line in text.splitlines()]


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of text with their columns below each other."""
    count = max((len(row) for row in rows), default=0)
    width = [max((len(row[i]) for row in rows if i < len(row)), default=0) for i in range(count)]
    return ["  ".join(c.ljust(w) for c, w in zip(row, width)).rstrip() for row in rows]


def _short(text: str) -> str:
    """At most WIDTH characters: paths differ at their ends, so the middle goes."""
    if len(text) <= WIDTH:
        return text
    half = (WIDTH - 3) // 2
    return f"{text[:half]}...{text[-half:]}"
