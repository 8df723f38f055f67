"""GLUE: every task, frozen or fine-tuned, beside the untrained twin and bags of words."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from selfwise.glue.competitors import FitCompetitor, build_majority, build_probes
from selfwise.glue.finetune_recipes import find_recipe
from selfwise.glue.options import (
    ALL,
    MAJORITY,
    GlueConfig,
    check_config,
    complete_config,
    parse_tasks,
    result_options,
)
from selfwise.glue.results import write_results
from selfwise.glue.scores import COMPETITORS, FROZEN, UNFITTED, GlueScores
from selfwise.glue.search import build_finetuned
from selfwise.glue.task_results import TaskResults, compare_fits
from selfwise.glue.task_splits import AX, TaskSplits, find_tasks, open_task
from selfwise.glue.tasks import TASKS, find_task
from selfwise.runs.open import Run, load
from selfwise.runs.records import GLUE


def run_glue(
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
    precision: str = "",
    start: str = "",
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
            takes those that are there. ax is answered by the model of mnli.
        mode: frozen: a linear probe of features that no gradient changes; layer, pooling, how a
            pair is put together, and penalty are chosen on a fifth of train, for every seed.
            finetune: all weights are trained.
        seeds: how often held-out part, untrained twin, and with a limit training rows are drawn.
        limit: largest number of training rows of a task; 0 takes all.
        layers: to try: numbers, negative from the last; middle; last; all (default middle,last).
        poolings: to try, of mean, cls, last and layers (the means of every layer, side by side);
            by default mean,cls, and mean,last where a token sees only those before it.
        recipe: of finetune: fixed (the default: one setting for all tasks), albert, or bert,
            roberta, small, which search rates with the first seed.
        precision: of finetune: float32 (the default) or bf16.
        start: of finetune: mnli lets rte, mrpc and stsb start from mnli's model of that seed.
        wnli: majority answers with the class that is more frequent in train, as papers do, since
            what is learned there is wrong on dev; probe is as in other tasks.
        device: cpu, cuda or auto.
        quiet: print nothing while it works.
    """
    how = GlueConfig(mode, seeds, limit, device, wnli, (), recipe, precision, start)
    check_config(how)
    named = parse_tasks(tasks)
    run = run if isinstance(run, Run) else load(run)
    how = complete_config(run, how, layers, poolings)
    say = _print_nothing if quiet else _print_line
    found, left = find_tasks(data, named, named=tasks.strip() != ALL)
    _report_left_out(left, say)
    order = how.in_order([task for task in found if task != AX])
    every = _add_earlier_results(
        run, how, Path(out), _open_results(run, data, found, how, _make_out_folder(run, out))
    )
    failed: dict[str, str] = {}
    for name in (one for one in order if not (every[one].done and every[one].by_seed)):
        material = open_task(data, name, ax=AX in found)
        failed |= _run_task(every[name], run, how, material, say)
    return write_results(run, how, every, left, failed, say)


def _make_out_folder(run: Run, out: str | Path) -> Path:
    out = Path(out)
    if out.resolve() == (run.folder / GLUE).resolve():
        raise ValueError(f"--out {out} is where the run keeps tables for its report; give another")
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; results need a folder")
    out.mkdir(parents=True, exist_ok=True)
    return out


def _open_results(
    run: Run, data: str | Path, found: Sequence[str], how: GlueConfig, out: Path
) -> dict[str, TaskResults]:
    """That of each task. All of their data are read, so that a mistake in them is seen early."""
    files = {}
    for name in (task for task in found if task != AX):
        told = result_options(run, how, name)
        if how.recipe and told.get("wnli") != MAJORITY:
            find_recipe(how.recipe, find_task(name))  # albert's are not for all tasks
        files[name] = TaskResults(
            out / f"{name}.json", told, open_task(data, name, ax=AX in found).told()
        )
    return files


def _add_earlier_results(
    run: Run, how: GlueConfig, out: Path, now: Mapping[str, TaskResults]
) -> dict[str, TaskResults]:
    """The tasks of now, and those that lie in the folder, measured with the same options."""
    every = dict(now)
    for task in TASKS:
        path = out / f"{task.name}.json"
        if task.name not in now and task.name != AX and path.is_file():
            kept = TaskResults.found_in(path)
            if kept.done and kept.found["asked"] == result_options(run, how, task.name):
                every[task.name] = kept
    return {task.name: every[task.name] for task in TASKS if task.name in every}


def _run_task(
    kept: TaskResults, run: Run, how: GlueConfig, material: TaskSplits, say: Callable[[str], None]
) -> dict[str, str]:
    """Why the task has failed, by its name; the others may do better."""
    try:
        if kept.found["asked"].get("wnli") == MAJORITY:
            _fit_competitors(kept, material, build_majority(material), [0], say)  # nothing is drawn
            return {}
        among = (
            build_finetuned(run, how, material, kept, say)
            if how.recipe
            else build_probes(run, how, material)
        )
        _fit_competitors(kept, material, among, range(how.seeds), say)
    except ValueError as error:
        say(f"{material.task.name} has failed: {error}")
        return {material.task.name: str(error)}
    return {}


def _fit_competitors(
    kept: TaskResults,
    material: TaskSplits,
    among: dict[str, FitCompetitor],
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
    kept.finish(compare_fits(material, kept.fits, COMPETITORS[1:]) if learned else [])


def _report_left_out(left: Mapping[str, str], say: Callable[[str], None]) -> None:
    for task, why in left.items():
        say(f"{task} is left out: {why}")


def _print_line(text: str) -> None:
    print(text, flush=True)


def _print_nothing(text: str) -> None:
    """Nothing is printed."""
