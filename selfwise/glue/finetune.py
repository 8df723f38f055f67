"""Fine-tuning on a GLUE task: all weights of a copy of the encoder, and a fresh head.

Where a setting or an epoch is to be chosen, a part of train that is not trained on chooses it; or
dev does, as in the papers, and the result says so.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from selfwise.core.rng import shuffled
from selfwise.core.types import TextEncoder
from selfwise.evaluation.features.text import tokenize_rows
from selfwise.glue.finetune_recipes import FEWEST, Recipe, Setting, can_choose
from selfwise.glue.metrics import glue_scores
from selfwise.glue.read import GlueSplit
from selfwise.glue.training import Data, Lesson, Progress, Trial

DEV = "dev"


class Diverged(ValueError):
    """Every setting tried ended in what is no number."""


class Tuned(NamedTuple):
    """What a fine-tuned model says about the splits that were asked for, in their order."""

    seed: int
    setting: Setting
    chosen_by: str  # what chose setting or epoch: dev, or a part of train; "" if nothing did
    tried: tuple[tuple[Setting, float | None], ...]  # `task_score` there; None: it diverged
    trained_on: int  # examples
    epoch: int  # after which the weights were taken, from 1
    curve: tuple[dict[str, float], ...]  # after each epoch, on what chooses, else on dev
    predicted: tuple[np.ndarray, ...]  # classes, or scores from 0 to 5
    scores: tuple[dict[str, float] | None, ...]  # every metric; None for test
    encoder: dict[str, Tensor]  # its weights, on the CPU, for `start`
    chosen_on: int | None  # examples that chose; 0: too few; None: nothing was to be chosen


def finetuned(
    run: Any,
    train: GlueSplit,
    asked: Sequence[GlueSplit],
    *,
    recipe: Recipe,
    seed: int,
    held_out: float = 0.1,
    start: dict[str, Tensor] | None = None,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Tuned:
    """Train a copy of the run's encoder on a task and predict the splits that are asked for.

    A recipe with one setting that does not stop early chooses nothing and learns from all of
    train. Otherwise the setting, of several, and the epoch, with `early`, have the best score on
    the part that is held out, the mean of the task's metrics; of equals the first. Without `early`
    the model is then trained again, on all of train; with it the chosen one answers, which has not
    seen the part. A setting whose loss is no number any more is out. Where too few examples would
    choose (`can_choose`), the recipe's first setting learns from all of train for all epochs.

    Args:
        run: a run on text, whose encoder stays as it is. Texts are cut at the length of its rows,
            as positions behind are untrained, and at the recipe's.
        train: with labels, or scores.
        asked: splits to predict, of this task or of one with the same labels (AX after MNLI).
        recipe: how to train.
        seed: of the head, the order, dropout, and of the part that is held out.
        held_out: share of train that chooses; 0: the first split of `asked` with labels does, as in
            the papers, so that its own score is no fair one any more.
        start: weights of an encoder to start from, as `Tuned.encoder`; by default the run's.
        device: where to train.
        progress: is told of every step.

    Raises ValueError for an encoder that is not one of texts, a split without labels, labels that
    differ, a share that leaves nothing; Diverged if every setting diverges.
    """
    _check(run, train, asked, held_out)
    searching = len(recipe.settings()) > 1 or recipe.early
    count = _choosers(train, asked, held_out) if searching else None
    if count is not None and not can_choose(count):
        recipe, count = recipe.unsearched(), 0
    length = min(recipe.length, run.record.info.length)
    known, *others = (_data(split, run.tokenizer, length) for split in (train, *asked))
    lesson = Lesson(run, train.task, recipe, seed, start, device, progress)
    judge, rest, by = _parted(lesson, known, others, held_out)
    best, tried = _search(lesson, rest, judge)
    if len(rest.rows) < len(known.rows) and not recipe.early:
        best = _again(lesson, known, _labelled(others), tried)
    if best is None:
        told = "; ".join(str(setting) for setting, _ in tried)
        raise Diverged(
            f"{train.task.name}: fine-tuning diverged at every setting tried ({told}): the loss or "
            "the outputs were no numbers any more; lower rates are needed"
        )
    said = [lesson.answers(best.model, data.rows) for data in others]
    found = _told(lesson, best, by, tried if len(tried) > 1 else (), others, said)
    return found._replace(chosen_on=count)


Tried = tuple[tuple[Setting, float | None], ...]


def _told(
    lesson: Lesson, best: Trial, by: str, tried: Tried, asked: list[Data], said: list[np.ndarray]
) -> Tuned:
    scores = tuple(
        None if data.truth is None else glue_scores(lesson.task, data.truth, one)
        for data, one in zip(asked, said)
    )
    return Tuned(
        seed=lesson.seed,
        setting=best.setting,
        chosen_by=by,
        tried=tried,
        trained_on=best.examples,
        epoch=best.epoch,
        curve=best.curve,
        predicted=tuple(said),
        scores=scores,
        encoder=best.model.encoder.state_dict(),
        chosen_on=None,
    )


def _search(lesson: Lesson, data: Data, judge: Data | None) -> tuple[Trial | None, Tried]:
    """The best of the recipe's settings, of equals the first, and what each of them got."""
    best: Trial | None = None
    tried: list[tuple[Setting, float | None]] = []
    for setting in lesson.recipe.settings():
        found = lesson.trial(setting, data, judge)
        tried.append((setting, None if found is None else found.value))
        if found is not None and (best is None or _value(found) > _value(best)):
            best = found
    return best, tuple(tried)


def _again(lesson: Lesson, data: Data, dev: Data | None, tried: Tried) -> Trial | None:
    """Trained on all of train with the best setting, or with the next best if it diverges now."""
    whole = [(setting, value) for setting, value in tried if value is not None]
    for setting, _ in sorted(whole, key=lambda one: -one[1]):
        found = lesson.trial(setting, data, dev)
        if found is not None:
            return found
    return None


def _parted(
    lesson: Lesson, known: Data, others: list[Data], share: float
) -> tuple[Data | None, Data, str]:
    """What judges, what is trained on, and what to call the first if it chooses something."""
    dev = _labelled(others)
    if len(lesson.recipe.settings()) == 1 and not lesson.recipe.early:
        return dev, known, ""
    if not share:
        if dev is None:
            raise ValueError(
                f"{lesson.task.name}: dev is to choose, but no split with labels was asked for; "
                "hold out a part of train instead"
            )
        return dev, known, DEV
    total = len(known.rows)
    count = round(share * total)
    if not 0 < count < total:
        raise ValueError(
            f"{lesson.task.name}: of {total} training examples a share of {share:g} cannot be held "
            "out, since one part would be empty"
        )
    order = shuffled(total, lesson.seed, "glue held out", lesson.task.name)
    apart, rest = np.sort(order[:count]), np.sort(order[count:])
    return known.take(apart), known.take(rest), f"{count:,} of {total:,} training examples"


def _choosers(train: GlueSplit, asked: Sequence[GlueSplit], share: float) -> int:
    """How many examples would choose setting or epoch."""
    judges = (len(one) for one in asked if _truth(one) is not None)
    return round(share * len(train)) if share else next(judges, FEWEST)  # `_parted` refuses none


def _check(run: Any, train: GlueSplit, asked: Sequence[GlueSplit], held_out: float) -> None:
    name = train.task.name
    if not isinstance(run.encoder, TextEncoder):
        what = getattr(run.encoder, "name", type(run.encoder).__name__)
        raise ValueError(f"GLUE is read by a text encoder, and {what} is none")
    if _truth(train) is None:
        raise ValueError(f"{name}: fine-tuning needs labels, and {train.split} has none")
    if not 0 <= held_out < 1:
        raise ValueError(f"held_out is a share of train, from 0 to below 1, not {held_out:g}")
    for split in asked:
        if split.task.labels != train.task.labels:
            raise ValueError(f"a model of {name} cannot answer {split.task.name}: labels differ")


def _labelled(splits: Sequence[Data]) -> Data | None:
    return next((data for data in splits if data.truth is not None), None)


def _data(split: GlueSplit, tokenizer: Any, length: int) -> Data:
    return Data(tokenize_rows(split.texts, tokenizer, length=length), _truth(split))


def _truth(split: GlueSplit) -> np.ndarray | None:
    return split.texts.labels if split.task.labels else split.scores


def _value(trial: Trial) -> float:
    return -np.inf if trial.value is None else trial.value
