"""Fine-tuning on a task of GLUE: a search that the seeds share, and a start from another task."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from selfwise.evaluation.scores.probe_score import PRETRAINED, UNTRAINED
from selfwise.glue.competitors import Competitor, fitted, words
from selfwise.glue.finetune import Diverged, Tuned, finetuned
from selfwise.glue.finetune_recipes import Recipe, Setting, recipe_for
from selfwise.glue.options import STARTED, How
from selfwise.glue.read import GlueSplit
from selfwise.glue.scores import WORDS
from selfwise.glue.task_results import Fit, Kept, replaced
from selfwise.glue.task_splits import Material, some
from selfwise.runs.open import Run
from selfwise.training.config import resolve_device

EVERY = 20.0  # seconds between two lines of progress


def tuned(
    run: Run, how: How, material: Material, kept: Kept, say: Callable[[str], None]
) -> dict[str, Competitor]:
    """All weights trained, from those of the run and from fresh ones; bags are probed as ever.

    What a recipe searches is chosen with the first seed; the others use it, as in the papers.
    """
    recipe = recipe_for(how.recipe, material.task)._replace(precision=how.precision)
    device = resolve_device(how.device)

    def competitor(name: str, asked: dict[str, GlueSplit], *, fresh: bool) -> Competitor:
        def fit(seed: int) -> Fit:
            told: dict[str, Any] = {"seed": seed, "device": device}
            told["start"] = _start(how, kept, name, seed)
            if told["start"] is None and fresh:
                told["start"] = run.build_untrained(seed).state_dict()
            told["progress"] = _progress(f"{name}, seed {seed}", say)
            rows = some(material.train, how.limit, seed)

            def train(recipe: Recipe) -> Tuned:
                return finetuned(run, rows, list(asked.values()), recipe=recipe, **told)

            found = _as_before(train, recipe, kept, name)
            if how.start == material.task.name:
                replaced(_weights(kept, how.start, name, seed), save(_own(found.encoder)))
            tried = [(setting._asdict(), value) for setting, value in found.tried]
            chosen = {**found.setting._asdict(), "epoch": found.epoch}
            chosen["examples"] = found.trained_on
            if found.chosen_on is not None:
                chosen["chosen_on"] = found.chosen_on
            return fitted(chosen, tried, asked, found.predicted, found.scores)

        return fit

    return {
        PRETRAINED: competitor(PRETRAINED, material.dev | material.test, fresh=False),
        UNTRAINED: competitor(UNTRAINED, material.dev, fresh=True),
        WORDS: words(material, how),
    }


def _as_before(train: Callable[[Recipe], Tuned], recipe: Recipe, kept: Kept, name: str) -> Tuned:
    """With the setting of the first seed; if that diverges with this one, it searches anew."""
    earlier = next((fit for fit in kept.fits if fit["competitor"] == name), None)
    if earlier is None or len(recipe.settings()) == 1:
        return train(recipe)
    setting = Setting(*(earlier["setting"][key] for key in Setting._fields))
    try:
        return train(recipe.at(setting))
    except Diverged:
        return train(recipe)


def _start(how: How, kept: Kept, name: str, seed: int) -> dict[str, Tensor] | None:
    """The encoder that the other task's model of this seed ended with, if this task takes one."""
    if not how.start or kept.found["task"] not in STARTED:
        return None
    path = _weights(kept, how.start, name, seed)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"{path}, from which {kept.found['task']} starts, cannot be read ({error}); "
            "give another --out"
        ) from error


def _weights(kept: Kept, task: str, name: str, seed: int) -> Path:
    return kept.path.parent / f"{task}-{name}-{seed}.safetensors"


def _own(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each with memory of its own, as the format asks for."""
    return {name: tensor.contiguous().clone() for name, tensor in weights.items()}


def _progress(what: str, say: Callable[[str], None]) -> Callable[[int, int, str], None]:
    """Says now and then how far a training is."""
    last = time.monotonic()

    def tell(done: int, steps: int, setting: str) -> None:
        nonlocal last
        if time.monotonic() - last >= EVERY:
            last = time.monotonic()
            say(f"  {what}, {setting}: step {done:,} of {steps:,}")

    return tell
