"""The files that `selfwise glue` writes: tables of all tasks, and the submission."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from selfwise.core.files import atomic_write, write_file
from selfwise.core.own_files import make_folder
from selfwise.glue.options import GlueConfig
from selfwise.glue.scores import GlueScores
from selfwise.glue.submission import (
    FILES,
    TaskAnswers,
    check_submission,
    find_problems,
    format_answers,
    write_submission,
)
from selfwise.glue.task_results import TaskResults
from selfwise.runs import logs_and_scores
from selfwise.runs.open import Run

Say = Callable[[str], None]


def write_results(
    run: Run,
    config: GlueConfig,
    results: Mapping[str, TaskResults],
    left_out: Mapping[str, str],
    failed: Mapping[str, str],
    say: Say,
) -> GlueScores:
    """Write all results into one file, a table for the run's report, and the submission.

    Raises ValueError for the tasks that have failed, after the others are written.
    """
    done = {name: result for name, result in results.items() if result.done}
    without = {name: why for name, why in {**left_out, **failed}.items() if name not in done}
    scores = GlueScores(config.mode, [result.record for result in done.values()], without)
    reasons = "; ".join(failed.values())
    if not done:
        raise ValueError(reasons)
    out = next(iter(done.values())).path.parent
    table = {"step": run.step, **scores.to_dict()}
    write_file(out / "glue.json", json.dumps(table, indent=1))
    _write_submission_files(
        out, {n: one for result in done.values() for n, one in result.choose_answers().items()}, say
    )
    _record_table(run, scores, table, say)
    if failed:
        raise ValueError(f"{reasons} (the other tasks are in {out})")
    return scores


def _write_submission_files(out: Path, answers: Mapping[str, TaskAnswers], say: Say) -> None:
    """The files, and the zip if there are answers for all of it."""
    for name, one in answers.items():
        write_file(out / name, format_answers(name, one))
    if lacking := [name for name in FILES if name not in answers]:
        say(f"no glue.zip: answers are missing for {', '.join(lacking)}")
        return
    with atomic_write(out / "glue.zip") as temporary:
        write_submission(answers, temporary)
        check_submission(temporary, {name: one.ids for name, one in answers.items()})
    wrong = find_problems(out / "glue.zip")
    say(f"glue.zip would be refused: {wrong[0]}" if wrong else "glue.zip is ready to submit")


def _record_table(run: Run, scores: GlueScores, table: Mapping[str, object], say: Say) -> None:
    """The newest table of each mode and step is the report's, but for one of fewer tasks."""
    path = logs_and_scores.format_glue_path(run.folder, scores.mode, run.step)
    try:
        earlier = [
            one
            for one in logs_and_scores.read_glue_tables(run.folder)
            if one["mode"] == scores.mode
        ]
    except ValueError:  # damaged: overwrite it
        earlier = []
    columns = {row.column for row in scores.metric_rows()}
    same = [one for one in earlier if one["step"] == run.step]
    if any({row["column"] for row in one["rows"]} > columns for one in same):
        say(f"the run's report keeps its earlier table, which has more tasks: {path}")
        return
    try:
        make_folder(path.parent)
        write_file(path, json.dumps(table))
    except (OSError, ValueError) as error:  # ValueError: something else has the folder's name
        say(f"the run's report will not contain this table: {error}")
