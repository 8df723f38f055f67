"""What decides on a run beside its weights: run.yaml, and the files that the folder keeps.

Each checkpoint vouches for it, so that a resumed run is the run that was started.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfwise.runs.run_yaml import FILE, RunRecord, read_record
from selfwise.training.checkpoint import Checkpoint, hash_file_hex

# options that change where and how a run is computed and saved, and not what
MAY_CHANGE = (
    *("data", "init_from", "device", "num_workers", "keep_last", "save_every"),
    *("logger", "logger_project"),
)
# what the modalities write into a run folder
SAVED_FILES = ("tokenizer", "targets", "needs.safetensors")
FILE_PREFIX = "./"  # in front of the names of files, which options may have too
SETTINGS_KEY = "settled"  # in the state of a checkpoint

RunSettings = dict[str, Any]  # plain JSON


def describe_settings(folder: Path, record: RunRecord) -> RunSettings:
    """Options, facts and checksums of the files of a run folder by name, as plain JSON."""
    values: RunSettings = {"method": record.method}
    values |= {n: choice.value for n, choice in record.resolved.items() if n not in MAY_CHANGE}
    values |= {f"data_info.{n}": value for n, value in record.info.model_dump(mode="json").items()}
    values |= {f"needs.{n}": dict(about) for n, about in record.needs.items()}
    values |= {f"code.{place}": code for place, code in record.code.items()}
    plain: RunSettings = json.loads(json.dumps(values | _hash_saved_files(folder)))
    return plain


def check_settings(folder: Path, saved: Checkpoint) -> None:
    """Raises ValueError naming the first option or file that a resumed run would have otherwise."""
    if saved.state.get(SETTINGS_KEY) is None:
        raise ValueError(
            f"{saved.folder} does not say which options it was saved with, as another version of "
            "selfwise wrote it: start the run again in another folder"
        )
    check_unchanged(folder, saved)


def check_unchanged(folder: Path, saved: Checkpoint) -> None:
    """Raises ValueError naming the first option or file that differs from what was trained with.

    A checkpoint of an imported run, or of an earlier version, does not say what that was.
    """
    record = read_record(folder)
    before, now = saved.state.get(SETTINGS_KEY), describe_settings(folder, record)
    if before is not None and before["steps"] in {c["steps_before"] for c in record.continuations}:
        before = {**before, "steps": now["steps"]}  # the run was lengthened since
    if before is None or (name := _find_first_difference(before, now)) is None:
        return
    if name.startswith(FILE_PREFIX):
        what, values = folder / name.removeprefix(FILE_PREFIX), ""
    else:
        is_now, was = (part.get(name, "absent") for part in (now, before))
        what, values = folder / FILE, f" ({name} is {is_now}, and was {was})"
    raise ValueError(
        f"{what} was changed, removed or added since {saved.folder.name} was saved{values}: put it "
        "back as it was, or start another run"
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
