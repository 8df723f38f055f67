"""Probes across groups, such as speakers: every choice is made without the tested group."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from selfwise.evaluation.probes.label_curve import draw_labels
from selfwise.evaluation.probes.layer_mix import LayerMixFit, fit_layer_mix
from selfwise.evaluation.probes.linear import LinearFit, fit_linear

Candidates = Mapping[str, np.ndarray]  # a name -> features (n, d), or (n, L, d) to be weighted


class CandidateChoice(NamedTuple):
    """The predictions of the candidate that did best on held-out training labels."""

    candidate: str
    cross_validated: dict[str, float]  # of every candidate; chance where nothing can be held out
    predicted: dict[str, np.ndarray]  # by every candidate, for each test example


@dataclass(frozen=True)
class LeaveOneGroupOutResult:
    """Leave-one-group-out: every example predicted by a probe that saw no example of its group."""

    names: tuple[str, ...]  # of the groups
    accuracies: tuple[float, ...]  # of the chosen candidate on each group, 0 to 1
    choices: tuple[CandidateChoice, ...]  # one for each group
    predicted: Int64[np.ndarray, "n"]  # by the chosen candidates
    correct: Bool[np.ndarray, "n"]  # for `bootstrap.paired_bootstrap`
    # mean accuracy over the groups of every candidate: to be looked at, and chosen from by nobody
    each: dict[str, float]

    @property
    def mean(self) -> float:
        """Mean accuracy over the groups, each counting the same."""
        return float(np.mean(self.accuracies))

    @property
    def chosen(self) -> tuple[str, ...]:
        """The candidate for each group."""
        return tuple(choice.candidate for choice in self.choices)


@dataclass(frozen=True)
class FewLabelsResult:
    """Repeated draws of a few labels for each class."""

    accuracies: tuple[float, ...]  # of the chosen candidate, one for each seed, 0 to 1
    choices: tuple[CandidateChoice, ...]  # one for each seed
    correct: Bool[np.ndarray, "seeds m"]
    each: dict[str, float]  # as in `LeaveOneGroupOutResult`

    @property
    def mean(self) -> float:
        """Mean accuracy over the seeds."""
        return float(np.mean(self.accuracies))

    @property
    def chosen(self) -> tuple[str, ...]:
        """The candidate for each seed."""
        return tuple(choice.candidate for choice in self.choices)


def leave_one_group_out(
    features: Candidates,
    labels: Int64[np.ndarray, "n"],
    groups: Int64[np.ndarray, "n"],
    *,
    names: Sequence[str] | None = None,
    only: Sequence[int] | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> LeaveOneGroupOutResult:
    """Test on each group in turn, with a probe that learned from all other groups.

    `features` are candidates to choose among (layers, say). For every group that is left out, the
    candidate and its penalty are those of the highest accuracy over inner folds, which hold out
    whole groups of the others (`linear.split_group_folds`); of equal candidates the first. No label
    of the test group chooses anything. `names` are those of the groups, by number; `only` are the
    groups to test on, by default all: examples of the other groups are then predicted as -1.

    Raises ValueError if there are fewer than three groups, no candidates, or `fit_linear` does.
    """
    test_groups = np.unique(groups)
    if len(test_groups) < 3:
        raise ValueError(
            f"leaving one group out needs three groups, so that two are left to choose with; "
            f"there {'is' if len(test_groups) == 1 else 'are'} {len(test_groups)}"
        )
    test_groups = test_groups if only is None else np.asarray(only)
    group_names = tuple(
        str(names[group]) if names is not None else str(group) for group in test_groups
    )
    choices = []
    predicted = np.full_like(labels, -1)
    for name, group in zip(group_names, test_groups):
        if progress is not None:
            progress(f"leaving out {name}")
        train, test = np.flatnonzero(groups != group), np.flatnonzero(groups == group)
        choices.append(choose_candidate(features, labels, train, test, groups=groups, seed=seed))
        predicted[test] = choices[-1].predicted[choices[-1].candidate]
    correct = predicted == labels
    accuracies = tuple(float(correct[groups == group].mean()) for group in test_groups)
    truths = [labels[groups == group] for group in test_groups]
    return LeaveOneGroupOutResult(
        group_names,
        accuracies,
        tuple(choices),
        predicted,
        correct,
        _average_candidates(choices, truths),
    )


def probe_few_labels(
    features: Candidates,
    labels: Int64[np.ndarray, "n"],
    train: Int64[np.ndarray, "k"],
    test: Int64[np.ndarray, "m"],
    *,
    per_class: int | None,
    seeds: Sequence[int],
    groups: Int64[np.ndarray, "n"] | None = None,
) -> FewLabelsResult:
    """`per_class` labels of each class, drawn from the rows `train` by each seed, tested on `test`.

    The draws are those of a label curve (`label_curve.draw_labels`); None is every row. Candidate
    and penalty are chosen on folds of the drawn labels alone; by whole groups with `groups`.

    Raises ValueError if a row is in both, a class has too few examples, there are no candidates or
    seeds, or `fit_linear` does.
    """
    if len(np.intersect1d(train, test)):
        raise ValueError("some examples are in both the training and the test part")
    if not len(seeds):
        raise ValueError("drawing labels needs at least one seed")
    choices = []
    for seed in seeds:
        rows = train[draw_labels(labels[train], per_class, seed)]
        choices.append(choose_candidate(features, labels, rows, test, groups=groups, seed=seed))
    correct = np.stack([choice.predicted[choice.candidate] == labels[test] for choice in choices])
    accuracies = tuple(correct.mean(axis=1).tolist())
    return FewLabelsResult(
        accuracies,
        tuple(choices),
        correct,
        _average_candidates(choices, [labels[test]] * len(seeds)),
    )


def choose_candidate(
    features: Candidates,
    labels: Int64[np.ndarray, "n"],
    train: Int64[np.ndarray, "k"],
    test: Int64[np.ndarray, "m"],
    *,
    groups: Int64[np.ndarray, "n"] | None = None,
    seed: int = 0,
) -> CandidateChoice:
    """Return a probe of every candidate, and which of them did best on held-out labels of `train`.

    Raises ValueError if there are no candidates, or `fit_linear` does.
    """
    if not features:
        raise ValueError("there are no features to choose among")
    train_groups = None if groups is None else groups[train]
    fits: dict[str, LinearFit | LayerMixFit] = {}
    for name, x in features.items():
        assert len(x) == len(labels), (name, x.shape, labels.shape)
        probe = fit_linear if x.ndim == 2 else fit_layer_mix
        fits[name] = probe(x[train], labels[train], x[test], seed=seed, groups=train_groups)
    scores = {name: fit.cross_validated or 0.0 for name, fit in fits.items()}
    best = max(scores, key=lambda name: scores[name])  # of equals the first
    return CandidateChoice(best, scores, {name: fit.predicted for name, fit in fits.items()})


def _average_candidates(
    choices: Sequence[CandidateChoice], truths: Sequence[np.ndarray]
) -> dict[str, float]:
    """Return the mean accuracy of every candidate over the tests."""
    return {
        name: float(np.mean([np.mean(c.predicted[name] == t) for c, t in zip(choices, truths)]))
        for name in choices[0].predicted
    }
