"""Compares the labels of training and test examples before anything is computed."""

from dataclasses import Field, replace
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import numpy as np

from selfwise.evaluation.probes.overlap import count_overlap, describe_overlap


@runtime_checkable
class LabelledExamples(Protocol):
    """Images, texts or recordings, as far as their labels go."""

    @property
    def labels(self) -> np.ndarray | None: ...

    @property
    def classes(self) -> list[str] | None: ...

    def __len__(self) -> int: ...


@runtime_checkable
class ReplaceableExamples(LabelledExamples, Protocol):
    """Examples of a dataclass, so that `replace` gives them other labels."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


Examples = TypeVar("Examples", bound=ReplaceableExamples)


def _require_labels(examples: LabelledExamples) -> np.ndarray:
    assert examples.labels is not None, "the caller has checked that there are labels"
    return examples.labels


def relabel_examples(examples: Examples, classes: list[str]) -> Examples:
    """Return the examples with labels that are places in `classes`, matched by name.

    Raises ValueError for a label with a name that `classes` lacks.
    """
    own_classes = examples.classes or []
    numbers = _require_labels(examples)
    used = {own_classes[number] for number in np.unique(numbers)}  # some names may have no example
    unknown = [name for name in own_classes if name in used and name not in classes]
    if unknown:
        raise ValueError(
            f"--test has classes that are missing from --train: {', '.join(unknown[:3])}"
            f"{' and more' if len(unknown) > 3 else ''}"
        )
    places = np.array([classes.index(name) if name in used else -1 for name in own_classes])
    return replace(examples, labels=places[numbers], classes=classes)


def check_classes_trained(train: LabelledExamples, test: LabelledExamples) -> None:
    """Raise ValueError for a class of test examples of which there is no training example."""
    if missing := _list_missing_classes(train, test):
        raise ValueError(
            f"--test has classes without an example in --train: {', '.join(missing[:3])}"
            f"{' and more' if len(missing) > 3 else ''}"
        )


def _list_missing_classes(train: LabelledExamples, test: LabelledExamples) -> list[str]:
    """Names of the classes of test examples of which there is no training example."""
    numbers = np.setdiff1d(_require_labels(test), _require_labels(train))
    names = test.classes
    return [str(number) if names is None else names[number] for number in numbers]


def write_warnings(train: LabelledExamples, test: LabelledExamples) -> list[str]:
    """Return sentences on test examples that make a score less meaningful."""
    warnings = describe_overlap(count_overlap(train, test), len(test))
    if missing := _list_missing_classes(train, test):
        count = int((~np.isin(_require_labels(test), _require_labels(train))).sum())
        warnings.append(
            f"Warning: {count:,} of {len(test):,} test examples have classes without a training "
            f"example ({', '.join(missing[:3])}{' and more' if len(missing) > 3 else ''}), and no "
            "probe can predict them correctly."
        )
    return warnings


def describe_equal_labels(number: int) -> str:
    """Describe so many labels of one class, for an error."""
    return "there is one label" if number == 1 else f"all {number:,} labels are equal"
