"""`selfwise report`: looks at runs and writes what is to be seen into one HTML file."""

import os
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from selfwise import config, records
from selfwise.arguments import FROM_PYTHON, IMPORTED
from selfwise.report import curves, embedding, page, scores, summary
from selfwise.report.parts import Command, Section, Words
from selfwise.run import Run, load
from selfwise.train import checkpoint

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
    folders = [Path(run) for run in ([runs] if isinstance(runs, str | Path) else runs)]
    _check(folders, data)
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
    run = _opened(folders[0]) if len(folders) == 1 else None
    task, found = _of_examples(run, data, seed=seed) if run else ([], [])
    return [
        *summary.sections(folders, run),
        *task,
        *scores.sections(folders),
        *found,
        *curves.sections(folders),
    ]


def _check(folders: Sequence[Path], data: str) -> None:
    """Raises ValueError for what is no run, named twice, or does not go together."""
    if not folders:
        raise ValueError("name the folder of a run: selfwise report RUN")
    for folder in folders:
        config.read(folder)
    known = [folder.resolve() for folder in folders]
    for folder, place in zip(folders, known):
        if known.count(place) > 1:
            raise ValueError(f"{folder} is named twice")
    if data and len(folders) > 1:
        raise ValueError(
            "--data goes with one run: several are compared by their curves, scores and options"
        )


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


def _of_examples(run: Run, data: str, *, seed: int) -> tuple[list[Section], list[Section]]:
    """What the method does with some examples, and what the encoder finds alike; or why not."""
    where = data or _known_data(run)
    if not where:
        told = "The run was given its data in Python or imported, so there are no examples to show."
        return [], [_lacking(run, told)]
    try:
        examples = run.modality.examples(run, where)
    except (ValueError, OSError) as error:
        if data:
            raise
        return [], [_lacking(run, f"The run's data cannot be shown: {error}.")]
    return [], embedding.sections(run, examples, seed=seed)


def _lacking(run: Run, told: str) -> Section:
    """Why there are no examples, and how to see some."""
    again = Command(f"selfwise report {quote(str(run.folder))} --data PATH")
    return Section("Examples", told, [Words(["With other data, the page shows them:"]), again])


def _known_data(run: Run) -> str:
    """The data of the newest score's test examples, else the run's own; nothing if unknown."""
    named = [score.get("data", {}) for score in reversed(records.scores(run.folder))]
    tested = [told.get("test") or told.get("train") for told in named]
    options = [*tested, run.config["options"]["data"]]
    return next((d for d in options if d and d not in (FROM_PYTHON, IMPORTED)), "")


def _written(text: str, target: Path) -> None:
    """The file is there whole or not at all."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.writing")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(target)
