"""`selfwise report`: looks at runs and writes what is to be seen into one HTML file."""

import os
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from selfwise.report.page import page
from selfwise.report.page.parts import Command, Section, Words
from selfwise.report.sections import curves, embedding, glue, options, scores, summary, tasks
from selfwise.report.sections.examples import shown
from selfwise.runs.open import Run, load
from selfwise.training import checkpoint
from selfwise.workflows.describe_runs import named

FILE = "report.html"  # in the run folder


def report(
    runs: Sequence[str | Path],
    *,
    data: str = "",
    out: Path | None = None,
    seed: int = 0,
) -> Path:
    """Write one HTML page that shows what a run has learned, or several runs side by side.

    The page holds everything it shows and needs no network. The same runs give the same page.

    Args:
        runs: folders of the runs; of one, the page also shows what its method does with examples,
            and what its encoder finds alike.
        data: examples to show; by default those that the newest score was measured on, else those
            that the run was trained on.
        out: the file, by default report.html in the run's folder (of several: in the first one's);
            a report that is there already is written anew.
        seed: decides which examples are shown.
    """
    folders = named(runs, verb="report")
    if data and len(folders) > 1:
        raise ValueError(
            "--data goes with one run: several are compared by their curves, scores and options"
        )
    target = _target(Path(out) if out else folders[0] / FILE)
    text = page.render(
        summary.title(folders),
        gathered(folders, data=data, seed=seed),
        lead=summary.lead(folders),
    )
    _written(text, target)
    return target


def gathered(folders: Sequence[Path], *, data: str, seed: int) -> list[Section]:
    """The sections of the page, in their order."""
    if len(folders) == 1:
        top, found = _alone(folders[0], data, seed=seed)
    else:
        top, found = summary.sections(folders), []
    more = [*curves.sections(folders), *options.sections(folders)]
    worth = [*scores.sections(folders), *glue.sections(folders)]
    return [*top, *worth, *found, *more]


def _alone(folder: Path, data: str, *, seed: int) -> tuple[list[Section], list[Section]]:
    """What a single run is and does with examples, and what its encoder finds alike."""
    run = _opened(folder)
    if run is None:
        told = "The run has no checkpoint yet, so there is no encoder to show anything with."
        more = [Words(["To go on with it:"]), Command(f"selfwise resume {quote(str(folder))}")]
        return [*summary.sections([folder]), Section("Examples", told, more)], []
    found = shown(run, data, seed=seed)
    if isinstance(found, str):
        again = Command(f"selfwise report {quote(str(folder))} --data PATH")
        more = [Words(["With other data, the page shows them:"]), again]
        return [*summary.sections([folder], run), Section("Examples", found, more)], []
    top = summary.sections([folder], run, found.where)
    done = tasks.sections(run, found.examples, seed=seed)
    return [*top, *done], embedding.sections(run, found.examples, seed=seed)


def _target(out: Path) -> Path:
    """Where the page goes. Raises ValueError for a file that is no report, or without a folder."""
    if out.is_dir():
        raise ValueError(f"--out {out} is a folder; give a file such as {out / FILE}")
    if not out.resolve().parent.is_dir():
        raise ValueError(f"--out {out}: there is no folder {out.resolve().parent}")
    if out.exists() and not page.is_page(out):
        raise ValueError(f"--out {out} exists and is no report; nothing else is written over")
    return out


def _opened(folder: Path) -> Run | None:
    """The run with its weights, or None before its first checkpoint."""
    newest, torn = checkpoint.latest(folder / "checkpoints")
    if newest is None and not torn:
        return None
    return load(folder)


def _written(text: str, target: Path) -> None:
    """The file is there whole or not at all."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.writing")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)  # it is there if that failed
