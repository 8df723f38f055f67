"""Fine-tuning on a GLUE task: all weights of a copy of the encoder, and a fresh head.

Where a setting or an epoch is to be chosen, a part of train that is not trained on chooses it; or
dev does, as in the papers, and the result says so.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from selfwise.core.rng import shuffle_indices
from selfwise.core.types import TextEncoder
from selfwise.evaluation.features.text import tokenize_rows
from selfwise.glue.finetune_recipes import MIN_CHOOSERS, FinetuneRecipe, FinetuneSetting, can_choose
from selfwise.glue.metrics import compute_metrics
from selfwise.glue.read import GlueSplit
from selfwise.glue.training import FinetuneJob, FinetuneTrial, Progress, TextRun, TokenizedSplit
from selfwise.tokenizers.tokenizer import Tokenizer

DEV = "dev"


class DivergenceError(ValueError):
    """The loss or the outputs were not finite with every setting."""


class FinetuneResult(NamedTuple):
    """Predictions and scores of a fine-tuned model on each test split, in order."""

    seed: int
    setting: FinetuneSetting
    chosen_by: str  # what chose setting or epoch: dev, or a part of train; "" if nothing did
    # settings with their `average_metrics` there; None: it diverged
    tried: tuple[tuple[FinetuneSetting, float | None], ...]
    trained_on: int  # examples
    epoch: int  # epoch of the chosen weights, from 1
    curve: tuple[dict[str, float], ...]  # after each epoch, on what chooses, else on dev
    predicted: tuple[np.ndarray, ...]  # classes, or scores from 0 to 5
    scores: tuple[dict[str, float] | None, ...]  # every metric; None for test
    encoder: dict[str, Tensor]  # its weights, on the CPU, for `start`
    chosen_on: int | None  # examples that chose; 0: too few; None: nothing was to be chosen


def finetune_on_task(
    run: TextRun,
    train: GlueSplit,
    test: Sequence[GlueSplit],
    *,
    recipe: FinetuneRecipe,
    seed: int,
    start: dict[str, Tensor] | None = None,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> FinetuneResult:
    """Train a copy of the run's encoder on a task and predict the splits `test`.

    A recipe with one setting that does not stop early chooses nothing and learns from all of
    train. Otherwise the setting, of several, and the epoch, with `early`, have the best score on
    the part that is held out, the mean of the task's metrics; of equals the first. Without `early`
    the model is then trained again, on all of train; with it the chosen one answers, which has not
    seen the part. A setting whose loss is no longer a number is out. Where too few examples would
    choose (`can_choose`), the recipe's first setting learns from all of train for all epochs.

    Args:
        run: a run on text, whose encoder stays as it is. Texts are cut at the length of its rows,
            as positions behind are untrained, and at the recipe's.
        train: with labels, or scores.
        test: splits to predict, of this task or of one with the same labels (AX after MNLI).
        recipe: how to train. Its `held_out` is the share of train that chooses; at 0 the first
            split of `test` with labels does, as in the papers, so that its own score is not a fair
            one any more.
        seed: of the head, the order, dropout, and of the part that is held out.
        start: weights of an encoder to start from, as `FinetuneResult.encoder`; by default those
            of the run.
        device: where to train.
        progress: called after every step.

    Raises ValueError for an encoder that is not one of texts, a split without labels, labels that
    differ, a share that leaves nothing; Diverged if every setting diverges.
    """
    _check_arguments(run, train, test, recipe.held_out)
    searching = len(recipe.list_settings()) > 1 or recipe.early
    count = _count_choosers(train, test, recipe.held_out) if searching else None
    if count is not None and not can_choose(count):
        recipe, count = recipe.without_search(), 0
    length = min(recipe.length, run.record.info.length)
    tokenized, *tokenized_test = (
        _tokenize_split(split, run.tokenizer, length) for split in (train, *test)
    )
    job = FinetuneJob(run, train.task, recipe, seed, start, device, progress)
    judge, rest, chosen_by = _split_judge(job, tokenized, tokenized_test, recipe.held_out)
    best, tried = _search_settings(job, rest, judge)
    if len(rest.rows) < len(tokenized.rows) and not recipe.early:
        best = _train_on_all(job, tokenized, _first_labelled(tokenized_test), tried)
    if best is None:
        raise _all_diverged(train, tried)
    predicted = [job.predict(best.model, data.rows) for data in tokenized_test]
    result = _build_result(
        job, best, chosen_by, tried if len(tried) > 1 else (), tokenized_test, predicted
    )
    return result._replace(chosen_on=count)


SettingScores = tuple[tuple[FinetuneSetting, float | None], ...]


def _all_diverged(train: GlueSplit, tried: SettingScores) -> DivergenceError:
    settings = "; ".join(str(setting) for setting, _ in tried)
    return DivergenceError(
        f"{train.task.name}: fine-tuning diverged at every setting tried ({settings}): the "
        "loss or the outputs became NaN or infinite; use lower learning rates"
    )


def _build_result(
    job: FinetuneJob,
    best: FinetuneTrial,
    chosen_by: str,
    tried: SettingScores,
    test: list[TokenizedSplit],
    predicted: list[np.ndarray],
) -> FinetuneResult:
    scores = tuple(
        None if data.truth is None else compute_metrics(job.task, data.truth, one)
        for data, one in zip(test, predicted)
    )
    return FinetuneResult(
        seed=job.seed,
        setting=best.setting,
        chosen_by=chosen_by,
        tried=tried,
        trained_on=best.examples,
        epoch=best.epoch,
        curve=best.curve,
        predicted=tuple(predicted),
        scores=scores,
        encoder=best.model.encoder_weights(),
        chosen_on=None,
    )


def _search_settings(
    job: FinetuneJob, train: TokenizedSplit, judge: TokenizedSplit | None
) -> tuple[FinetuneTrial | None, SettingScores]:
    """The best of the recipe's settings, of equals the first, and what each of them got."""
    best: FinetuneTrial | None = None
    tried: list[tuple[FinetuneSetting, float | None]] = []
    for setting in job.recipe.list_settings():
        trial = job.run_trial(setting, train, judge)
        tried.append((setting, None if trial is None else trial.value))
        if trial is not None and (best is None or _trial_score(trial) > _trial_score(best)):
            best = trial
    return best, tuple(tried)


def _train_on_all(
    job: FinetuneJob, train: TokenizedSplit, dev: TokenizedSplit | None, tried: SettingScores
) -> FinetuneTrial | None:
    """Trained on all of train with the best setting, or with the next best if it diverges now."""
    scored = [(setting, value) for setting, value in tried if value is not None]
    for setting, _ in sorted(scored, key=lambda one: -one[1]):
        trial = job.run_trial(setting, train, dev)
        if trial is not None:
            return trial
    return None


def _split_judge(
    job: FinetuneJob, train: TokenizedSplit, test: list[TokenizedSplit], share: float
) -> tuple[TokenizedSplit | None, TokenizedSplit, str]:
    """The examples that judge, those to train on, and the name of the first if they choose."""
    dev = _first_labelled(test)
    if len(job.recipe.list_settings()) == 1 and not job.recipe.early:
        return dev, train, ""
    if not share:
        if dev is None:
            raise ValueError(
                f"{job.task.name}: no split with labels was requested, so dev would have to choose "
                "the settings; hold out a part of train instead"
            )
        return dev, train, DEV
    total = len(train.rows)
    count = round(share * total)
    if not 0 < count < total:
        raise ValueError(
            f"{job.task.name}: {total} training examples are too few to hold out a fraction of "
            f"{share:g}, since one part would be empty"
        )
    order = shuffle_indices(total, job.seed, "glue held out", job.task.name)
    apart, rest = np.sort(order[:count]), np.sort(order[count:])
    return train.take(apart), train.take(rest), f"{count:,} of {total:,} training examples"


def _count_choosers(train: GlueSplit, test: Sequence[GlueSplit], share: float) -> int:
    """Return how many examples would choose setting or epoch."""
    judges = (len(one) for one in test if _split_truth(one) is not None)
    # without a judge `_split_judge` raises
    return round(share * len(train)) if share else next(judges, MIN_CHOOSERS)


def _check_arguments(
    run: TextRun, train: GlueSplit, test: Sequence[GlueSplit], held_out: float
) -> None:
    name = train.task.name
    if not isinstance(run.encoder, TextEncoder):
        encoder_name = getattr(run.encoder, "name", type(run.encoder).__name__)
        raise ValueError(f"GLUE needs a text encoder, and {encoder_name} is not one")
    if _split_truth(train) is None:
        raise ValueError(f"{name}: fine-tuning needs labels, and {train.split} has none")
    if not 0 <= held_out < 1:
        raise ValueError(f"held_out is a fraction of train, from 0 to below 1, not {held_out:g}")
    for split in test:
        if split.task.labels != train.task.labels:
            raise ValueError(
                f"a model of {name} cannot answer {split.task.name}: the labels differ"
            )


def _first_labelled(splits: Sequence[TokenizedSplit]) -> TokenizedSplit | None:
    return next((data for data in splits if data.truth is not None), None)


def _tokenize_split(split: GlueSplit, tokenizer: Tokenizer, length: int) -> TokenizedSplit:
    return TokenizedSplit(tokenize_rows(split.texts, tokenizer, length=length), _split_truth(split))


def _split_truth(split: GlueSplit) -> np.ndarray | None:
    return split.texts.labels if split.task.labels else split.scores


def _trial_score(trial: FinetuneTrial) -> float:
    return -np.inf if trial.value is None else trial.value
