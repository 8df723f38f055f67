"""Checks before a resume: run.yaml, and the files in the folder that training depends on.

Each checkpoint records them, so that a resumed run is the run that was started.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfwise.runs.run_yaml import FILE, RunRecord, read_record
from selfwise.training.checkpoint import Checkpoint, hash_file_hex

# options that change where and how a run is computed and saved, but not its result
MAY_CHANGE = (
    *("data", "init_from", "init_tokens", "device", "num_workers", "keep_last", "save_every"),
    *("logger", "logger_project"),
)
# files that the modalities write into a run folder
SAVED_FILES = ("tokenizer", "targets", "needs.safetensors")
FILE_PREFIX = "./"  # before file names, which could equal names of options
SETTINGS_KEY = "settled"  # in the state of a checkpoint

RunSettings = dict[str, Any]  # plain JSON


def describe_settings(folder: Path, record: RunRecord) -> RunSettings:
    """Return options, facts and checksums of the files in a run folder by name, as plain JSON."""
    values: RunSettings = {"method": record.method}
    values |= {n: choice.value for n, choice in record.resolved.items() if n not in MAY_CHANGE}
    values |= {f"data_info.{n}": value for n, value in record.info.model_dump(mode="json").items()}
    values |= {f"needs.{n}": dict(about) for n, about in record.needs.items()}
    values |= {f"code.{place}": code for place, code in record.code.items()}
    plain: RunSettings = json.loads(json.dumps(values | _hash_saved_files(folder)))
    return plain


def check_settings(folder: Path, saved: Checkpoint) -> None:
    """Raise ValueError naming the first option or file that a resumed run would have otherwise."""
    if saved.state.get(SETTINGS_KEY) is None:
        raise ValueError(
            f"{saved.folder} does not record the options it was saved with, because another "
            "version of selfwise wrote it: start the run again in another folder"
        )
    check_unchanged(folder, saved)


def check_unchanged(folder: Path, saved: Checkpoint) -> None:
    """Raise ValueError naming the first option or file that changed since the training.

    A checkpoint of an imported run, or of an earlier version, does not record them.
    """
    record = read_record(folder)
    before, now = saved.state.get(SETTINGS_KEY), describe_settings(folder, record)
    if before is not None and before["steps"] in {c["steps_before"] for c in record.continuations}:
        before = {**before, "steps": now["steps"]}  # the run was lengthened later
    if before is None or (name := _find_first_difference(before, now)) is None:
        return
    if name.startswith(FILE_PREFIX):
        what, values = folder / name.removeprefix(FILE_PREFIX), ""
    else:
        is_now, was = (part.get(name, "absent") for part in (now, before))
        what, values = folder / FILE, f" ({name} is {is_now}, and was {was})"
    raise ValueError(
        f"{what} was changed, removed or added since {saved.folder.name} was saved{values}: "
        "restore the original, or start another run"
    )


def _find_first_difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    names = sorted({*before, *now})
    missing = object()
    return next((n for n in names if before.get(n, missing) != now.get(n, missing)), None)


def _hash_saved_files(folder: Path) -> dict[str, str]:
    paths = [path for name in SAVED_FILES for path in (folder / name, *(folder / name).rglob("*"))]
    return {
        f"{FILE_PREFIX}{p.relative_to(folder)}": hash_file_hex(p)
        for p in sorted(paths)
        if p.is_file()
    }
