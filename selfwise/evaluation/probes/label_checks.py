"""Labels of training and test examples, held against each other before anything is computed."""

from dataclasses import replace
from typing import Any

import numpy as np

from selfwise.evaluation.probes.overlap import count_overlap, describe_overlap


def relabel_examples(examples: Any, classes: list[str]) -> Any:
    """The examples with their labels counted as in `classes`, by name."""
    own = examples.classes or []
    used = {own[number] for number in np.unique(examples.labels)}  # a number may be none's label
    unknown = [name for name in own if name in used and name not in classes]
    if unknown:
        raise ValueError(
            f"--test has classes that --train has not: {', '.join(unknown[:3])}"
            f"{' and more' if len(unknown) > 3 else ''}"
        )
    places = np.array([classes.index(name) if name in used else -1 for name in own])
    assert examples.labels is not None
    return replace(examples, labels=places[examples.labels], classes=classes)


def check_classes_trained(known: Any, asked: Any) -> None:
    """Raises ValueError for a class of test examples of which there is no training example."""
    if missing := _list_missing_classes(known, asked):
        raise ValueError(
            f"--test has classes that --train has no example of: {', '.join(missing[:3])}"
            f"{' and more' if len(missing) > 3 else ''}"
        )


def _list_missing_classes(known: Any, asked: Any) -> list[str]:
    """Names of the classes of test examples of which there is no training example."""
    numbers = np.setdiff1d(asked.labels, known.labels)
    names = asked.classes
    return [str(number) if names is None else names[number] for number in numbers]


def write_warnings(known: Any, asked: Any) -> list[str]:
    """What a reader of a score has to know of its examples."""
    said = describe_overlap(count_overlap(known, asked), len(asked))
    if missing := _list_missing_classes(known, asked):
        count = int(np.isin(asked.labels, np.setdiff1d(asked.labels, known.labels)).sum())
        said.append(
            f"Warning: {count:,} of {len(asked):,} test examples are of classes without a training "
            f"example ({', '.join(missing[:3])}{' and more' if len(missing) > 3 else ''}), and no "
            "probe can get them right."
        )
    return said
