"""GLUE: every task, frozen or fine-tuned, compared with an untrained encoder and bags of words."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from selfwise.core.memory_limit import takes_memory_limit
from selfwise.core.own_files import make_parents
from selfwise.core.ranges import NonNegativeInt, PositiveInt
from selfwise.core.visible_text import escape_invisible
from selfwise.glue.competitors import FitCompetitor, build_majority, build_probes
from selfwise.glue.finetune_recipes import find_finetune_recipe
from selfwise.glue.options import (
    ALL,
    MAJORITY,
    GlueConfig,
    complete_config,
    parse_tasks,
    select_result_options,
)
from selfwise.glue.results import write_results
from selfwise.glue.scores import COMPETITORS, UNFITTED, GlueScores
from selfwise.glue.search import build_finetuned
from selfwise.glue.task_results import TaskResults, compare_fits
from selfwise.glue.task_splits import AX, TaskSplits, find_tasks, open_task
from selfwise.glue.tasks import TASKS, find_task
from selfwise.runs.logs_and_scores import GLUE
from selfwise.runs.open import Run, load


@takes_memory_limit
def run_glue(
    run: Run | str | Path,
    *,
    data: str | Path,
    out: str | Path,
    tasks: str = ALL,
    mode: Literal["frozen", "finetune"] = "frozen",
    seeds: PositiveInt = 3,
    limit: NonNegativeInt = 0,
    layers: str = "",
    poolings: str = "",
    recipe: Literal["fixed", "albert", "bert", "roberta", "small"] | None = None,
    precision: Literal["float32", "bf16"] | None = None,
    init_from: Literal["mnli"] | None = None,
    wnli: Literal["majority", "probe"] = "majority",
    device: str = "auto",
    max_memory: str = "",
    quiet: bool = False,
) -> GlueScores:
    """Score the tasks of GLUE with baselines, and answer their test sets; resume if stopped.

    Args:
        run: a run on text, or its folder.
        data: a folder with the official folders (CoLA, ...) or the hub's; or hub:nyu-mll/glue.
        out: folder for results; a folder of equal run and options is continued.
        tasks: some of cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli, ax, as cola,rte; all
            takes the tasks whose files exist. The model of mnli answers ax.
        mode: frozen: a linear probe of frozen features; a fifth of train chooses layer, pooling,
            combination of a pair, and penalty, for every seed. finetune: trains all weights.
        seeds: number of draws of held-out part, untrained encoder and, with a limit, training rows.
        limit: largest number of training rows of a task; 0 takes all.
        layers: layers to try: numbers, negative from the last; middle; last; all (middle,last).
        poolings: poolings to try: mean, cls, last, layers (the means of all layers, concatenated);
            by default mean,cls, and mean,last for causal encoders.
        recipe: for finetune: fixed (the default: one setting for all tasks), albert, or bert,
            roberta, small, which search rates with the first seed.
        precision: for finetune: float32 (the default) or bf16.
        init_from: for finetune: mnli lets rte, mrpc and stsb start from mnli's model of that seed.
        wnli: majority answers with the more frequent class of train, as papers do, since a model
            that learns train is wrong on dev; probe is as in other tasks.
        device: cpu, cuda, mps (Apple, not tested) or auto.
        max_memory: most memory for reading one file, as in 4G; by default half of what is free.
        quiet: print nothing during the work.
    """
    choices = (recipe or "", precision or "", init_from or "")
    config = GlueConfig(mode, seeds, limit, device, wnli, (), *choices)
    requested = parse_tasks(tasks)
    run = run if isinstance(run, Run) else load(run)
    config = complete_config(run, config, layers, poolings)
    say = _print_nothing if quiet else _print_line
    names, left_out = find_tasks(data, requested, required=tasks.strip() != ALL)
    _report_left_out(left_out, say)
    order = config.order_tasks([task for task in names if task != AX])
    current = _open_results(run, data, names, config, _make_out_folder(run, out))
    results = _add_earlier_results(run, config, Path(out), current)
    failed: dict[str, str] = {}
    for name in (one for one in order if not (results[one].done and results[one].by_seed)):
        splits = open_task(data, name, ax=AX in names)
        failed |= _run_task(results[name], run, config, splits, say)
    return write_results(run, config, results, left_out, failed, say)


def _make_out_folder(run: Run, out: str | Path) -> Path:
    out = Path(out)
    if out.resolve() == (run.folder / GLUE).resolve():
        raise ValueError(f"--out {out} holds the run's tables for its report; use another folder")
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; the results need a folder")
    make_parents(out)
    return out


def _open_results(
    run: Run, data: str | Path, names: Sequence[str], config: GlueConfig, out: Path
) -> dict[str, TaskResults]:
    """Return the results of each task. Reads all data, so that a mistake in them shows early."""
    results = {}
    for name in (task for task in names if task != AX):
        options = select_result_options(run, config, name)
        if config.recipe and options.get("wnli") != MAJORITY:
            find_finetune_recipe(config.recipe, find_task(name))  # albert's are not for all tasks
        results[name] = TaskResults(
            out / f"{name}.json", options, open_task(data, name, ax=AX in names).describe()
        )
    return results


def _add_earlier_results(
    run: Run, config: GlueConfig, out: Path, current: Mapping[str, TaskResults]
) -> dict[str, TaskResults]:
    """Return the current tasks, and those in the folder that were measured with equal options."""
    results = dict(current)
    for task in TASKS:
        path = out / f"{task.name}.json"
        if task.name not in current and task.name != AX and path.is_file():
            earlier = TaskResults.from_file(path)
            if earlier.done and earlier.record["asked"] == select_result_options(
                run, config, task.name
            ):
                results[task.name] = earlier
    return {task.name: results[task.name] for task in TASKS if task.name in results}


def _run_task(
    results: TaskResults,
    run: Run,
    config: GlueConfig,
    splits: TaskSplits,
    say: Callable[[str], None],
) -> dict[str, str]:
    """Fit all competitors of a task. Returns the reason by the task's name if that fails."""
    try:
        if results.record["asked"].get("wnli") == MAJORITY:
            _fit_competitors(results, splits, build_majority(splits), [0], say)  # nothing is drawn
            return {}
        competitors = (
            build_finetuned(run, config, splits, results, say)
            if config.recipe
            else build_probes(run, config, splits)
        )
        _fit_competitors(results, splits, competitors, range(config.seeds), say)
    except ValueError as error:
        say(f"{splits.task.name} failed: {error}")
        return {splits.task.name: str(error)}
    return {}


def _fit_competitors(
    results: TaskResults,
    splits: TaskSplits,
    competitors: dict[str, FitCompetitor],
    seeds: Sequence[int],
    say: Callable[[str], None],
) -> None:
    """Run the fits that are missing, save each at once, and compare them at the end."""
    for note in splits.describe()["notes"]:
        say(note)
    for seed in seeds:
        for name, fit_competitor in competitors.items():
            if results.has_fit(name, seed):
                continue
            started = time.perf_counter()
            fit = fit_competitor(seed)
            results.add_fit(name, seed, fit)
            values = [f"{c} {m} {100 * v:.1f}" for c, s in fit.scores.items() for m, v in s.items()]
            chosen = ", ".join(f"{key} {value}" for key, value in fit.setting.items())
            seconds = time.perf_counter() - started
            say(f"{', '.join(values)}: {name}, seed {seed} ({chosen}; {seconds:.0f} s)")
    is_fitted = any(record["setting"] != UNFITTED for record in results.fits)
    results.save_comparisons(
        compare_fits(splits, results.fits, COMPETITORS[1:]) if is_fitted else []
    )


def _report_left_out(left_out: Mapping[str, str], say: Callable[[str], None]) -> None:
    for task, why in left_out.items():
        say(f"skipping {task}: {why}")


def _print_line(text: str) -> None:
    print(escape_invisible(text), flush=True)


def _print_nothing(text: str) -> None:
    """Print nothing."""
