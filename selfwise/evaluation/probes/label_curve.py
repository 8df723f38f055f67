"""Accuracy against the number of labels, for the trained encoder and its competitors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int64

from selfwise.core.rng import shuffle_indices
from selfwise.evaluation.probes.baselines import FeatureSplit
from selfwise.evaluation.probes.choose_features import FeatureSource
from selfwise.evaluation.probes.knn import KNNPrediction
from selfwise.evaluation.probes.linear import fit_linear
from selfwise.evaluation.probes.matrix import Matrix
from selfwise.evaluation.scores.names import PRETRAINED
from selfwise.evaluation.scores.probe_score import (
    ProbeScore,
    check_competitors,
    compare_competitors,
    compare_with_parts,
    summarise_accuracies,
)

MAX_CONFUSION_CLASSES = 1000  # classes up to which confusions are counted


def join_budgets(value: object) -> str:
    """Return label budgets from Python as text: 10, [10, 100] and [10, "all"], or text as it is."""
    if isinstance(value, str):
        return value
    values = value if isinstance(value, Sequence) else [value]
    return ",".join("all" if one is None else str(one) for one in values)


def parse_budgets(text: str) -> list[int | None]:
    """Label budgets such as "10,100,all", as examples for each class; None is all. Sorted.

    Raises ValueError for any other text, and for a budget that occurs twice.
    """
    parsed: list[int | None] = []
    for word in (part.strip() for part in text.split(",")):
        if word != "all" and not (word.isascii() and word.isdigit() and int(word) > 0):
            right = "numbers of labels for each class above 0, or all, such as 10,100,all"
            raise ValueError(f"label budget {word!r} in {text!r} is not valid: use {right}")
        budget = None if word == "all" else int(word)
        if budget in parsed:
            raise ValueError(f"label budget {word!r} occurs twice in {text!r}")
        parsed.append(budget)
    return sorted(parsed, key=lambda budget: np.inf if budget is None else budget)


def draw_labels(
    labels: Int64[np.ndarray, "n"],
    per_class: int | None,
    seed: int,
    *,
    classes: Sequence[str] | None = None,
) -> Int64[np.ndarray, "k"]:
    """Rows, ascending, with `per_class` examples of every class; None is every row.

    The rows are a pure function of the labels and the seed. With one seed a smaller budget is a
    subset of a larger one, so that a curve rises by labels and not by luck.

    Raises ValueError if a class has too few examples, with its name from `classes`.
    """
    if per_class is None:
        return np.arange(len(labels))
    counts = np.bincount(labels, minlength=len(classes or ()))
    # a number without examples is not a class (labels 1 to 5 have no 0), but a name is
    named = [name != str(number) for number, name in enumerate(classes or ())]
    present = counts > 0
    present[: len(named)] |= np.array(named, dtype=bool)
    for label in np.flatnonzero(present & (counts < per_class))[:1]:
        name = repr(classes[label]) if classes else str(label)
        has = f"{counts[label]} labeled examples, but the label budget needs {per_class}"
        raise ValueError(f"class {name} has {has} of each class; use a smaller budget, or all")
    order = shuffle_indices(len(labels), seed, "label budget")
    order = order[np.argsort(labels[order], kind="stable")]
    rank_in_class = np.arange(len(labels)) - (counts.cumsum() - counts)[labels[order]]
    return np.sort(order[rank_in_class < per_class])


class Predictions(NamedTuple):
    """Predictions from each kind of features, and what training labels have chosen for each."""

    predicted: Int64[np.ndarray, "*r m"]
    ks: tuple[int, ...] = ()  # how many nearest neighbors voted; none for other probes
    choices: tuple[str, ...] = ()  # names of the chosen features; none where there is no choice


# (rows of the training set, seed) -> predictions (m,), or (r, m) for r repetitions to average
Competitor = Callable[[np.ndarray, int], np.ndarray | Predictions]


@runtime_checkable
class FeatureProbe(Protocol):
    """Predicts classes. `groups` of the training examples are passed only where they exist."""

    def __call__(
        self,
        train: Matrix,
        labels: np.ndarray,
        test: Matrix,
        seed: int,
        *,
        groups: np.ndarray | None = None,
    ) -> np.ndarray | KNNPrediction: ...


@dataclass(frozen=True)
class FeatureCompetitor:
    """A competitor on fixed features; `uses_seed` if its fit depends on the seed."""

    predict: Competitor
    uses_seed: bool = False

    def __call__(self, rows: np.ndarray, seed: int) -> np.ndarray | Predictions:
        return self.predict(rows, seed)


def probe_features(
    sources: Sequence[FeatureSplit | FeatureSource],
    labels: Int64[np.ndarray, "n"],
    probe: FeatureProbe | None = None,
    *,
    groups: Int64[np.ndarray, "n"] | None = None,
    uses_seed: bool = False,
) -> Competitor:
    """Return a probe of each kind of features, averaged: one for an encoder, three for untrained
    ones.

    A source that is not a fixed split chooses its features for each draw of labels. `probe` None is
    `fit_linear`, with its search. Its folds hold out whole `groups` of the training examples, such
    as speakers, if the selected rows have more than one group. `uses_seed` means that the probe
    trains from its seed, so that it is repeated even with all labels.
    """
    probe = probe or _predict_linear

    def predict(rows: np.ndarray, seed: int) -> np.ndarray | Predictions:
        fit: Callable[..., np.ndarray | KNNPrediction] = probe
        if groups is not None and len(np.unique(groups[rows])) > 1:
            fit = partial(probe, groups=groups[rows])
        splits, choices = _choose_splits(sources, rows, seed)
        results = [fit(s.train[rows], labels[rows], s.test, seed) for s in splits]
        ks = tuple(result.k for result in results if isinstance(result, KNNPrediction))
        predicted = np.stack(
            [
                result.predicted if isinstance(result, KNNPrediction) else result
                for result in results
            ]
        )
        return Predictions(predicted, ks, choices) if ks or choices else predicted

    return FeatureCompetitor(predict, uses_seed)


def _choose_splits(
    sources: Sequence[FeatureSplit | FeatureSource], rows: np.ndarray, seed: int
) -> tuple[list[FeatureSplit], tuple[str, ...]]:
    """Return the features of each source, and the names of those that the labels have chosen."""
    splits, choices = list[FeatureSplit](), list[str]()
    for source in sources:
        if isinstance(source, FeatureSplit):
            splits.append(source)
            continue
        chosen = source.choose(rows, seed)
        splits.append(chosen.split)
        choices.append(chosen.name)
    return splits, tuple(choices)


def _predict_linear(
    train: Matrix,
    labels: np.ndarray,
    test: Matrix,
    seed: int,
    *,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    return fit_linear(train, labels, test, seed=seed, groups=groups).predicted


def compute_label_curve(
    competitors: Mapping[str, Competitor],
    labels: Int64[np.ndarray, "n"],
    truth: Int64[np.ndarray, "m"],
    *,
    budgets: Sequence[int | None],
    seeds: Sequence[int],
    classes: Sequence[str] | None = None,
    kind: str = "linear",
    progress: Callable[[str], None] | None = None,
) -> ProbeScore:
    """Return every competitor at every budget and seed, on the same draws of labels.

    `competitors` has "pretrained", "untrained", "raw input" (`probe_score.REQUIRED`) and any
    others. `labels` are those of the training examples, `truth` those of the test examples. With
    all labels there is no draw: a probe of fixed features is fitted once, with the first seed, and
    a competitor that trains from a seed is repeated. The confusion matrix is that of the pretrained
    encoder at the largest budget. `progress` gets a line before each computation.

    Raises ValueError if a required competitor is missing, no seed or budget is given, or a class
    has too few examples for a budget; before anything is computed.
    """
    check_competitors(competitors)
    if not len(seeds) or not len(budgets):
        raise ValueError("a label curve needs at least one seed and one label budget")
    # nested draws: the largest budget is the one that fails, so no time is lost on the smaller ones
    draws = {b: [draw_labels(labels, b, s, classes=classes) for s in seeds] for b in budgets}
    results, comparisons, against_parts = [], [], []
    largest = max(draws, key=lambda budget: np.inf if budget is None else budget)
    n = max(len(classes or ()), *(1 + int(those.max(initial=-1)) for those in (labels, truth)))
    matrix: Sequence[Sequence[int]] = ()
    for budget, rows in draws.items():
        correct = {}
        for name, predict in competitors.items():
            repeated = len(rows[0]) < len(labels) or not _is_fixed(predict)
            used_seeds = seeds if repeated else seeds[:1]
            if progress is not None:
                progress(f"{name} with {len(rows[0])} labels, {_format_times(len(used_seeds))}")
            predictions, ks, choices = _predict_draws(predict, rows, used_seeds)
            correct[name] = np.stack(
                [_score_examples(predicted, truth) for predicted in predictions]
            )
            if (name, budget) == (PRETRAINED, largest) and n <= MAX_CONFUSION_CLASSES:
                matrix = count_confusions(predictions, truth, n=n)
            result = summarise_accuracies(
                name, budget, correct[name], n_train=len(rows[0]), uses_seed=repeated
            )
            results.append(result._replace(ks=ks, choices=choices))
        comparisons += compare_competitors(budget, correct, seed=seeds[0])
        against_parts += compare_with_parts(budget, correct, seed=seeds[0])
    return ProbeScore(
        kind,
        tuple(results),
        tuple(comparisons),
        tuple(seeds),
        len(truth),
        confusion=matrix,
        against_parts=tuple(against_parts),
    )


def _format_times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _is_fixed(predict: Competitor) -> bool:
    """Return whether equal labels always give equal predictions, whatever the seed."""
    return isinstance(predict, FeatureCompetitor) and not predict.uses_seed


def _predict_draws(
    predict: Competitor, draws: Sequence[np.ndarray], seeds: Sequence[int]
) -> tuple[list[np.ndarray], tuple[int, ...], tuple[str, ...]]:
    """Return predictions of a competitor for each seed, the numbers of neighbors of kNN probes, and
    the features that were chosen."""
    results = [predict(rows, seed) for rows, seed in zip(draws, seeds)]
    full = [r if isinstance(r, Predictions) else Predictions(r) for r in results]
    ks = tuple(k for result in full for k in result.ks)
    choices = tuple(name for result in full for name in result.choices)
    return [result.predicted for result in full], ks, choices


def count_confusions(
    predicted: Sequence[Int64[np.ndarray, "*r m"]], truth: Int64[np.ndarray, "m"], *, n: int
) -> list[list[int]]:
    """Return how often each of n classes (rows) was predicted as each class (columns), over all
    predictions."""
    counts = np.zeros(n * n, dtype=np.int64)
    for predictions in predicted:
        cells = n * truth + predictions.reshape(-1, len(truth))
        counts += np.bincount(cells.reshape(-1), minlength=n * n)
    return counts.reshape(n, n).tolist()


def _score_examples(
    predicted: Int64[np.ndarray, "*r m"], truth: Int64[np.ndarray, "m"]
) -> Float[np.ndarray, "m"]:
    """Return how often each test example was right, over the repetitions."""
    return (predicted == truth).reshape(-1, len(truth)).mean(axis=0)
