"""The scores of GLUE on dev, put together: a row for each metric, and the named averages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev
from typing import TYPE_CHECKING, TypedDict

from selfwise.core.html_table import convert_rich_table
from selfwise.core.visible_text import escape_markup
from selfwise.evaluation.scores.names import PRETRAINED, UNTRAINED, WORDS
from selfwise.evaluation.scores.probe_score import format_percent
from selfwise.glue.finetune_recipes import MIN_CHOOSERS
from selfwise.glue.metrics import AVERAGES, OFFICIAL, compute_average, list_missing_metrics
from selfwise.glue.published import CAPTION, NAME, PUBLISHED, format_published
from selfwise.glue.task_record import ComparisonRecord, SettingValues, TaskRecord

if TYPE_CHECKING:
    from rich.table import Table

COMPETITORS = (PRETRAINED, UNTRAINED, WORDS)
FROZEN, FINETUNE = "frozen", "finetune"  # modes
# single fine-tunings fail, so that papers report the median (arXiv:1907.11692, section 5.1)
CENTRES = {FROZEN: "mean", FINETUNE: "median"}
UNFITTED: SettingValues = {"answer": "majority"}  # the setting of what was not fitted


class CompetitorScores(TypedDict):
    """One competitor in one metric of one column of dev."""

    values: list[float]  # of each seed
    mean: float
    median: float
    deviation: float | None
    settings: list[SettingValues]


@dataclass(frozen=True)
class MetricRow:
    """One metric of one column of dev: the scores of all competitors, and the comparisons."""

    column: str
    metric: str
    examples: int
    competitors: Mapping[str, CompetitorScores]
    published: float | None  # of BERT-base
    against: Mapping[str, ComparisonRecord]

    def to_dict(self) -> dict[str, object]:
        """Return plain data, valid JSON."""
        return {
            "column": self.column,
            "metric": self.metric,
            "n": self.examples,
            **self.competitors,
            "published": self.published,
            "against": dict(self.against),
        }


@dataclass(frozen=True)
class GlueScores:
    """The scores of a run on GLUE, compared with an untrained encoder and with bags of words.

    `left_out` says for a task that was not measured why not.
    """

    mode: str
    tasks: Sequence[TaskRecord]
    left_out: Mapping[str, str]

    def metric_rows(self) -> list[MetricRow]:
        """Return a row for each metric of each column of dev."""
        return [row for task in self.tasks for row in _build_rows(task)]

    def rows(self) -> list[dict[str, object]]:
        """Return the metric rows as plain data."""
        return [row.to_dict() for row in self.metric_rows()]

    def means(self, competitor: str) -> dict[str, dict[str, float]]:
        """Column -> metric -> the value that averages take: the mean over seeds, or the median."""
        means: dict[str, dict[str, float]] = {}
        for row in self.metric_rows():
            scores = row.competitors[competitor]
            means.setdefault(row.column, {})[row.metric] = self._centre(scores)
        return means

    def _centre(self, scores: CompetitorScores) -> float:
        return scores["median"] if CENTRES[self.mode] == "median" else scores["mean"]

    def averages(self, competitor: str) -> dict[str, float | None]:
        """The averages of the papers, None where one lacks a task; and the mean of what there is.

        That mean is as the official average, each task first averaged over its metrics.
        """
        means = self.means(competitor)
        columns = [c for c in OFFICIAL if all(metric in means.get(n, {}) for n, metric in c)]
        averages: dict[str, float | None] = {
            name: compute_average(means, name) for name in AVERAGES
        }
        if columns:
            scores = [fmean(means[name][metric] for name, metric in column) for column in columns]
            plural = "" if len(columns) == 1 else "s"
            averages[f"mean of the {len(columns)} task{plural} here"] = fmean(scores)
        return averages

    def sentences(self) -> list[str]:
        """Return sentences that explain the table."""
        sentences = []
        for name in AVERAGES:
            missing_tasks = dict.fromkeys(
                one.split()[0] for one in list_missing_metrics(self.means(PRETRAINED), name)
            )
            if missing_tasks:
                sentences.append(f"{name}: no average without {', '.join(missing_tasks)}.")
        sentences += [f"{task} was left out: {why}." for task, why in self.left_out.items()]
        if any(fit["setting"] == UNFITTED for task in self.tasks for fit in task["fits"]):
            sentences.append(
                "The answer to wnli is the more frequent class of train (--wnli probe "
                "fits a probe): train and dev share sentences with opposite labels."
            )
        if self._compares_means():
            sentences.append(
                "Differences and their intervals are for means over the seeds, but the scores next "
                "to them are medians, so that the two need not agree."
            )
        sentences += [*_describe_comparisons(self.tasks), *_describe_choices(self.tasks)]
        sentences += [note for task in self.tasks for note in task["notes"]]
        return [*sentences, CAPTION] if self._scaled() else sentences

    def _compares_means(self) -> bool:
        """Return whether the differences are not those of the values in the table."""
        several = any(
            one["comparisons"] and len(one["fits"]) > len(COMPETITORS) for one in self.tasks
        )
        return CENTRES[self.mode] == "median" and several

    def _scaled(self) -> bool:
        """Return whether BERT-base has a published score of anything here."""
        return any(row.published is not None for row in self.metric_rows())

    def table(self) -> "Table":
        """For the terminal: a line for each metric, in percent."""
        from rich.table import Table

        centre = CENTRES[self.mode]
        title = f"GLUE, dev in %, {self.mode}, {centre} of {_format_seeds(self.tasks)}"
        caption = escape_markup("\n".join(self.sentences()))
        table = Table(title=title, caption=caption or None, caption_justify="left")
        # so that it can be read at 80 characters
        table.pad_edge, table.collapse_padding, table.show_edge = False, True, False
        table.add_column("task", overflow="fold")
        table.add_column("metric", min_width=8)
        for name in COMPETITORS:
            table.add_column(name.replace(" of ", " of\n"), justify="right", min_width=10)
        table.add_column(f"{PRETRAINED} against {UNTRAINED}", min_width=10)
        if scaled := self._scaled():
            table.add_column(NAME.replace(" ", "\n"), justify="right", min_width=10)
        for row in self.metric_rows():
            competitors = (row.competitors[name] for name in COMPETITORS)
            values = (format_percent(self._centre(one), one["deviation"]) for one in competitors)
            against = row.against.get(UNTRAINED)
            cells = [row.column, row.metric, *values]
            cells.append(_format_comparison(against) if against else "")
            table.add_row(*cells, *([format_published(row.published)] if scaled else []))
        table.add_section()
        averages = {name: self.averages(name) for name in COMPETITORS}
        for name, ours in averages[PRETRAINED].items():
            if ours is not None:
                means = (averages[one][name] for one in COMPETITORS)
                table.add_row(
                    name, "", *("" if m is None else format_percent(m, None) for m in means)
                )
        return table

    def __repr__(self) -> str:
        tasks = ", ".join(task["task"] for task in self.tasks) or "no task"
        averages = {name: self.averages(name) for name in COMPETITORS if self.tasks}
        means = [
            f"{name} {format_percent(mean, None)} %"
            for name, values in averages.items()
            for mean in list(values.values())[-1:]  # of the tasks here, the last of the averages
            if mean is not None
        ]
        average = f"; on average {', '.join(means)}" if means else ""
        return f"GlueScores({self.mode} on {tasks}{average})"

    def _repr_html_(self) -> str:
        return convert_rich_table(self.table(), self.sentences())

    def to_dict(self) -> dict[str, object]:
        """Return plain data, valid JSON."""
        return {
            "mode": self.mode,
            "centre": CENTRES[self.mode],
            "competitors": list(COMPETITORS),
            "published": NAME,
            "asked": {task["task"]: task["asked"] for task in self.tasks},
            "data": {task["task"]: task["data"] for task in self.tasks},
            "examples": {task["task"]: task["rows"] for task in self.tasks},
            "rows": self.rows(),
            "averages": {name: self.averages(name) for name in COMPETITORS},
            "left_out": dict(self.left_out),
            "sentences": self.sentences(),
        }


def _build_rows(task: TaskRecord) -> list[MetricRow]:
    against = {
        (one["column"], one["metric"], one["competitor"]): one for one in task["comparisons"]
    }
    rows = []
    first = task["fits"][0]["scores"].items()
    for column, metric in ((name, metric) for name, values in first for metric in values):
        keys = {name: (column, metric, name) for name in COMPETITORS}
        rows.append(
            MetricRow(
                column,
                metric,
                task["rows"][column],
                {name: _summarise_fits(task, name, column, metric) for name in COMPETITORS},
                PUBLISHED.get((column, metric)),
                {name: against[key] for name, key in keys.items() if key in against},
            )
        )
    return rows


def _summarise_fits(
    task: TaskRecord, competitor: str, column: str, metric: str
) -> CompetitorScores:
    fits = [fit for fit in task["fits"] if fit["competitor"] == competitor]
    values = [fit["scores"][column][metric] for fit in fits]
    return {
        "values": values,
        "mean": fmean(values),
        "median": median(values),
        "deviation": stdev(values) if len(values) > 1 else None,
        "settings": [fit["setting"] for fit in fits],
    }


def _format_comparison(one: ComparisonRecord) -> str:
    low, high = 100 * one["low"], 100 * one["high"]
    points = f"{100 * one['difference']:+.1f} ({low:+.1f} to {high:+.1f})"
    return f"{points}\n{one['verdict']}"


def _describe_comparisons(tasks: Sequence[TaskRecord]) -> list[str]:
    """Explain "above the noise", and name tasks where bags of words, without an encoder, win."""
    comparisons = [one for task in tasks for one in task["comparisons"]]
    if not comparisons:
        return []
    alone = len({fit["seed"] for task in tasks for fit in task["fits"]}) == 1
    sentence = (
        "One seed was fitted: the noise comes from dev's examples alone, not from seeds."
        if alone
        else "Above the noise: the 95 % interval over dev's examples excludes zero for every seed."
    )
    below = [
        f"{one['column']} ({100 * one['difference']:+.1f})"
        for one in comparisons
        if one["competitor"] == WORDS and one["difference"] < 0
    ]
    return [
        sentence,
        *([f"The pretrained encoder is below {WORDS}: {', '.join(below)}."] * bool(below)),
    ]


def _describe_choices(tasks: Sequence[TaskRecord]) -> list[str]:
    """Return how many training examples chose settings, and where they were too few to do so."""
    searched, default = [], []
    for task in tasks:
        settings = [fit["setting"] for fit in task["fits"]]
        counts = {int(one["chosen_on"] or 0) for one in settings if "chosen_on" in one}
        if above_zero := sorted(counts - {0}):
            searched.append(f"{task['task']} {' and '.join(f'{n:,}' for n in above_zero)}")
        if 0 in counts:
            default.append(task["task"])
    sentences = []
    if searched:
        sentences.append(f"Training examples that chose the settings: {', '.join(searched)}.")
    if default:
        sentences.append(
            f"No search of settings in {', '.join(default)}: fewer than {MIN_CHOOSERS} "
            "training examples could have chosen them."
        )
    return sentences


def _format_seeds(tasks: Sequence[TaskRecord]) -> str:
    seeds = sorted({fit["seed"] for task in tasks for fit in task["fits"]})
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
