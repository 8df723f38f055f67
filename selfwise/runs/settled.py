"""What decides on a run beside its weights: run.yaml, and the files that the folder keeps.

Each checkpoint vouches for it, so that a resumed run is the run that was started.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfwise.runs import config
from selfwise.training.checkpoint import Checkpoint, checksum

# options that change where and how a run is computed and saved, and not what
MAY_CHANGE = ("data", "start", "device", "workers", "keep", "save_every", "wandb")
KEPT = ("tokenizer", "units", "prior.npy")  # what the modalities write into a run folder
HERE = "./"  # in front of the names of files, which options may have too
NAME = "settled"  # in the state of a checkpoint


def settled(folder: Path) -> dict[str, Any]:
    """Options, findings and checksums of files by name, as plain JSON."""
    settings = config.read(folder)
    said = {"method": settings["method"]}
    said |= {n: value for n, value in settings["options"].items() if n not in MAY_CHANGE}
    said |= {f"found.{name}": value for name, value in settings["found"].items()}
    return json.loads(json.dumps(said | _checksums(folder)))


def check_settled(folder: Path, saved: Checkpoint) -> None:
    """Raises ValueError naming the first option or file that a resumed run would have otherwise."""
    if (name := _first_difference(before := saved.state.get(NAME), now := settled(folder))) is None:
        return
    if before is None:
        raise ValueError(
            f"{saved.folder} does not say which options it was saved with, as another version of "
            "selfwise wrote it: start the run again in another folder"
        )
    if name.startswith(HERE):
        what, values = folder / name, ""
    else:
        is_now, was = (part.get(name, "absent") for part in (now, before))
        what, values = folder / config.FILE, f" ({name} is {is_now}, and was {was})"
    raise ValueError(
        f"{what} was changed, removed or added since {saved.folder.name} was saved{values}: put it "
        "back to resume this run, or start another run"
    )


def check_files(folder: Path, saved: Checkpoint) -> None:
    """Raises ValueError naming the first file of the folder that is not what training read."""
    before = {n: v for n, v in saved.state.get(NAME, {}).items() if n.startswith(HERE)}
    if before and (name := _first_difference(before, _checksums(folder))):
        raise ValueError(
            f"{folder / name} was changed, removed or added since {saved.folder.name} was saved: "
            "put it back as it was"
        )


def _first_difference(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str | None:
    if before is None:
        return NAME
    names = sorted({*before, *now})
    return next((n for n in names if before.get(n, NAME) != now.get(n, NAME)), None)


def _checksums(folder: Path) -> dict[str, str]:
    paths = [path for name in KEPT for path in (folder / name, *(folder / name).rglob("*"))]
    return {f"{HERE}{p.relative_to(folder)}": checksum(p) for p in sorted(paths) if p.is_file()}
