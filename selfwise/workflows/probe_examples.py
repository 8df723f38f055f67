"""Open the training and test examples of a probe."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from selfwise.core.rng import shuffle_indices
from selfwise.evaluation.probes.label_checks import check_classes_trained, relabel_examples
from selfwise.evaluation.probes.linear import check_two_classes
from selfwise.modalities.modality import Examples
from selfwise.modalities.reading_options import ReadingOptions
from selfwise.runs.open import Run


class ExamplePair(NamedTuple):
    """Training and test examples of a probe."""

    train: Examples
    test: Examples

    @property
    def train_labels(self) -> np.ndarray:
        """Return the labels of the training examples, if a probe learns from them."""
        assert self.train.labels is not None, "the training examples were opened with labels"
        return self.train.labels

    @property
    def test_labels(self) -> np.ndarray:
        """Return the labels of the test examples, which every probe has."""
        assert self.test.labels is not None, "the test examples were opened with labels"
        return self.test.labels


def open_labelled_pair(
    run: Run, train: object, test: object, reading: ReadingOptions | None = None
) -> ExamplePair:
    """Open examples with common labels; without `test`, split off a fifth of `train`.

    Raises ValueError if labels are missing, or a class of the test examples is unknown.
    """
    reading = replace(reading or ReadingOptions(), labelled=True)
    train_set = run.modality.open_examples(run, train, reading)
    if test is None:
        order = shuffle_indices(len(train_set), 0, "test split")
        cut = len(train_set) // 5
        if not cut:
            raise ValueError(f"{len(train_set)} examples are too few to split off a test set")
        pair = ExamplePair(
            train_set.take(np.sort(order[cut:])), train_set.take(np.sort(order[:cut]))
        )
        check_two_classes(pair.train_labels, what="a probe")
        return pair
    test_set = run.modality.open_examples(run, test, reading)
    test_set = relabel_examples(test_set, train_set.classes or [])
    check_two_classes(train_set.labels, what="a probe")
    check_classes_trained(train_set, test_set)
    return ExamplePair(train_set, test_set)


def open_searched_pair(
    run: Run, train: object, test: object, reading: ReadingOptions
) -> ExamplePair:
    """Open the examples that make the baselines, and the labeled examples to search.

    Like `open_labelled_pair`, but with `test` the labels of `train` are not read, so that the two
    may have different classes, as is customary in metric learning.
    """
    if test is None:
        return open_labelled_pair(run, train, None, reading)
    train_set = run.modality.open_examples(run, train, reading)
    test_set = run.modality.open_examples(run, test, replace(reading, labelled=True))
    return ExamplePair(train_set, test_set)
