"""The scores of a run, grouped for reading: one curve if several files belong together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selfwise.core.rng import hash_keys
from selfwise.evaluation.scores.bootstrap import describe_difference
from selfwise.evaluation.scores.names import (
    AUTO,
    CHOSEN,
    COMBINED,
    DEVIATION,
    PRETRAINED,
    RETRIEVAL,
)
from selfwise.evaluation.scores.probe_score import format_percent
from selfwise.evaluation.scores.sentences import (
    describe_choices,
    describe_neighbours,
    describe_parts,
)

KINDS = {  # in display order
    "linear": "linear probe",
    "weighted": "linear probe of all layers",
    "sgd": "linear probe as in SimCLR's paper",
    "finetune": "fine-tuning",
    "knn": "nearest-neighbor probe",
    RETRIEVAL: "retrieval",
}
EXAMPLE_KEYS = ("train", "test")  # digests: accuracies on different examples are not comparable
MEASUREMENT_KEYS = ("kind", "layer", "pooling", "window", "k")  # settings of a score
# files with equal values of all these keys form one score
IDENTITY_KEYS = (*MEASUREMENT_KEYS, *EXAMPLE_KEYS, "step", "weights")
ALL = "all"  # a label budget
ROUNDS_TO_ZERO = 5e-4  # a tenth of a percent, halved: a deviation below it is shown as 0.0
LEGACY_K = 200  # nearest neighbors, in files that are too old to record it

Row = Mapping[str, Any]


@dataclass(frozen=True)
class ScoreGroup:
    """Results of one kind of probe with one set of weights on one set of examples."""

    files: Sequence[Mapping[str, Any]]  # as stored, oldest first
    newest: bool  # whether the weights are the run's newest

    def __getitem__(self, name: str) -> Any:
        """A value of all files: kind, layer, pooling, step, n_test; None if one is too old to have
        it."""
        return self.files[-1].get(name)

    @property
    def title(self) -> str:
        """The kind, and the probed features if they are not the encoder's output."""
        kind = self["kind"]
        parts = [KINDS.get(kind, kind)]
        layer = self["layer"]
        parts += [f"layer {layer}"] if layer not in (None, AUTO) else []
        parts += ["layer chosen on training labels"] if layer == AUTO else []
        parts += [f"pooling {self['pooling']}"] if self["pooling"] else []
        parts += [f"window {self['window']}"] if self["window"] else []
        if kind == "knn" and (k := self["k"] or LEGACY_K) != CHOSEN:
            parts += [f"k {k}"]
        return ", ".join(parts)

    @property
    def test_data(self) -> str:
        """The location of its test examples; "" in files that are too old to record it."""
        data = self["data"] or {}
        return data.get("test") or (f"a fifth of {data['train']}" if data.get("train") else "")

    @property
    def axis(self) -> str:
        """What the rows vary: label budgets, or measures of retrieval."""
        return "measure" if self["kind"] == RETRIEVAL else "per_class"

    @property
    def rows(self) -> dict[tuple[int | str, str], Row]:
        """Rows by budget or measure and competitor; of two, the row with more seeds, or the newer
        one.

        If nothing was drawn, the newer row: earlier versions fitted again for each seed.
        """
        rows: dict[tuple[int | str, str], Row] = {}
        for row in (row for file in self.files for row in file["rows"]):
            key = (row[self.axis], row["competitor"])
            replaces = key not in rows or count_seeds(row) >= count_seeds(rows[key])
            if replaces or not row.get("drawn", True):
                rows[key] = row
        return rows

    @property
    def places(self) -> list[int | str]:
        """Label budgets, ascending, all of them last; or measures, as stored."""
        places = list(dict.fromkeys(place for place, _ in self.rows))
        if self["kind"] == RETRIEVAL:
            return places
        return sorted(places, key=lambda budget: (isinstance(budget, str), budget))

    @property
    def competitors(self) -> list[str]:
        """The competitors' names, the pretrained encoder first."""
        return sorted(dict.fromkeys(name for _, name in self.rows), key=lambda n: n != PRETRAINED)

    @property
    def sentences(self) -> list[str]:
        """Sentences on the differences, and whether they are above the noise."""
        if self["kind"] == RETRIEVAL:
            return list(self["sentences"])
        sentences = [text for budget in self.places for text in self._of_budget(budget)]
        return [*sentences, *self.warnings]

    @property
    def warnings(self) -> list[str]:
        """Warnings about the examples."""
        return list(dict.fromkeys(text for file in self.files for text in file.get("warnings", ())))

    def _of_budget(self, budget: int | str) -> list[str]:
        rows = {name: self.rows.get((budget, name), {}) for name in self.competitors}
        against = [
            describe_difference(name, row["difference"], (row["low"], row["high"]))
            for name, row in rows.items()
            if "difference" in row
        ]
        sentences = [f"With {describe_budget(budget)}, {PRETRAINED} against {'; '.join(against)}."]
        parts = {
            name: (one["difference"], (one["low"], one["high"]))
            for name, one in rows.get(COMBINED, {}).get("against", {}).items()
        }
        labelled = describe_budget(budget)
        return [
            *(sentences if against else []),
            *describe_parts(labelled, parts),
            *describe_neighbours(labelled, {name: row.get("k", ()) for name, row in rows.items()}),
            *describe_choices(labelled, {n: row.get("choices", ()) for n, row in rows.items()}),
        ]

    def table(self) -> list[list[str]]:
        """A line for each budget or measure, a column for each competitor, in percent."""
        rows = self.rows
        lines = [[self.axis.replace("per_class", "labels per class"), *self.competitors]]
        for place in self.places:
            cells = [rows.get((place, name)) for name in self.competitors]
            lines.append([str(place), *(format_row(row) if row else "" for row in cells)])
        return lines


def title_groups(groups: Sequence[ScoreGroup]) -> list[str]:
    """Return a title for each group; groups that differ only in examples also name their
    location."""
    examples: dict[str, set[tuple[Any, ...]]] = {}
    for group in groups:
        examples.setdefault(group.title, set()).add(_list_example_keys(group))
    return [
        group.title if len(examples[group.title]) == 1 else _title_with_examples(group)
        for group in groups
    ]


def _list_example_keys(group: ScoreGroup) -> tuple[Any, ...]:
    return tuple(group[name] for name in EXAMPLE_KEYS)


def _title_with_examples(group: ScoreGroup) -> str:
    """Return the title with the test examples, and the beginning of a digest of all examples."""
    test_data = f" on {group.test_data}" if group.test_data else ""
    return f"{group.title}{test_data} ({hash_keys(0, repr(_list_example_keys(group))) % 16**4:04x})"


def format_row(row: Row) -> str:
    """Format a row's mean and deviation in percent.

    With all labels, earlier versions stored the deviation over identical fits.
    """
    deviation = row["deviation"]
    same = row.get("per_class") == ALL and deviation is not None and deviation < ROUNDS_TO_ZERO
    return format_percent(row["mean"], None if same else deviation)


def is_final_output(group: ScoreGroup) -> bool:
    """Return whether the probe read the encoder's own output, not one of its layers."""
    return group["layer"] is None and group["pooling"] in (None, "", DEVIATION)


def count_seeds(row: Row) -> int:
    """Return the number of measurements."""
    return len(row.get("accuracies", row.get("values", ())))


def describe_budget(budget: int | str) -> str:
    """Return a label budget in words."""
    return "all labels" if isinstance(budget, str) else f"{budget} labels per class"


def group_scores(files: Sequence[Mapping[str, Any]], *, step: int) -> list[ScoreGroup]:
    """Group the scores of a run whose newest checkpoint has this step: its scores first, by kind.

    A file without a step counts as a file of the newest checkpoint.
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for file in files:
        groups.setdefault(tuple(file.get(name) for name in IDENTITY_KEYS), []).append(file)
    scores = [ScoreGroup(group, group[-1].get("step", step) == step) for group in groups.values()]
    kinds = list(KINDS)
    ranks = {kind: number for number, kind in enumerate(kinds)}
    return sorted(
        scores,
        key=lambda group: (
            not group.newest,
            -int(group["step"] or 0),
            ranks.get(group["kind"], len(kinds)),
        ),
    )
