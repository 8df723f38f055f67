"""Which tasks of GLUE there are in a folder, and what each is measured on."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from selfwise.core.progress import format_all
from selfwise.core.rng import shuffle_indices
from selfwise.glue.metrics import column_name
from selfwise.glue.read import GlueSplit, list_splits, open_glue
from selfwise.glue.task_record import TaskDescription
from selfwise.glue.tasks import GlueTask, find_task

AX, MNLI = "ax", "mnli"  # the first is answered by the model of the second


class TaskSplits(NamedTuple):
    """The examples of a task."""

    task: GlueTask
    train: GlueSplit
    dev: dict[str, GlueSplit]  # by column: rte, or mnli-m and mnli-mm
    test: dict[str, GlueSplit]  # by file: RTE.tsv; with MNLI also AX.tsv

    def describe(self) -> TaskDescription:
        """Fingerprints, sizes, ids and notes, for the file of the task."""
        splits = {"train": self.train, **self.dev, **self.test}
        return {
            "task": self.task.name,
            "data": {name: split.texts.fingerprint for name, split in splits.items()},
            "rows": {name: len(split) for name, split in splits.items()},
            "ids": {name: list(split.texts.ids) for name, split in self.test.items()},
            "notes": [n for split in splits.values() for n in split.notes]
            + _note_constant_labels(self.dev),
        }


def _note_constant_labels(dev: dict[str, GlueSplit]) -> list[str]:
    """Return a sentence for each column whose labels, or scores, are all one: no metric says
    anything."""
    sentences = []
    for column, split in dev.items():
        truth = split.scores if split.texts.labels is None else split.texts.labels
        if truth is not None and len(np.unique(truth)) == 1:
            problem = format_all(len(truth), "example", "of dev", "have", "one label")
            sentences.append(f"{column}: {problem}, so its scores reveal nothing about the model")
    return sentences


def find_tasks(
    data: str | Path, tasks: Sequence[GlueTask], *, required: bool
) -> tuple[list[str], dict[str, str]]:
    """Return the tasks whose files exist, and for each other task what is missing.

    Raises ValueError for the first missing task if they are `required`, or if all are missing.
    """
    names: list[str] = []
    left_out: dict[str, str] = {}
    for task in tasks:
        splits = list_splits(data, task)
        lacking = _list_missing_splits(task, splits)
        if lacking and required:
            open_glue(data, task, lacking[0])  # says what is not there, and what is
        files = [task.files[split].names[0] for split in lacking]
        if task.name == AX and MNLI not in names:
            left_out[AX] = "only the model of mnli answers it"
        elif lacking:
            left_out[task.name] = f"there is no {' and no '.join(files)} in {task.folders[0]}"
        else:
            names.append(task.name)
            left_out |= _list_missing_columns(task, splits)
    if not names:
        open_glue(data, tasks[0], "train")
    return names, left_out


def _list_missing_splits(task: GlueTask, splits: Collection[str]) -> list[str]:
    """Return the splits without which a task cannot be measured: training and one of dev."""
    if not task.splits("train"):
        return [name for name in task.splits("test") if name not in splits]
    lacking = [name for name in task.splits("train") if name not in splits]
    dev = task.splits("dev")
    return lacking + (dev if not any(name in splits for name in dev) else [])


def _list_missing_columns(task: GlueTask, splits: Collection[str]) -> dict[str, str]:
    """Return the columns of a task that cannot be filled, such as mnli-mm, and why."""
    return {
        column_name(task, name): f"there is no {task.files[name].names[0]} in {task.folders[0]}"
        for name in task.splits("dev")
        if name not in splits
    }


def open_task(data: str | Path, name: str, *, ax: bool) -> TaskSplits:
    """Return all splits of a task whose files are there; with `ax` MNLI answers the diagnostic set
    too.

    Raises ValueError as `open_glue` does.
    """
    task = find_task(name)
    splits = {split: open_glue(data, task, split) for split in list_splits(data, task)}
    dev = {column_name(task, name): splits[name] for name in task.splits("dev")}
    test = {file: splits[name] for name, file in task.submissions.items() if name in splits}
    if ax and name == MNLI:
        diagnostic = find_task(AX)
        test[diagnostic.submissions["test"]] = open_glue(data, diagnostic, "test")
    return TaskSplits(task, splits["train"], dev, test)


def limit_train(train: GlueSplit, limit: int, seed: int) -> GlueSplit:
    """At most `limit` rows (0: all), drawn by the seed: the same for all competitors."""
    if not limit or len(train) <= limit:
        return train
    rows = np.sort(shuffle_indices(len(train), seed, "glue limit", train.task.name)[:limit])
    scores = None if train.scores is None else train.scores[rows]
    labels = train.texts.labels
    if labels is not None and len(np.unique(labels[rows])) < min(2, len(np.unique(labels))):
        raise ValueError(
            f"{train.task.name}: the {limit} training rows that seed {seed} draws have one label; "
            "--limit must be larger"
        )
    return replace(train, texts=train.texts.take(rows), scores=scores)
