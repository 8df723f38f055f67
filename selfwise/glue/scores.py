"""The scores of GLUE on dev, put together: a row for each metric, and the named averages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev
from typing import TYPE_CHECKING, Any

from selfwise.evaluation.scores.probe_score import PRETRAINED, UNTRAINED, format_percent
from selfwise.glue.finetune_recipes import MIN_CHOOSERS
from selfwise.glue.metrics import AVERAGES, OFFICIAL, compute_average, list_missing_metrics
from selfwise.glue.published import CAPTION, NAME, PUBLISHED, format_published

if TYPE_CHECKING:
    from rich.table import Table

WORDS = "bag of words"
COMPETITORS = (PRETRAINED, UNTRAINED, WORDS)
FROZEN, FINETUNE = "frozen", "finetune"  # modes
# single fine-tunings fail, so that papers report the median (arXiv:1907.11692, section 5.1)
CENTRES = {FROZEN: "mean", FINETUNE: "median"}
UNFITTED = {"answer": "majority"}  # the setting of what was not fitted

Found = Mapping[str, Any]  # what the file of a task holds


@dataclass(frozen=True)
class GlueScores:
    """What a run is worth on GLUE, beside its untrained twin and bags of words.

    `left_out` says for a task that was not measured why not.
    """

    mode: str
    tasks: Sequence[Found]
    left_out: Mapping[str, str]

    def rows(self) -> list[dict[str, Any]]:
        """For each metric of each column of dev: the values of all, and the comparisons."""
        return [row for found in self.tasks for row in _build_rows(found)]

    def means(self, competitor: str) -> dict[str, dict[str, float]]:
        """Column -> metric -> the value that averages take: the mean over seeds, or the median."""
        told: dict[str, dict[str, float]] = {}
        for row in self.rows():
            told.setdefault(row["column"], {})[row["metric"]] = row[competitor][CENTRES[self.mode]]
        return told

    def averages(self, competitor: str) -> dict[str, float | None]:
        """The averages of the papers, None where one lacks a task; and the mean of what there is.

        That mean is as the official average, each task first averaged over its metrics.
        """
        means = self.means(competitor)
        columns = [c for c in OFFICIAL if all(metric in means.get(n, {}) for n, metric in c)]
        told: dict[str, float | None] = {name: compute_average(means, name) for name in AVERAGES}
        if columns:
            found = [fmean(means[name][metric] for name, metric in column) for column in columns]
            plural = "" if len(columns) == 1 else "s"
            told[f"mean of the {len(columns)} task{plural} here"] = fmean(found)
        return told

    def sentences(self) -> list[str]:
        """What the table does not say by itself."""
        said = []
        for name in AVERAGES:
            lacking = dict.fromkeys(
                one.split()[0] for one in list_missing_metrics(self.means(PRETRAINED), name)
            )
            if lacking:
                said.append(f"{name}: no average without {', '.join(lacking)}.")
        said += [f"{task} is left out: {why}." for task, why in self.left_out.items()]
        if any(fit["setting"] == UNFITTED for found in self.tasks for fit in found["fits"]):
            said.append(
                "wnli is answered with the class that is more frequent in train (--wnli probe "
                "fits one): train and dev share sentences with opposite labels."
            )
        if self._compares_means():
            said.append(
                "Differences and their intervals are of means over the seeds; beside them stand "
                "medians, so that the two need not agree."
            )
        said += [*_describe_comparisons(self.tasks), *_describe_choices(self.tasks)]
        said += [note for found in self.tasks for note in found["notes"]]
        return [*said, CAPTION] if self._scaled() else said

    def _compares_means(self) -> bool:
        """Whether differences are not those of what stands in the table."""
        several = any(
            one["comparisons"] and len(one["fits"]) > len(COMPETITORS) for one in self.tasks
        )
        return CENTRES[self.mode] == "median" and several

    def _scaled(self) -> bool:
        """Whether BERT-base has a published score of anything here."""
        return any(row["published"] is not None for row in self.rows())

    def table(self) -> "Table":
        """For the terminal: a line for each metric, in percent."""
        from rich.table import Table

        centre = CENTRES[self.mode]
        title = f"GLUE, dev in %, {self.mode}, {centre} of {_format_seeds(self.tasks)}"
        said = "\n".join(self.sentences())
        tight: dict[str, Any] = {"pad_edge": False, "collapse_padding": True}
        tight |= {"show_edge": False}  # so that it can be read at 80 characters
        table = Table(title=title, caption=said or None, caption_justify="left", **tight)
        table.add_column("task", overflow="fold")
        table.add_column("metric", min_width=8)
        for name in COMPETITORS:
            table.add_column(name.replace(" of ", " of\n"), justify="right", min_width=10)
        table.add_column(f"{PRETRAINED} against {UNTRAINED}", min_width=10)
        if scaled := self._scaled():
            table.add_column(NAME.replace(" ", "\n"), justify="right", min_width=10)
        for row in self.rows():
            values = (
                format_percent(row[name][centre], row[name]["deviation"]) for name in COMPETITORS
            )
            against = row["against"].get(UNTRAINED)
            cells = [
                row["column"],
                row["metric"],
                *values,
                _format_comparison(against) if against else "",
            ]
            table.add_row(*cells, *([format_published(row["published"])] if scaled else []))
        table.add_section()
        every = {name: self.averages(name) for name in COMPETITORS}
        for name, ours in every[PRETRAINED].items():
            if ours is not None:
                means = (every[one][name] for one in COMPETITORS)
                table.add_row(
                    name, "", *("" if m is None else format_percent(m, None) for m in means)
                )
        return table

    def to_dict(self) -> dict[str, Any]:
        """Plain data, valid JSON."""
        return {
            "mode": self.mode,
            "centre": CENTRES[self.mode],
            "competitors": list(COMPETITORS),
            "published": NAME,
            "asked": {found["task"]: found["asked"] for found in self.tasks},
            "data": {found["task"]: found["data"] for found in self.tasks},
            "examples": {found["task"]: found["rows"] for found in self.tasks},
            "rows": self.rows(),
            "averages": {name: self.averages(name) for name in COMPETITORS},
            "left_out": dict(self.left_out),
            "sentences": self.sentences(),
        }


def _build_rows(found: Found) -> list[dict[str, Any]]:
    rows = []
    against = {
        (one["column"], one["metric"], one["competitor"]): one for one in found["comparisons"]
    }
    first = found["fits"][0]["scores"].items()
    for column, metric in ((name, metric) for name, values in first for metric in values):
        row: dict[str, Any] = {"column": column, "metric": metric, "n": found["rows"][column]}
        for name in COMPETITORS:
            fits = [fit for fit in found["fits"] if fit["competitor"] == name]
            values = [fit["scores"][column][metric] for fit in fits]
            spread = stdev(values) if len(values) > 1 else None
            row[name] = {"values": values, "mean": fmean(values), "median": median(values)}
            row[name]["deviation"] = spread
            row[name]["settings"] = [fit["setting"] for fit in fits]
        row["published"] = PUBLISHED.get((column, metric))
        keys = {name: (column, metric, name) for name in COMPETITORS}
        row["against"] = {name: against[key] for name, key in keys.items() if key in against}
        rows.append(row)
    return rows


def _format_comparison(one: Mapping[str, Any]) -> str:
    low, high = 100 * one["low"], 100 * one["high"]
    points = f"{100 * one['difference']:+.1f} ({low:+.1f} to {high:+.1f})"
    return f"{points}\n{one['verdict']}"


def _describe_comparisons(tasks: Sequence[Found]) -> list[str]:
    """What "above the noise" rests on, and where bags of words, which need no encoder, win."""
    every = [one for found in tasks for one in found["comparisons"]]
    if not every:
        return []
    alone = len({fit["seed"] for found in tasks for fit in found["fits"]}) == 1
    said = (
        "One seed was fitted: the noise is that of dev's examples alone, and not that of seeds."
        if alone
        else "Above the noise: the 95 % interval over dev's examples excludes zero for every seed."
    )
    below = [
        f"{one['column']} ({100 * one['difference']:+.1f})"
        for one in every
        if one["competitor"] == WORDS and one["difference"] < 0
    ]
    return [
        said,
        *([f"The pretrained encoder is below {WORDS}: {', '.join(below)}."] * bool(below)),
    ]


def _describe_choices(tasks: Sequence[Found]) -> list[str]:
    """How many training examples chose settings, and where they were too few to do so."""
    searched, default = [], []
    for found in tasks:
        rows = {f["setting"]["chosen_on"] for f in found["fits"] if "chosen_on" in f["setting"]}
        if counts := sorted(rows - {0}):
            searched.append(f"{found['task']} {' and '.join(f'{n:,}' for n in counts)}")
        if 0 in rows:
            default.append(found["task"])
    said = []
    if searched:
        said.append(f"Training examples that chose the settings: {', '.join(searched)}.")
    if default:
        said.append(
            f"Default settings without a search in {', '.join(default)}: fewer than {MIN_CHOOSERS} "
            "training examples would have chosen."
        )
    return said


def _format_seeds(tasks: Sequence[Found]) -> str:
    seeds = sorted({fit["seed"] for found in tasks for fit in found["fits"]})
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
