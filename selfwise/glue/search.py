"""Fine-tuning on a task of GLUE: a search that the seeds share, and a start from another task."""

import time
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from selfwise.core.device import resolve_device
from selfwise.core.files import write_file
from selfwise.core.tensor_files import load_safetensors
from selfwise.evaluation.scores.names import PRETRAINED, UNTRAINED, WORDS
from selfwise.glue.competitors import FitCompetitor, build_fit, build_words_probe
from selfwise.glue.finetune import DivergenceError, FinetuneResult, finetune_on_task
from selfwise.glue.finetune_recipes import FinetuneRecipe, FinetuneSetting, find_finetune_recipe
from selfwise.glue.options import TRANSFER_TASKS, GlueConfig
from selfwise.glue.read import GlueSplit
from selfwise.glue.task_record import SettingValues
from selfwise.glue.task_results import CompetitorFit, TaskResults
from selfwise.glue.task_splits import TaskSplits, limit_train
from selfwise.runs.open import Run

PROGRESS_SECONDS = 20.0  # seconds between two lines of progress


def build_finetuned(
    run: Run,
    config: GlueConfig,
    splits: TaskSplits,
    results: TaskResults,
    say: Callable[[str], None],
) -> dict[str, FitCompetitor]:
    """Return all weights trained, from those of the run and from fresh ones; bags are probed as
    ever.

    What a recipe searches is chosen with the first seed; the others use it, as in the papers.
    """
    recipe = find_finetune_recipe(config.recipe, splits.task)._replace(precision=config.precision)
    device = resolve_device(config.device)

    def build_competitor(
        name: str, test: dict[str, GlueSplit], *, from_untrained: bool
    ) -> FitCompetitor:
        def fit_seed(seed: int) -> CompetitorFit:
            start = _load_start_weights(config, results, name, seed)
            if start is None and from_untrained:
                start = run.build_untrained(seed).state_dict()
            progress = _build_progress(f"{name}, seed {seed}", say)
            rows = limit_train(splits.train, config.limit, seed)

            def train(recipe: FinetuneRecipe) -> FinetuneResult:
                return finetune_on_task(
                    run,
                    rows,
                    list(test.values()),
                    recipe=recipe,
                    seed=seed,
                    start=start,
                    device=device,
                    progress=progress,
                )

            result = _train_with_first_setting(train, recipe, results, name)
            if config.init_from == splits.task.name:
                path = _weights_path(results, config.init_from, name, seed)
                write_file(path, save(_copy_contiguous(result.encoder)))
            tried = [(setting._asdict(), value) for setting, value in result.tried]
            chosen = _chosen_values(result)
            return build_fit(chosen, tried, test, result.predicted, result.scores)

        return fit_seed

    return {
        PRETRAINED: build_competitor(PRETRAINED, splits.dev | splits.test, from_untrained=False),
        UNTRAINED: build_competitor(UNTRAINED, splits.dev, from_untrained=True),
        WORDS: build_words_probe(splits, config),
    }


def _chosen_values(result: FinetuneResult) -> SettingValues:
    chosen: SettingValues = {**result.setting._asdict(), "epoch": result.epoch}
    chosen["examples"] = result.trained_on
    if result.chosen_on is not None:
        chosen["chosen_on"] = result.chosen_on
    return chosen


def _train_with_first_setting(
    train: Callable[[FinetuneRecipe], FinetuneResult],
    recipe: FinetuneRecipe,
    results: TaskResults,
    name: str,
) -> FinetuneResult:
    """Use the setting of the first seed; if it diverges with this seed, search again."""
    earlier = next((fit for fit in results.fits if fit["competitor"] == name), None)
    if earlier is None or len(recipe.list_settings()) == 1:
        return train(recipe)
    rate, batch = (earlier["setting"][key] for key in FinetuneSetting._fields)
    assert isinstance(rate, float)
    assert isinstance(batch, int)
    setting = FinetuneSetting(rate, batch)
    try:
        return train(recipe.with_setting(setting))
    except DivergenceError:
        return train(recipe)


def _load_start_weights(
    config: GlueConfig, results: TaskResults, name: str, seed: int
) -> dict[str, Tensor] | None:
    """The encoder that the other task's model of this seed ended with, if this task takes one."""
    if not config.init_from or results.record["task"] not in TRANSFER_TASKS:
        return None
    path = _weights_path(results, config.init_from, name, seed)
    try:
        return load_safetensors(path)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path}, from which {results.record['task']} starts, cannot be read ({error}); "
            "use another --out"
        ) from error


def _weights_path(results: TaskResults, task: str, name: str, seed: int) -> Path:
    return results.path.parent / f"{task}-{name}-{seed}.safetensors"


def _copy_contiguous(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return each tensor in separate memory, as the format requires."""
    return {name: tensor.contiguous().clone() for name, tensor in weights.items()}


def _build_progress(what: str, say: Callable[[str], None]) -> Callable[[int, int, str], None]:
    """Says now and then how far a training is."""
    last = time.monotonic()

    def tell(steps_done: int, steps: int, setting: str) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_SECONDS:
            last = time.monotonic()
            say(f"  {what}, {setting}: step {steps_done:,} of {steps:,}")

    return tell
