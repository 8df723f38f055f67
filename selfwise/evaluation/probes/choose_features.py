"""The choice among several features of the same examples, made on training labels alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import sqrt
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64

from selfwise.core.rng import shuffle_indices
from selfwise.evaluation.probes.baselines import FeatureSplit
from selfwise.evaluation.probes.matrix import FeatureBlocks, Matrix

MAX_CHOICE_LABELS = 2_000  # labels, at most, that a choice looks at: up to here all folds are used
# Weights of the raw input next to 1 for the encoder's vectors. The regularization turns a weight
# into a prior: at a quarter, the raw input has a sixteenth of the variance.
RAW_WEIGHTS = (1.0, 0.25, 4.0)
ENCODER_ONLY, RAW_ONLY = "encoder alone", "raw input alone"


class ChosenSplit(NamedTuple):
    """The features that a draw of training labels has chosen, and their name."""

    name: str
    split: FeatureSplit


@runtime_checkable
class LabelSearch(Protocol):
    """Returns the accuracy of the best setting on held-out training labels."""

    def __call__(
        self, train: Matrix, labels: np.ndarray, seed: int, *, groups: np.ndarray | None = None
    ) -> float: ...


@dataclass(frozen=True)
class TrainLabels:
    """What a choice may look at: labels and groups of the training examples, and a search."""

    labels: Int64[np.ndarray, "n"]
    search: LabelSearch
    groups: Int64[np.ndarray, "n"] | None = None

    def choose(
        self,
        candidates: Mapping[str, FeatureSplit],
        rows: Int64[np.ndarray, "k"],
        seed: int,
        *,
        standard_errors: float = 0.0,
    ) -> ChosenSplit:
        """Return the candidate that is right most often on held-out labels of the drawn `rows`.

        Of equal candidates the first wins, also if nothing can be held out because every class has
        one example. Above 2,000 labels a part of them, drawn by class, chooses. The features of the
        test examples are not read.

        Args:
            candidates: features by name, the default first.
            rows: the drawn training examples.
            seed: of the folds.
            standard_errors: the first candidate wins as well if the best is ahead of it by no more
                than so many standard errors of its accuracy.
        """
        if len(candidates) == 1:
            return ChosenSplit(*next(iter(candidates.items())))
        part = draw_by_class(self.labels, rows, seed, size=MAX_CHOICE_LABELS)
        search: Callable[..., float] = self.search
        groups = None if self.groups is None else self.groups[part]
        several = {"groups": groups} if groups is not None and len(np.unique(groups)) > 1 else {}
        accuracies = {
            name: search(split.train[part], self.labels[part], seed, **several)
            for name, split in candidates.items()
        }
        first, best = next(iter(candidates)), max(accuracies, key=lambda name: accuracies[name])
        error = sqrt(accuracies[best] * (1 - accuracies[best]) / len(part))
        if accuracies[first] >= accuracies[best] - standard_errors * error:
            best = first
        return ChosenSplit(best, candidates[best])


def draw_by_class(
    labels: Int64[np.ndarray, "n"], rows: Int64[np.ndarray, "k"], seed: int, *, size: int
) -> Int64[np.ndarray, "m"]:
    """Return at most `size` of the rows, ascending, with every class in its proportion."""
    if len(rows) <= size:
        return rows
    shuffled = rows[shuffle_indices(len(rows), seed, "choice of features")]
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    return np.sort(by_class[np.arange(size) * len(rows) // size])


@runtime_checkable
class FeatureSource(Protocol):
    """Features that depend on the draw of training labels."""

    def choose(self, rows: np.ndarray, seed: int) -> ChosenSplit: ...


@dataclass
class Candidates:
    """Several features of one encoder, of which each draw of labels chooses one."""

    splits: Mapping[str, FeatureSplit]  # by name, the default first
    known: TrainLabels
    chosen: dict[tuple[bytes, int], ChosenSplit] = field(default_factory=dict)

    def choose(self, rows: np.ndarray, seed: int) -> ChosenSplit:
        """Choose, once for each draw."""
        key = (rows.tobytes(), seed)
        if key not in self.chosen:
            self.chosen[key] = self.known.choose(self.splits, rows, seed)
        return self.chosen[key]


@dataclass(frozen=True)
class Combined:
    """An encoder's vectors together with the raw input; each draw of labels chooses their weights.

    Either part alone is a candidate as well, so that a part without information does no harm. Both
    with equal weights are the default, from which only a lead of more than a standard error departs
    (Breiman et al. 1984): among five candidates, few labels would often choose by chance.
    """

    encoder: Candidates
    raw: Candidates
    known: TrainLabels

    def choose(self, rows: np.ndarray, seed: int) -> ChosenSplit:
        """Choose the weights for the features that each part has chosen by itself."""
        encoder, raw = (part.choose(rows, seed).split for part in (self.encoder, self.raw))
        candidates = {
            _name_weight(weight): FeatureSplit(
                FeatureBlocks((encoder.train, raw.train), (1.0, weight)),
                FeatureBlocks((encoder.test, raw.test), (1.0, weight)),
            )
            for weight in RAW_WEIGHTS
        }
        candidates |= {ENCODER_ONLY: encoder, RAW_ONLY: raw}
        return self.known.choose(candidates, rows, seed, standard_errors=1.0)


def _name_weight(weight: float) -> str:
    return f"raw input with weight {weight:g}"
