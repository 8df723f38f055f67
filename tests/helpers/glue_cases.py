"""All of GLUE in small: files in the official layout, whose texts tell their labels."""

from pathlib import Path

import numpy as np

from selfwise.glue.tasks import TASKS, GlueFile, GlueTask

ROWS = {"train": 40, "dev": 12, "test": 6}
WORDS = ("bad cold", "good warm", "old calm")
FILLING = ["the", "sea", "was", "small", "and", "green", "island", "boat", "went", "far"]


def write_glue(root: Path, *, tasks: tuple[str, ...] = (), rows: dict[str, int] = ROWS) -> Path:
    """The folder of the tasks that are named, or of all."""
    for task in TASKS:
        if tasks and task.name not in tasks:
            continue
        folder = root / task.folders[0]
        folder.mkdir(parents=True)
        for split, file in task.files.items():
            text = _text(task, split, file, rows[split.partition("_")[0]])
            (folder / file.names[0]).write_text(text, encoding="utf-8")
    return root


def _text(task: GlueTask, split: str, file: GlueFile, rows: int) -> str:
    random = np.random.default_rng(len(task.name) + len(split))
    lines = ["\t".join(file.columns)] if file.headed else []
    for row in range(rows):
        kind = int(random.integers(len(task.labels) or 3))
        told = dict.fromkeys(file.columns, "x")
        told |= {name: str(row) for name in ("index", "id") if name in told}
        for name in task.text:
            said = f"{WORDS[kind]} {' '.join(random.choice(FILLING, 3))}"
            told[name] = said
        if task.label in told:
            told[task.label] = task.labels[kind] if task.labels else f"{2.5 * kind:.3f}"
        lines.append("\t".join(told[name] for name in file.columns))
    return "\n".join(lines) + "\n"
