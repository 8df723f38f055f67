"""A score: accuracies with their seeds, and the baselines that give them a meaning."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float

from selfwise.core.html_table import convert_rich_table
from selfwise.core.visible_text import escape_markup
from selfwise.evaluation.scores.bootstrap import (
    Interval,
    describe_difference,
    judge_interval,
    paired_bootstrap,
    standard_error,
)
from selfwise.evaluation.scores.names import COMBINED, PRETRAINED, RAW, UNTRAINED
from selfwise.evaluation.scores.sentences import (
    describe_choices,
    describe_neighbours,
    describe_parts,
)

if TYPE_CHECKING:
    from rich.table import Table

REQUIRED = (PRETRAINED, UNTRAINED, RAW)


class ProbeResult(NamedTuple):
    """One competitor at one label budget."""

    competitor: str
    per_class: int | None  # labels for each class; None is all
    # on the test examples, 0 to 1, one for each seed; a single one where nothing was drawn
    accuracies: tuple[float, ...]
    n_train: int  # labeled examples
    uses_seed: bool = True  # whether a seed decided anything
    ks: tuple[int, ...] = ()  # of nearest neighbors: how many voted, of each seed and encoder
    choices: tuple[str, ...] = ()  # features that training labels chose, of each seed and encoder

    @property
    def mean(self) -> float:
        return float(np.mean(self.accuracies))

    @property
    def deviation(self) -> float | None:
        """Standard deviation over the seeds (n - 1); None for a single seed."""
        return float(np.std(self.accuracies, ddof=1)) if len(self.accuracies) > 1 else None


class ProbeComparison(NamedTuple):
    """The pretrained encoder (or encoder and raw input together) minus one competitor at one label
    budget, in accuracy."""

    competitor: str
    per_class: int | None
    difference: float  # mean over the seeds, which share their draws of labels
    interval: Interval  # 95 %, paired bootstrap over test examples
    error: float | None  # standard error of the difference over the seeds; None for a single seed

    @property
    def verdict(self) -> str:
        """Whether the difference is above the noise."""
        return judge_interval(self.interval)


@dataclass(frozen=True)
class ProbeScore:
    """Accuracies of an encoder and of its competitors at each label budget.

    Raises ValueError if at some budget the encoder or one of its two baselines is missing: a
    score without its baselines is not a result.
    """

    kind: str  # of probe: linear, knn, finetune
    results: tuple[ProbeResult, ...]
    comparisons: tuple[ProbeComparison, ...]
    seeds: tuple[int, ...]
    n_test: int
    # at the largest budget, how often each class (rows) was taken by the encoder for each
    # (columns), over the seeds; nothing where that was not counted
    confusion: Sequence[Sequence[int]] = ()
    warnings: tuple[str, ...] = ()  # what a reader has to know of the examples, in sentences
    path: str = ""  # of the file that it is saved in
    precision: str = ""  # in which the features were computed
    # encoder and raw input together, minus each of the two parts alone; nothing if not measured
    against_parts: tuple[ProbeComparison, ...] = ()

    def __post_init__(self) -> None:
        if not self.results:
            raise ValueError("a score needs results")
        for budget in self.budgets:
            check_competitors(r.competitor for r in self.results if r.per_class == budget)
            check_competitors(
                [PRETRAINED, *(c.competitor for c in self.comparisons if c.per_class == budget)]
            )

    @property
    def budgets(self) -> list[int | None]:
        """Labels for each class, ascending, None (all) last."""
        budgets = {result.per_class for result in self.results}
        return sorted(budgets, key=lambda budget: math.inf if budget is None else budget)

    @property
    def accuracy(self) -> float:
        """Mean accuracy over the seeds of the pretrained encoder at the largest budget, 0 to 1."""
        return self.result(PRETRAINED, self.budgets[-1]).mean

    def result(self, competitor: str, per_class: int | None) -> ProbeResult:
        """Return one competitor at one budget. Raises KeyError if it was not measured."""
        for result in self.results:
            if (result.competitor, result.per_class) == (competitor, per_class):
                return result
        raise KeyError((competitor, per_class))

    def _at(self, per_class: int | None) -> list[ProbeResult]:
        return [result for result in self.results if result.per_class == per_class]

    def intervals(self, per_class: int | None) -> list[Interval]:
        """Against each of the two baselines at one budget, for `bootstrap.is_above_noise`."""
        return [
            c.interval
            for c in self.comparisons
            if c.per_class == per_class and c.competitor in (UNTRAINED, RAW)
        ]

    @property
    def _used_seeds(self) -> tuple[int, ...]:
        """The first one alone where nothing was drawn."""
        return self.seeds[: max(len(result.accuracies) for result in self.results)]

    def rows(self) -> list[dict[str, object]]:
        """Return one flat row for each result, with its comparison where there is one."""
        against = {(c.competitor, c.per_class): c for c in self.comparisons}
        rows = [_build_row(r, against.get((r.competitor, r.per_class))) for r in self.results]
        for row in (row for row in rows if row["competitor"] == COMBINED):
            parts = [
                c for c in self.against_parts if _format_place(c.per_class) == row["per_class"]
            ]
            row["against"] = {c.competitor: _build_comparison(c) for c in parts}
        return rows

    def sentences(self) -> list[str]:
        """For each budget: what the differences are, and whether they are above the noise; how
        many neighbors voted; and what a reader has to know of the examples."""
        sentences = []
        for budget in self.budgets:
            against = [
                describe_difference(c.competitor, c.difference, c.interval)
                for c in self.comparisons
                if c.per_class == budget
            ]
            labelled, here = _describe_budget(budget), self._at(budget)
            sentences.append(f"With {labelled}, {PRETRAINED} against {'; '.join(against)}.")
            sentences += describe_parts(
                labelled,
                {
                    c.competitor: (c.difference, c.interval)
                    for c in self.against_parts
                    if c.per_class == budget
                },
            )
            sentences += describe_neighbours(labelled, {r.competitor: r.ks for r in here})
            sentences += describe_choices(labelled, {r.competitor: r.choices for r in here})
        return [*sentences, *self.warnings]

    def table(self) -> "Table":
        """For the terminal: a line for each competitor, a column for each budget, in percent."""
        from rich.table import Table

        used = _list_seeds(self._used_seeds)
        title = f"accuracy in %, {self.kind}, {self.n_test:,} test examples, seeds {used}"
        table = Table(
            title=title, caption=escape_markup("\n".join(self.sentences())), caption_justify="left"
        )
        table.add_column("encoder")
        for budget in self.budgets:
            n = self.result(PRETRAINED, budget).n_train
            table.add_column(f"{_describe_budget(budget)} ({n:,})", justify="right")
        for name in dict.fromkeys(result.competitor for result in self.results):
            competitor_results = [result for result in self.results if result.competitor == name]
            cells = {
                result.per_class: format_percent(result.mean, result.deviation)
                for result in competitor_results
            }
            table.add_row(name, *(cells.get(budget, "") for budget in self.budgets))
        return table

    def __repr__(self) -> str:
        budget = self.budgets[-1]
        ours = self.result(PRETRAINED, budget)
        accuracy = f"{format_percent(ours.mean, ours.deviation)} %"
        against = [
            describe_difference(c.competitor, c.difference, c.interval)
            for c in self.comparisons
            if c.per_class == budget
        ]
        return (
            f"ProbeScore({self.kind}, accuracy {accuracy} of {self.n_test:,} test examples with "
            f"{_describe_budget(budget)}; against {'; '.join(against)})"
        )

    def _repr_html_(self) -> str:
        return convert_rich_table(self.table(), self.sentences())

    def to_dict(self) -> dict[str, object]:
        """Return plain data, valid JSON: the rows, the sentences, and what they rest on."""
        return {
            "kind": self.kind,
            "accuracy": self.accuracy,
            "n_test": self.n_test,
            "seeds": list(self._used_seeds),
            "rows": self.rows(),
            "sentences": self.sentences(),
            **({"warnings": list(self.warnings)} if self.warnings else {}),
            **({"confusion": [list(row) for row in self.confusion]} if self.confusion else {}),
        }


def check_competitors(names: Iterable[str]) -> None:
    """Raise ValueError unless the encoder and its two baselines are there."""
    existing = set(names)
    missing = [name for name in REQUIRED if name not in existing]
    if missing:
        raise ValueError(
            f"a score without its baselines is not a result: {', '.join(missing)} missing"
        )


def summarise_accuracies(
    competitor: str,
    per_class: int | None,
    correct: Float[np.ndarray, "seeds m"],
    *,
    n_train: int,
    uses_seed: bool = True,
) -> ProbeResult:
    """Return the accuracies of one competitor at one budget from how often each example was
    right."""
    accuracies = tuple(correct.mean(axis=1).tolist())
    return ProbeResult(competitor, per_class, accuracies, n_train, uses_seed)


def compare_competitors(
    per_class: int | None, correct: Mapping[str, Float[np.ndarray, "seeds m"]], *, seed: int
) -> list[ProbeComparison]:
    """Return the pretrained encoder against every other competitor at one budget."""
    ours = correct[PRETRAINED]
    return [
        _compare_competitor(name, per_class, ours, theirs, seed)
        for name, theirs in correct.items()
        if name != PRETRAINED
    ]


def compare_with_parts(
    per_class: int | None, correct: Mapping[str, Float[np.ndarray, "seeds m"]], *, seed: int
) -> list[ProbeComparison]:
    """Return encoder and raw input together against each of them alone, if they were measured."""
    if COMBINED not in correct:
        return []
    ours = correct[COMBINED]
    return [
        _compare_competitor(name, per_class, ours, correct[name], seed)
        for name in (PRETRAINED, RAW)
    ]


def _compare_competitor(
    competitor: str,
    per_class: int | None,
    ours: Float[np.ndarray, "a m"],
    theirs: Float[np.ndarray, "b m"],
    seed: int,
) -> ProbeComparison:
    # with all labels one may be fitted once, and the other trained from each seed
    by_seed = ours.mean(axis=1) - theirs.mean(axis=1)
    interval = paired_bootstrap(ours.mean(axis=0), theirs.mean(axis=0), seed=seed)
    error = standard_error(by_seed) if len(by_seed) > 1 else None
    return ProbeComparison(competitor, per_class, float(by_seed.mean()), interval, error)


def _build_row(result: ProbeResult, comparison: ProbeComparison | None) -> dict[str, object]:
    return {
        "competitor": result.competitor,
        "per_class": _format_place(result.per_class),
        "n_train": result.n_train,
        "accuracies": list(result.accuracies),
        "mean": result.mean,
        "deviation": result.deviation,
        **({} if result.uses_seed else {"drawn": False}),
        **({"k": list(result.ks)} if result.ks else {}),
        **({"choices": list(result.choices)} if result.choices else {}),
        **({} if comparison is None else _build_comparison(comparison)),
    }


def _build_comparison(comparison: ProbeComparison) -> dict[str, object]:
    low, high = comparison.interval
    return {
        "difference": comparison.difference,
        "low": low,
        "high": high,
        "error": comparison.error,
        "verdict": comparison.verdict,
    }


def _format_place(per_class: int | None) -> int | str:
    return "all" if per_class is None else per_class


def _describe_budget(per_class: int | None) -> str:
    return "all labels" if per_class is None else f"{per_class} labels per class"


def format_percent(mean: float, deviation: float | None) -> str:
    """As a table shows it: 61.3 ± 0.4, or 61.3 where nothing deviates."""
    spread = "" if deviation is None else f" ± {100 * deviation:.1f}"
    return f"{100 * mean:.1f}{spread}"


def _list_seeds(seeds: tuple[int, ...]) -> str:
    return ", ".join(str(seed) for seed in seeds)


def join_scores(first: ProbeScore, second: ProbeScore) -> ProbeScore:
    """Return two scores of one encoder on the same test examples, at different budgets, as one.

    Raises ValueError if they are not of one kind, have other seeds, or share a budget.
    """
    if (first.kind, first.n_test) != (second.kind, second.n_test):
        raise ValueError("only scores of one kind of probe on equal test examples can be joined")
    if first.seeds != second.seeds:
        seeds = f"{_list_seeds(first.seeds)} and {_list_seeds(second.seeds)}"
        raise ValueError(f"only scores with equal seeds can be joined, not with seeds {seeds}")
    shared = set(first.budgets) & set(second.budgets)
    if shared:
        raise ValueError(f"both scores contain the label budget {next(iter(shared))}")
    results, comparisons = first.results + second.results, first.comparisons + second.comparisons
    joined = ProbeScore(first.kind, results, comparisons, first.seeds, first.n_test)
    largest = first if joined.budgets[-1] in first.budgets else second
    warnings = tuple(dict.fromkeys(first.warnings + second.warnings))
    return replace(joined, confusion=largest.confusion, warnings=warnings)
