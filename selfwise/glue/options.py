"""What `selfwise glue` is told, checked before anything is read."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from selfwise.core.errors import did_you_mean
from selfwise.evaluation.features.text import LAYERS, check_pooling
from selfwise.glue.finetune_recipes import FIXED, RECIPES
from selfwise.glue.frozen import Setting
from selfwise.glue.scores import FINETUNE, FROZEN
from selfwise.glue.task_splits import AX, MNLI
from selfwise.glue.tasks import TASKS, Task, task_named
from selfwise.modalities.devices import choose_device
from selfwise.runs.open import Run

ALL, MIDDLE, LAST, MAJORITY = "all", "middle", "last", "majority"
MODES = (FROZEN, FINETUNE)
WNLI = (MAJORITY, "probe")
PRECISIONS = ("float32", "bf16")
# small tasks of sentence pairs, as in RoBERTa (arXiv:1907.11692, section 5.1)
STARTED = ("rte", "mrpc", "stsb")


class How(NamedTuple):
    """What the fits of a mode are told."""

    mode: str
    seeds: int
    limit: int
    device: str
    wnli: str = MAJORITY
    settings: Sequence[Setting] = ()  # frozen: to be tried, those of pairs not yet doubled
    # finetune:
    recipe: str = ""
    precision: str = ""
    start: str = ""  # a task from whose encoder others start

    def started(self, name: str) -> bool:
        """Whether this task starts from another one's encoder, or others start from its."""
        return bool(self.start) and name in (self.start, *STARTED)

    def in_order(self, names: Sequence[str]) -> list[str]:
        """Tasks, the one first from which others start.

        Raises ValueError if it is not among them.
        """
        if self.start and self.start not in names:
            raise ValueError(
                f"--start {self.start}: {', '.join(STARTED)} start from the model of {self.start}, "
                "which is not among the tasks"
            )
        return sorted(names, key=lambda name: name != self.start) if self.start else list(names)


def check(how: How) -> None:
    """Raises ValueError for what there is not."""
    if how.mode not in MODES:
        raise ValueError(f"unknown mode {how.mode!r}{did_you_mean(how.mode, MODES)}")
    if how.seeds < 1:
        raise ValueError(f"--seeds must be at least 1, got {how.seeds}")
    if how.limit < 0:
        raise ValueError(f"--limit must be at least 1, or 0 for all rows, got {how.limit}")
    known = {"wnli": WNLI, "recipe": ("", *RECIPES), "precision": ("", *PRECISIONS)}
    for name, values in {**known, "start": ("", MNLI)}.items():
        told = getattr(how, name)
        if told not in values:
            raise ValueError(
                f"unknown {name} {told!r}{did_you_mean(told, [v for v in values if v])}"
            )


def wanted(tasks: str) -> list[Task]:
    """The tasks that are named, each once, in the order of TASKS."""
    if tasks.strip() == ALL:
        return list(TASKS)
    names = [name.strip() for name in tasks.split(",") if name.strip()]
    if ALL in names:
        raise ValueError(f"--tasks {ALL} stands alone, without {', '.join(set(names) - {ALL})}")
    if not names:
        raise ValueError(f"--tasks names none; {ALL} takes those whose files are there")
    found = {task_named(name).name for name in names}
    if AX in found and MNLI not in found:
        raise ValueError(f"{AX} has no training data, the model of mnli answers it: name both")
    return [task for task in TASKS if task.name in found]


def completed(run: Run, how: How, layers: str, poolings: str) -> How:
    """With what goes with the mode, checked. Raises ValueError for a run that is not on text."""
    if run.method.modality != "text":
        said = f"{run.folder} is on {run.method.modality}"
        raise ValueError(
            f"GLUE is text, and {said}: it takes a run of bert, roberta, albert or gpt"
        )
    if how.mode == FROZEN:
        for name in ("recipe", "precision", "start"):
            if getattr(how, name):
                raise ValueError(f"--{name} goes with --mode finetune: a probe has none")
        return how._replace(settings=_settings(run, layers or f"{MIDDLE},{LAST}", poolings))
    if layers or poolings:
        option = "--layers" if layers else "--poolings"
        raise ValueError(f"{option} goes with --mode frozen: fine-tuning trains all layers")
    return how._replace(recipe=how.recipe or FIXED, precision=how.precision or PRECISIONS[0])


def _settings(run: Run, layers: str, poolings: str) -> list[Setting]:
    """What is tried, checked."""
    own = "mean,last" if run.encoder.causal else "mean,cls"
    ways = [name.strip() for name in (poolings or own).split(",") if name.strip()]
    for name in ways:
        check_pooling(name)
    places = _layers(layers, run.encoder.shape.depth)
    found = [Setting(layer, way) for layer in places for way in ways if way != LAYERS]
    found += [Setting(None, way) for way in ways if way == LAYERS]  # it has no layer of its own
    if not found:
        raise ValueError(f"--layers {layers!r} and --poolings {poolings!r} leave nothing to try")
    return found


def _layers(told: str, depth: int) -> list[int | None]:
    """Numbers of layers, None for the encoder's output, which is that of the last."""
    words = {MIDDLE: [max(0, depth // 2 - 1)], LAST: [depth - 1], ALL: list(range(depth))}
    numbers: list[int] = []
    for word in (word.strip() for word in told.split(",") if word.strip()):
        if word in words:
            numbers += words[word]
            continue
        if not word.removeprefix("-").isdecimal():
            hint = did_you_mean(word, words)
            raise ValueError(f"--layers takes numbers, {', '.join(words)}, not {word!r}{hint}")
        number = int(word)
        if not -depth <= number < depth:
            there = f"the encoder has layers 0 to {depth - 1}"
            raise ValueError(f"--layers: layer {number} does not exist: {there}")
        numbers.append(number % depth)
    return [None if n == depth - 1 else n for n in dict.fromkeys(numbers)]


def asked(run: Run, how: How, name: str) -> dict[str, Any]:
    """What results of a task depend on, in plain values."""
    told = {"weights": run.weights, "step": run.step, "mode": how.mode, "seeds": how.seeds}
    told["limit"] = how.limit
    if how.mode == FINETUNE:
        told |= {"recipe": how.recipe, "precision": how.precision}
    else:
        layers = [(LAST if one.layer is None else one.layer, one.pooling) for one in how.settings]
        told["precision"] = choose_device(run, how.device)[1]
        told["settings"] = [f"{layer}:{pooling}" for layer, pooling in layers]
    if how.started(name):
        told["start"] = how.start
    return told | ({"wnli": how.wnli} if name == "wnli" else {})
