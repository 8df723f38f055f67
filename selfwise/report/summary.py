"""The top of the page: what was trained on what, and what it is worth in one sentence."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfwise import config
from selfwise.evaluate.score import PRETRAINED, RAW, UNTRAINED, percent
from selfwise.report.parts import Rows, Section
from selfwise.run import Run
from selfwise.train import checkpoint

LEARNED = {  # kinds of probe, as a sentence begins
    "linear": "A linear probe gets",
    "weighted": "A linear probe of all layers gets",
    "sgd": "A linear probe, trained as in SimCLR's paper, gets",
    "knn": "Its nearest neighbours get",
    "finetune": "Fine-tuned, it gets",
}
OUTPUT = {"layer": None, "pooling": ""}  # what is probed unless the user says otherwise


def sections(folders: Sequence[Path], run: Run | None) -> list[Section]:
    """Method, encoder, data and length of each run, a column for each.

    Args:
        folders: of the runs.
        run: the only one, where it could be opened: its encoder's weights are counted.
    """
    columns = [_facts(folder) for folder in folders]
    if run is not None:
        count = sum(weight.numel() for weight in run.encoder.parameters())
        columns[0]["encoder"] += f", {count:,} weights"
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = [[name, *(column.get(name, "") for column in columns)] for name in names]
    several = len(folders) > 1
    head = ["", *map(called, folders)] if several else []
    about = "Runs side by side; what differs stands further below." if several else ""
    return [Section("In short", about, [Rows(head, rows)])]


def title(folders: Sequence[Path]) -> str:
    """What the page is about."""
    if len(folders) > 1:
        return f"{len(folders)} runs side by side"
    settings = config.read(folders[0])
    return f"{settings['method']} on {data_named(settings['options']['data'])}"


def called(folder: Path) -> str:
    """A run as a column is headed: its folder's name."""
    return folder.resolve().name


def lead(folders: Sequence[Path]) -> str:
    """The best score of each run beside its baselines; nothing where there is no score."""
    said = [(folder, best(folder)) for folder in folders]
    if len(folders) == 1:
        return said[0][1]
    return " ".join(f"{called(folder)}: {sentence}" for folder, sentence in said if sentence)


def scores(folder: Path) -> list[dict[str, Any]]:
    """What probes of the run's newest weights have found, oldest first.

    Raises ValueError for a file that is none of ours.
    """
    found, _ = checkpoint.latest(folder / "checkpoints")
    told: list[dict[str, Any]] = []
    files = (folder / "scores").glob("*.json")
    for path in sorted(files, key=lambda path: (path.stat().st_mtime_ns, path.name)):
        try:
            score = json.loads(path.read_text(encoding="utf-8"))
            assert isinstance(score["kind"], str)
            assert isinstance(score["rows"], list)
        except (ValueError, LookupError, TypeError, AssertionError) as error:
            raise ValueError(f"{path} is no score that selfwise probe has written") from error
        if found is None or score.get("step", found.step) == found.step:
            told.append(score)
    return told


def best(folder: Path) -> str:
    """The highest accuracy that was measured, with its baselines, at the fewest and at the most
    labels; without any, what is retrieved."""
    found = scores(folder)
    whole = {kind: _joined([s for s in found if s["kind"] == kind]) for kind in LEARNED}
    tops = {
        kind: rows[_budgets(rows)[-1]][PRETRAINED]["mean"] for kind, rows in whole.items() if rows
    }
    if tops:
        kind = max(tops, key=lambda name: tops[name])
        rows, budgets = whole[kind], _budgets(whole[kind])
        said = [
            _accuracy(rows[budget], budget) for budget in dict.fromkeys([budgets[0], budgets[-1]])
        ]
        return f"{LEARNED[kind]} {' and '.join(said)} right."
    retrieved = [s for s in found if s["kind"] == "retrieval"]
    return _retrieved(retrieved[-1]) if retrieved else ""


Budget = dict[str, Mapping[str, Any]]  # by competitor, a row of a score


def _joined(found: Sequence[Mapping[str, Any]]) -> dict[int | str, Budget]:
    """The rows of scores of one kind by budget, on the test examples of the newest one."""
    output = [s for s in found if all(s.get(n, v) == v for n, v in OUTPUT.items())] or found
    rows: dict[int | str, Budget] = {}
    for score in output:
        if score.get("test") == output[-1].get("test"):
            for row in score["rows"]:
                told = {**row, "n_test": score["n_test"]}
                rows.setdefault(row["per_class"], {})[row["competitor"]] = told
    return rows


def _budgets(rows: Mapping[int | str, Budget]) -> list[int | str]:
    """Labels for each class, ascending, all of them last."""
    return sorted(rows, key=lambda budget: (isinstance(budget, str), budget))


def _accuracy(rows: Budget, budget: int | str) -> str:
    ours = rows[PRETRAINED]
    labels = "all labels" if isinstance(budget, str) else f"{budget} labels per class"
    value = percent(ours["mean"], ours["deviation"])
    return f"{value} % of {ours['n_test']:,} test examples with {labels} ({_baselines(rows)})"


def _baselines(rows: Mapping[str, Any]) -> str:
    names = {UNTRAINED: "the untrained encoder", RAW: "the raw input"}
    return ", ".join(
        f"{words} {percent(rows[name]['mean'], rows[name]['deviation'])} %"
        for name, words in names.items()
        if name in rows
    )


def _retrieved(score: Mapping[str, Any]) -> str:
    rows = {row["competitor"]: row for row in score["rows"] if row["measure"] == "recall@1"}
    value = percent(rows[PRETRAINED]["mean"], rows[PRETRAINED]["deviation"])
    return (
        f"The nearest of {score['n_test']:,} test examples is of the same class for {value} % "
        f"({_baselines(rows)})."
    )


def data_named(where: str) -> str:
    """Data in a few words: a name as it is, a path by its last two parts."""
    parts = Path(where).parts
    return where if len(parts) < 3 else "/".join(parts[-2:])


def _facts(folder: Path) -> dict[str, str]:
    """What a reader wants to know first."""
    settings = config.read(folder)
    options, found = settings["options"], settings["found"]
    told = dict(options["encoder"])
    facts = {"method": settings["method"], "encoder": str(told.pop("name"))}
    if told:
        facts["encoder"] += " with " + ", ".join(f"{name} {value}" for name, value in told.items())
    if "imported" in found:
        return {**facts, "imported from": str(found["imported"]["from"])}
    facts["data"] = f"{data_named(options['data'])}, {found['examples']:,} examples"
    if "hours" in found:
        facts["data"] += f", {found['hours']:.1f} hours"
    if "tokens" in found:
        facts["data"] += f", {found['tokens']:,} tokens"
    newest, _ = checkpoint.latest(folder / "checkpoints")
    done, steps = newest.step if newest else 0, options["steps"]
    facts["steps"] = f"{steps:,}" if done == steps else f"{done:,} of {steps:,}"
    facts["steps"] += f", each of {options['batch']:,} examples"
    if options.get("start"):
        facts["started from"] = data_named(options["start"])
    return facts
