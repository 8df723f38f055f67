"""GLUE: every task, frozen or fine-tuned, beside the untrained twin and bags of words."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfwise.data.glue import TASKS, Task, task_named
from selfwise.evaluate.glue_frozen import Setting
from selfwise.evaluate.glue_kept import Kept, compared, replaced
from selfwise.evaluate.glue_material import AX, MNLI, Material, opened, there
from selfwise.evaluate.glue_recipes import FIXED, RECIPES, recipe_for
from selfwise.evaluate.glue_scores import COMPETITORS, FROZEN, UNFITTED, GlueScores
from selfwise.evaluate.glue_submission import (
    FILES,
    Answers,
    answers_text,
    check_submission,
    write_submission,
)
from selfwise.evaluate.text import LAYERS, check_pooling
from selfwise.glue_competitors import LAST, MODES, Competitor, How, majority
from selfwise.names import nearest
from selfwise.run import Run, load

ALL, MIDDLE, MAJORITY = "all", "middle", "majority"
WNLI = (MAJORITY, "probe")


def glue(
    run: Run | str | Path,
    *,
    data: str | Path,
    out: str | Path,
    tasks: str = ALL,
    mode: str = FROZEN,
    seeds: int = 3,
    limit: int = 0,
    layers: str = "",
    poolings: str = "",
    recipe: str = "",
    wnli: str = MAJORITY,
    device: str = "auto",
    quiet: bool = False,
) -> GlueScores:
    """The tasks of GLUE, scored beside baselines, and answers for test; it goes on after a kill.

    Args:
        run: a run on text, or its folder.
        data: a folder with the official folders (CoLA, SST-2, ...) or with those of the hub's data
            set; or hub:nyu-mll/glue.
        out: folder for results; one of the same run and options is gone on with.
        tasks: some of cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli, ax, as cola,rte; all
            takes those whose files are there. ax is answered by the model of mnli.
        mode: frozen: a linear probe of features that no gradient changes; layer, pooling, how a
            pair is put together, and penalty are chosen on a fifth of train, for every seed.
            finetune: all weights are trained.
        seeds: how often the held-out part, the untrained twin, and with a limit the training rows
            are drawn.
        limit: largest number of training rows of a task; 0 takes all.
        layers: to try: numbers, negative from the last; middle; last; all (default middle,last).
        poolings: to try, of mean, cls, last and layers (the means of every layer, side by side);
            by default mean,cls, and mean,last where a token sees only those before it.
        recipe: of finetune: fixed (the default: one setting for all tasks) or albert, which have
            nothing to choose but albert's epoch; bert, roberta, small, which search rates.
        wnli: majority answers with the class that is more frequent in train, as the papers do,
            since nothing that is learned there holds on dev; probe is as in other tasks.
        device: cpu, cuda or auto.
        quiet: print nothing while it works.
    """
    how = How(mode, seeds, limit, device)
    _check(how, wnli)
    wanted = _wanted(tasks)
    run = run if isinstance(run, Run) else load(run)
    how = _told(run, how, layers, poolings, recipe)
    say = _silent if quiet else _aloud
    found, left = there(data, wanted, named=tasks.strip() != ALL)
    _tell(left, say)
    asked, ax = _asked(run, how), AX in found
    out = _folder(out)
    files = [_kept(data, task, ax, out, asked, wnli) for task in found if task != AX]
    for kept in files:
        if not kept.done:
            _finished(kept, run, how, opened(data, kept.found["task"], ax=ax), say)
        _answered(out, kept.answers())
    scores = GlueScores(mode, [kept.found for kept in files], left)
    replaced(out / "glue.json", json.dumps(scores.to_dict(), indent=1))
    _submitted(out, {name: one for kept in files for name, one in kept.answers().items()})
    return scores


def _check(how: How, wnli: str) -> None:
    """Raises ValueError for what there is not, before anything is read."""
    if how.mode not in MODES:
        raise ValueError(f"unknown mode {how.mode!r}{nearest(how.mode, MODES)}")
    if how.seeds < 1:
        raise ValueError(f"--seeds must be at least 1, got {how.seeds}")
    if how.limit < 0:
        raise ValueError(f"--limit must be at least 1, or 0 for all rows, got {how.limit}")
    if wnli not in WNLI:
        raise ValueError(f"unknown answer --wnli {wnli!r}{nearest(wnli, WNLI)}")


def _wanted(tasks: str) -> list[Task]:
    """The tasks that are named, each once, in the order of TASKS."""
    if tasks.strip() == ALL:
        return list(TASKS)
    names = [name.strip() for name in tasks.split(",") if name.strip()]
    if not names:
        raise ValueError(f"--tasks names none; {ALL} takes those whose files are there")
    found = {task_named(name).name for name in names}
    if AX in found and MNLI not in found:
        raise ValueError(f"{AX} has no training data, the model of mnli answers it: name both")
    return [task for task in TASKS if task.name in found]


def _told(run: Run, how: How, layers: str, poolings: str, recipe: str) -> How:
    """With what goes with the mode, checked. Raises ValueError for a run that is not on text."""
    if run.method.modality != "text":
        said = f"{run.folder} is on {run.method.modality}"
        raise ValueError(
            f"GLUE is text, and {said}: it takes a run of bert, roberta, albert or gpt"
        )
    if how.mode == FROZEN:
        if recipe:
            raise ValueError("--recipe goes with --mode finetune: a probe has none")
        places = layers or f"{MIDDLE},{LAST}"
        return how._replace(settings=_settings(run, places, poolings))
    if layers or poolings:
        option = "--layers" if layers else "--poolings"
        raise ValueError(f"{option} goes with --mode frozen: fine-tuning trains all layers")
    if (recipe or FIXED) not in RECIPES:
        raise ValueError(f"unknown recipe {recipe!r}{nearest(recipe, RECIPES)}")
    return how._replace(recipe=recipe or FIXED)


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
            hint = nearest(word, words)
            raise ValueError(f"--layers takes numbers, {', '.join(words)}, not {word!r}{hint}")
        number = int(word)
        if not -depth <= number < depth:
            there = f"the encoder has layers 0 to {depth - 1}"
            raise ValueError(f"--layers: layer {number} does not exist: {there}")
        numbers.append(number % depth)
    return [None if n == depth - 1 else n for n in dict.fromkeys(numbers)]


def _folder(out: str | Path) -> Path:
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; results need a folder")
    out.mkdir(parents=True, exist_ok=True)
    return out


def _asked(run: Run, how: How) -> dict[str, Any]:
    """What results depend on, in plain values."""
    told = {"weights": run.weights, "step": run.step, "mode": how.mode, "seeds": how.seeds}
    if how.recipe:
        return {**told, "limit": how.limit, "recipe": how.recipe}
    tried = [f"{LAST if s.layer is None else s.layer}:{s.pooling}" for s in how.settings]
    return {**told, "limit": how.limit, "settings": tried}


def _kept(
    data: str | Path, name: str, ax: bool, out: Path, asked: dict[str, Any], wnli: str
) -> Kept:
    """The file of a task. All of its data are read, so that a mistake in them is seen early."""
    asked = {**asked, "wnli": wnli} if name == "wnli" else asked
    if "recipe" in asked and asked.get("wnli") != MAJORITY:
        recipe_for(asked["recipe"], task_named(name))  # albert's are not for all tasks
    return Kept(out / f"{name}.json", asked, opened(data, name, ax=ax).told())


def _finished(
    kept: Kept, run: Run, how: How, material: Material, say: Callable[[str], None]
) -> None:
    if kept.found["asked"].get("wnli") == MAJORITY:
        _measured(kept, material, majority(material), [0], say)  # nothing is drawn
    else:
        _measured(kept, material, MODES[how.mode](run, how, material), range(how.seeds), say)


def _measured(
    kept: Kept,
    material: Material,
    among: dict[str, Competitor],
    seeds: Sequence[int],
    say: Callable[[str], None],
) -> None:
    """All fits that are not there yet, each kept at once, and what follows from them."""
    for note in material.told()["notes"]:
        say(note)
    for seed in seeds:
        for name, fit in among.items():
            if kept.has(name, seed):
                continue
            started = time.perf_counter()
            found = fit(seed)
            kept.add(name, seed, found)
            values = [
                f"{c} {m} {100 * v:.1f}" for c, s in found.scores.items() for m, v in s.items()
            ]
            chosen = ", ".join(f"{key} {value}" for key, value in found.setting.items())
            seconds = time.perf_counter() - started
            say(f"{', '.join(values)}: {name}, seed {seed} ({chosen}; {seconds:.0f} s)")
    learned = any(fit["setting"] != UNFITTED for fit in kept.fits)
    kept.finish(compared(material, kept.fits, COMPETITORS[1:]) if learned else [])


def _answered(out: Path, answers: dict[str, Answers]) -> None:
    for name, one in answers.items():
        replaced(out / name, answers_text(name, one))


def _submitted(out: Path, answers: dict[str, Answers]) -> None:
    """The zip, if there are answers for all of its files."""
    if set(answers) != set(FILES):
        return
    temporary = out / ".glue.zip.writing"
    temporary.unlink(missing_ok=True)
    write_submission(answers, temporary)
    check_submission(temporary, {name: one.ids for name, one in answers.items()})
    temporary.replace(out / "glue.zip")


def _tell(left: Mapping[str, str], say: Callable[[str], None]) -> None:
    for task, why in left.items():
        say(f"{task} is left out: {why}")


def _aloud(text: str) -> None:
    print(text, flush=True)


def _silent(text: str) -> None:
    """Nothing is printed."""
