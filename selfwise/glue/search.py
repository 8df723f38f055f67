"""Fine-tuning on a task of GLUE: a search that the seeds share, and a start from another task."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from selfwise.evaluation.scores.probe_score import PRETRAINED, UNTRAINED
from selfwise.glue.competitors import FitCompetitor, build_fit, build_words_probe
from selfwise.glue.finetune import Diverged, FinetuneResult, finetune_on_task
from selfwise.glue.finetune_recipes import FinetuneRecipe, FinetuneSetting, find_recipe
from selfwise.glue.options import TRANSFER_TASKS, GlueConfig
from selfwise.glue.read import GlueSplit
from selfwise.glue.scores import WORDS
from selfwise.glue.task_results import CompetitorFit, TaskResults, replace_file
from selfwise.glue.task_splits import TaskSplits, limit_train
from selfwise.runs.open import Run
from selfwise.training.config import resolve_device

PROGRESS_SECONDS = 20.0  # seconds between two lines of progress


def build_finetuned(
    run: Run, how: GlueConfig, material: TaskSplits, kept: TaskResults, say: Callable[[str], None]
) -> dict[str, FitCompetitor]:
    """All weights trained, from those of the run and from fresh ones; bags are probed as ever.

    What a recipe searches is chosen with the first seed; the others use it, as in the papers.
    """
    recipe = find_recipe(how.recipe, material.task)._replace(precision=how.precision)
    device = resolve_device(how.device)

    def competitor(name: str, asked: dict[str, GlueSplit], *, fresh: bool) -> FitCompetitor:
        def fit(seed: int) -> CompetitorFit:
            told: dict[str, Any] = {"seed": seed, "device": device}
            told["start"] = _load_start_weights(how, kept, name, seed)
            if told["start"] is None and fresh:
                told["start"] = run.fresh(seed).state_dict()
            told["progress"] = _build_progress(f"{name}, seed {seed}", say)
            rows = limit_train(material.train, how.limit, seed)

            def train(recipe: FinetuneRecipe) -> FinetuneResult:
                return finetune_on_task(run, rows, list(asked.values()), recipe=recipe, **told)

            found = _train_with_first_setting(train, recipe, kept, name)
            if how.start == material.task.name:
                replace_file(
                    _weights_path(kept, how.start, name, seed), save(_own_memory(found.encoder))
                )
            tried = [(setting._asdict(), value) for setting, value in found.tried]
            chosen = {**found.setting._asdict(), "epoch": found.epoch}
            chosen["examples"] = found.trained_on
            if found.chosen_on is not None:
                chosen["chosen_on"] = found.chosen_on
            return build_fit(chosen, tried, asked, found.predicted, found.scores)

        return fit

    return {
        PRETRAINED: competitor(PRETRAINED, material.dev | material.test, fresh=False),
        UNTRAINED: competitor(UNTRAINED, material.dev, fresh=True),
        WORDS: build_words_probe(material, how),
    }


def _train_with_first_setting(
    train: Callable[[FinetuneRecipe], FinetuneResult],
    recipe: FinetuneRecipe,
    kept: TaskResults,
    name: str,
) -> FinetuneResult:
    """With the setting of the first seed; if that diverges with this one, it searches anew."""
    earlier = next((fit for fit in kept.fits if fit["competitor"] == name), None)
    if earlier is None or len(recipe.settings()) == 1:
        return train(recipe)
    setting = FinetuneSetting(*(earlier["setting"][key] for key in FinetuneSetting._fields))
    try:
        return train(recipe.at(setting))
    except Diverged:
        return train(recipe)


def _load_start_weights(
    how: GlueConfig, kept: TaskResults, name: str, seed: int
) -> dict[str, Tensor] | None:
    """The encoder that the other task's model of this seed ended with, if this task takes one."""
    if not how.start or kept.found["task"] not in TRANSFER_TASKS:
        return None
    path = _weights_path(kept, how.start, name, seed)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"{path}, from which {kept.found['task']} starts, cannot be read ({error}); "
            "give another --out"
        ) from error


def _weights_path(kept: TaskResults, task: str, name: str, seed: int) -> Path:
    return kept.path.parent / f"{task}-{name}-{seed}.safetensors"


def _own_memory(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each with memory of its own, as the format asks for."""
    return {name: tensor.contiguous().clone() for name, tensor in weights.items()}


def _build_progress(what: str, say: Callable[[str], None]) -> Callable[[int, int, str], None]:
    """Says now and then how far a training is."""
    last = time.monotonic()

    def tell(done: int, steps: int, setting: str) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_SECONDS:
            last = time.monotonic()
            say(f"  {what}, {setting}: step {done:,} of {steps:,}")

    return tell
