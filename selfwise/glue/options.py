"""The options of `selfwise glue` that go together, checked before anything is read."""

from collections.abc import Sequence
from typing import NamedTuple

from selfwise.core.config_class import format_flag
from selfwise.core.device import choose_evaluation
from selfwise.core.errors import did_you_mean
from selfwise.evaluation.features.text import LAYERS, check_pooling
from selfwise.glue.finetune_recipes import FIXED
from selfwise.glue.frozen import FeatureSetting
from selfwise.glue.scores import FINETUNE, FROZEN
from selfwise.glue.task_splits import AX, MNLI
from selfwise.glue.tasks import TASKS, GlueTask, find_task
from selfwise.runs.open import Run

ALL, MIDDLE, LAST, MAJORITY = "all", "middle", "last", "majority"
# small tasks of sentence pairs, as in RoBERTa (arXiv:1907.11692, section 5.1)
TRANSFER_TASKS = ("rte", "mrpc", "stsb")


class GlueConfig(NamedTuple):
    """The options of `run_glue` that decide on the fits."""

    mode: str
    seeds: int
    limit: int
    device: str
    wnli: str = MAJORITY
    settings: Sequence[FeatureSetting] = ()  # frozen: to be tried, those of pairs not yet doubled
    # finetune:
    recipe: str = ""
    precision: str = ""
    init_from: str = ""  # a task from whose encoder others start

    def transfers_weights(self, name: str) -> bool:
        """Return whether this task starts from another one's encoder, or others start from its."""
        return bool(self.init_from) and name in (self.init_from, *TRANSFER_TASKS)

    def order_tasks(self, names: Sequence[str]) -> list[str]:
        """Tasks, the one first from which others start.

        Raises ValueError if it is not among them.
        """
        if self.init_from and self.init_from not in names:
            raise ValueError(
                f"--init-from {self.init_from}: {', '.join(TRANSFER_TASKS)} start from the model "
                f"of {self.init_from}, which is not among the tasks"
            )
        return (
            sorted(names, key=lambda name: name != self.init_from)
            if self.init_from
            else list(names)
        )


def parse_tasks(tasks: str) -> list[GlueTask]:
    """Return the tasks that are named, each once, in the order of TASKS."""
    if tasks.strip() == ALL:
        return list(TASKS)
    names = [name.strip() for name in tasks.split(",") if name.strip()]
    if ALL in names:
        raise ValueError(f"--tasks {ALL} cannot be combined with {', '.join(set(names) - {ALL})}")
    if not names:
        raise ValueError(f"--tasks is empty; {ALL} takes every task whose files exist")
    requested = {find_task(name).name for name in names}
    if AX in requested and MNLI not in requested:
        raise ValueError(
            f"{AX} has no training data, and the model of mnli answers it: name both tasks"
        )
    return [task for task in TASKS if task.name in requested]


def complete_config(run: Run, config: GlueConfig, layers: str, poolings: str) -> GlueConfig:
    """Return the config with the defaults of its mode.

    Raises ValueError for a run that is not on text or has no layers, and for an option of the
    other mode.
    """
    if run.method.modality != "text":
        subject = f"{run.folder} is on {run.method.modality}"
        raise ValueError(f"GLUE needs a run of bert, roberta, albert or gpt, and {subject}")
    if not getattr(run.encoder, "contextual", True):
        raise ValueError(
            f"GLUE needs a run of bert, roberta, albert or gpt, and {run.folder} is a table of "
            "word vectors: measure it with selfwise probe"
        )
    if config.mode == FROZEN:
        for name in ("recipe", "precision", "init_from"):
            if getattr(config, name):
                flag = format_flag(name)
                raise ValueError(f"{flag} needs --mode finetune: a probe has no such setting")
        return config._replace(
            settings=_parse_settings(run, layers or f"{MIDDLE},{LAST}", poolings)
        )
    if layers or poolings:
        option = "--layers" if layers else "--poolings"
        raise ValueError(f"{option} needs --mode frozen: fine-tuning trains all layers")
    return config._replace(recipe=config.recipe or FIXED, precision=config.precision or "float32")


def _parse_settings(run: Run, layers: str, poolings: str) -> list[FeatureSetting]:
    """Return the settings to try.

    Raises ValueError for an unknown layer or pooling, or if nothing is left.
    """
    default = "mean,last" if run.encoder.causal else "mean,cls"
    names = [name.strip() for name in (poolings or default).split(",") if name.strip()]
    for name in names:
        check_pooling(name)
    places = _parse_layers(layers, run.encoder.shape.depth)
    of_layers = [name for name in names if name != LAYERS]
    settings = [FeatureSetting(layer, pooling) for layer in places for pooling in of_layers]
    # the pooling of all layers takes no single layer
    settings += [FeatureSetting(None, name) for name in names if name == LAYERS]
    if not settings:
        raise ValueError(f"--layers {layers!r} and --poolings {poolings!r} leave nothing to try")
    return settings


def _parse_layers(layers: str, depth: int) -> list[int | None]:
    """Numbers of layers, None for the encoder's output, which is that of the last."""
    words = {MIDDLE: [max(0, depth // 2 - 1)], LAST: [depth - 1], ALL: list(range(depth))}
    numbers: list[int] = []
    for word in (word.strip() for word in layers.split(",") if word.strip()):
        if word in words:
            numbers += words[word]
            continue
        if not word.removeprefix("-").isdecimal():
            hint = did_you_mean(word, words)
            raise ValueError(f"--layers takes numbers, {', '.join(words)}, not {word!r}{hint}")
        number = int(word)
        if not -depth <= number < depth:
            existing = f"the encoder has layers 0 to {depth - 1}"
            raise ValueError(f"--layers: layer {number} does not exist: {existing}")
        numbers.append(number % depth)
    return [None if n == depth - 1 else n for n in dict.fromkeys(numbers)]


def select_result_options(run: Run, config: GlueConfig, name: str) -> dict[str, object]:
    """Return the options that decide on the results of a task, in plain values."""
    options: dict[str, object] = {
        "weights": run.weights,
        "step": run.step,
        "mode": config.mode,
        "seeds": config.seeds,
    }
    options["limit"] = config.limit
    if config.mode == FINETUNE:
        options |= {"recipe": config.recipe, "precision": config.precision}
    else:
        layers = [
            (LAST if one.layer is None else one.layer, one.pooling) for one in config.settings
        ]
        options["precision"] = choose_evaluation(run.record.training, config.device)[1]
        options["settings"] = [f"{layer}:{pooling}" for layer, pooling in layers]
    if config.transfers_weights(name):
        options["init_from"] = config.init_from
    return options | ({"wnli": config.wnli} if name == "wnli" else {})
