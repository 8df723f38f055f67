"""Scores of retrieval, compared with baselines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from selfwise.core.html_table import convert_rich_table
from selfwise.core.visible_text import escape_markup
from selfwise.evaluation.probes.retrieval import MAP, RetrievalMeasures
from selfwise.evaluation.scores.bootstrap import (
    Interval,
    describe_difference,
    judge_interval,
    paired_bootstrap,
)
from selfwise.evaluation.scores.names import PRETRAINED, RETRIEVAL
from selfwise.evaluation.scores.probe_score import check_competitors, format_percent

if TYPE_CHECKING:
    from rich.table import Table

COMPARED = ("recall@1", MAP)


class RetrievalDifference(NamedTuple):
    """The pretrained encoder minus one competitor, in one measure."""

    measure: str
    competitor: str
    difference: float
    interval: Interval  # 95 %, paired bootstrap over the queries; what is searched stays the same

    @property
    def verdict(self) -> str:
        """Whether the difference is above the noise."""
        return judge_interval(self.interval)


@dataclass(frozen=True)
class RetrievalScore:
    """The retrieval measures of an encoder and of its baselines.

    Raises ValueError if the encoder or one of its two baselines is missing: see `ProbeScore`.
    """

    kind: ClassVar[str] = RETRIEVAL

    # of each competitor; of untrained encoders there are several
    by_competitor: Mapping[str, Sequence[RetrievalMeasures]]
    differences: tuple[RetrievalDifference, ...]
    path: str = ""  # of the file that it is saved in
    precision: str = ""  # in which the features were computed

    def __post_init__(self) -> None:
        check_competitors(self.by_competitor)
        check_competitors([PRETRAINED, *(one.competitor for one in self.differences)])

    @property
    def measures(self) -> list[str]:
        """Their names."""
        return list(self._ours.values)

    @property
    def _ours(self) -> RetrievalMeasures:
        return self.by_competitor[PRETRAINED][0]

    def mean(self, measure: str, competitor: str = PRETRAINED) -> float:
        """Over queries and encoders, 0 to 1. Raises KeyError if it was not measured."""
        return float(
            np.mean([measures.mean(measure) for measures in self.by_competitor[competitor]])
        )

    def deviation(self, measure: str, competitor: str) -> float | None:
        """Standard deviation over the encoders (n - 1); None for a single one."""
        means = [measures.mean(measure) for measures in self.by_competitor[competitor]]
        return float(np.std(means, ddof=1)) if len(means) > 1 else None

    def rows(self) -> list[dict[str, object]]:
        """Return one flat row for each measure and competitor, with the difference where there is
        one."""
        by_measure = {(one.measure, one.competitor): one for one in self.differences}
        return [
            self._row(measure, competitor, by_measure.get((measure, competitor)))
            for measure in self.measures
            for competitor in self.by_competitor
        ]

    def _row(
        self, measure: str, competitor: str, against: RetrievalDifference | None
    ) -> dict[str, object]:
        row: dict[str, object] = {
            "competitor": competitor,
            "measure": measure,
            "values": [measures.mean(measure) for measures in self.by_competitor[competitor]],
            "mean": self.mean(measure, competitor),
            "deviation": self.deviation(measure, competitor),
        }
        if against is not None:
            row["difference"] = against.difference
            row["low"], row["high"] = against.interval
            row["verdict"] = against.verdict
        return row

    def sentences(self) -> list[str]:
        """Return sentences on the differences, on the noise, and on examples that were left out."""
        sentences = [
            f"In {measure}, {PRETRAINED} against "
            + "; ".join(
                describe_difference(
                    difference.competitor, difference.difference, difference.interval
                )
                for difference in self.differences
                if difference.measure == measure
            )
            + "."
            for measure in dict.fromkeys(difference.measure for difference in self.differences)
        ]
        left_out = self._ours.left_out
        if left_out:
            subject = (
                "1 example was not a query: its"
                if left_out == 1
                else f"{left_out:,} were not queries: their"
            )
            sentences.append(f"{subject} class has no other example.")
        return sentences

    def table(self) -> "Table":
        """For the terminal: a line for each measure, a column for each competitor, in percent."""
        from rich.table import Table

        queries = len(self._ours.queries)
        title = f"retrieval in %, {queries:,} queries, {self._searched:,} test examples"
        table = Table(
            title=title, caption=escape_markup("\n".join(self.sentences())), caption_justify="left"
        )
        table.add_column("measure")
        for name in self.by_competitor:
            table.add_column(name, justify="right")
        for measure in self.measures:
            cells = [
                (self.mean(measure, n), self.deviation(measure, n)) for n in self.by_competitor
            ]
            table.add_row(measure, *(format_percent(*cell) for cell in cells))
        return table

    def __repr__(self) -> str:
        means = ", ".join(f"{measure} {100 * self.mean(measure):.1f} %" for measure in COMPARED)
        against = "; ".join(
            describe_difference(difference.competitor, difference.difference, difference.interval)
            for difference in self.differences
            if difference.measure == COMPARED[0]
        )
        queries = f"{len(self._ours.queries):,} queries"
        return f"RetrievalScore({means} of {queries}; in {COMPARED[0]} against {against})"

    def _repr_html_(self) -> str:
        return convert_rich_table(self.table(), self.sentences())

    @property
    def _searched(self) -> int:
        return len(self._ours.queries) + self._ours.left_out

    def to_dict(self) -> dict[str, object]:
        """Return plain data, valid JSON: the rows, the sentences, and what they rest on."""
        return {
            "kind": self.kind,
            "n_test": self._searched,
            "queries": len(self._ours.queries),
            "left_out": self._ours.left_out,
            "rows": self.rows(),
            "sentences": self.sentences(),
        }


def compare_retrieval(
    measures: Mapping[str, Sequence[RetrievalMeasures]], *, seed: int = 0
) -> RetrievalScore:
    """Return the score of the encoder and its competitors, with differences and their intervals.

    Of several encoders, as of untrained ones, each query counts with its mean. All must have
    searched the same examples. Raises ValueError if a required competitor is missing.
    """
    check_competitors(measures)
    ours, differences = measures[PRETRAINED][0], []
    for measure in COMPARED:
        query_means = {
            name: np.mean([one.values[measure] for one in several], axis=0)
            for name, several in measures.items()
        }
        for name in measures:
            if name == PRETRAINED:
                continue
            assert np.array_equal(measures[name][0].queries, ours.queries), name
            gap = float(query_means[PRETRAINED].mean() - query_means[name].mean())
            interval = paired_bootstrap(query_means[PRETRAINED], query_means[name], seed=seed)
            differences.append(RetrievalDifference(measure, name, gap, interval))
    return RetrievalScore(measures, tuple(differences))
