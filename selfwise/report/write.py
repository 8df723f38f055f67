"""`selfwise report`: write an HTML page on one run or several."""

import os
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from selfwise.core.files import write_file
from selfwise.core.memory_limit import takes_memory_limit
from selfwise.core.own_files import check_file
from selfwise.report.page import page
from selfwise.report.page.parts import Command, Paragraphs, Part, Section
from selfwise.report.sections import (
    curves,
    embedding,
    glue,
    next_steps,
    options,
    ranking,
    scores,
    summary,
    tasks,
    tuning,
    verdicts,
)
from selfwise.report.sections.examples import find_examples
from selfwise.runs.open import Run, load
from selfwise.training import checkpoint
from selfwise.workflows.describe_runs import find_folders

FILE_NAME = "report.html"  # in the run folder


@takes_memory_limit
def write_page(
    runs: Sequence[str | Path] | str | Path,
    *,
    data: str = "",
    out: Path | None = None,
    seed: int = 0,
    max_memory: str = "",
) -> Path:
    """Write one HTML page that shows what a run has learned, or several runs side by side.

    The page holds everything it shows and needs no network. The same runs give the same page.

    Args:
        runs: folders of the runs; of one, the page also shows what its method does with examples,
            and which examples its encoder places close together.
        data: examples to show; by default those that the newest score was measured on, else those
            that the run was trained on.
        out: the file, by default report.html in the run's folder (of several: in the first one's);
            an existing report is overwritten.
        seed: decides which examples are shown.
        max_memory: most memory for reading one file, as in 4G; by default half of what is free.
    """
    folders = find_folders(runs, verb="report")
    if data and len(folders) > 1:
        raise ValueError(
            "--data needs a single run: several runs are compared by their curves, scores and "
            "options"
        )
    path = _check_target(Path(out) if out else folders[0] / FILE_NAME)
    text = page.render(
        summary.write_title(folders),
        build_sections(folders, data=data, seed=seed),
        lead=summary.write_lead(folders),
        statements=verdicts.list_statements(folders),
    )
    write_file(path, text)
    return path


def build_sections(folders: Sequence[Path], *, data: str, seed: int) -> list[Section]:
    """Return the sections of the page, in their order."""
    if len(folders) == 1:
        top, embedding_sections = _build_run_sections(folders[0], data, seed=seed)
    else:
        top, embedding_sections = summary.build_sections(folders), []
    builders = (curves, tuning, options)
    details = [section for one in builders for section in one.build_sections(folders)]
    ranked = ranking.build_sections(folders)
    score_sections = [section for one in (scores, glue) for section in one.build_sections(folders)]
    last = next_steps.build_sections(folders)
    return [*ranked, *top, *score_sections, *embedding_sections, *details, *last]


def _build_run_sections(
    folder: Path, data: str, *, seed: int
) -> tuple[list[Section], list[Section]]:
    """Build the sections on a single run, with its method and encoder on examples."""
    run = _open_run(folder)
    if run is None:
        about = "The run has no checkpoint yet, so there is no encoder for this section."
        advice: list[Part] = [
            Paragraphs(["To continue it:"]),
            Command(f"selfwise resume {quote(str(folder))}"),
        ]
        return [*summary.build_sections([folder]), Section("Examples", about, advice)], []
    examples = find_examples(run, data, seed=seed)
    if isinstance(examples, str):
        command = Command(f"selfwise report {quote(str(folder))} --data PATH")
        advice = [Paragraphs(["To show other data in the page:"]), command]
        return [*summary.build_sections([folder], run), Section("Examples", examples, advice)], []
    top = summary.build_sections([folder], run, examples.where)
    task_sections = tasks.build_sections(run, examples.examples, seed=seed)
    return [*top, *task_sections], embedding.build_sections(run, examples.examples, seed=seed)


def _check_target(out: Path) -> Path:
    """Return the path of the page.

    Raises ValueError for a file that is not a report, for a link or a device, or without a folder.
    """
    if out.is_dir():
        raise ValueError(f"--out {out} is a folder; give a file such as {out / FILE_NAME}")
    if not out.resolve().parent.is_dir():
        raise ValueError(f"--out {out}: there is no folder {out.resolve().parent}")
    if not os.access(out.resolve().parent, os.W_OK):
        raise ValueError(
            f"{out.parent} cannot be written; give the page a place in another folder: "
            f"--out {FILE_NAME}"
        )
    check_file(out)
    if out.exists() and not page.is_page(out):
        raise ValueError(
            f"--out {out} exists and is not a report; selfwise only overwrites reports"
        )
    return out


def _open_run(folder: Path) -> Run | None:
    """The run with its weights, or None before its first checkpoint."""
    newest, torn_files = checkpoint.find_latest(folder / "checkpoints")
    if newest is None and not torn_files:
        return None
    return load(folder)
