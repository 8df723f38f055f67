"""Work before the first step of a run that was stopped: word vectors, or a search."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from selfwise.core.config_class import spell_option
from selfwise.runs.prepare import PreparedRun
from selfwise.runs.run_yaml import has_record
from selfwise.runs.tune_record import read_tune_record
from selfwise.runs.vectors_record import read_vectors_record


class Unfinished(NamedTuple):
    """What a folder holds whose run has not begun."""

    what: str
    """search or token table."""
    config: Mapping[str, Any]
    """The user's options with the method, as in run.yaml."""


def find_unfinished(folder: Path) -> Unfinished | None:
    """Return the work in a folder whose run has not begun; None if there is none.

    Raises ValueError naming the file if its record cannot be read.
    """
    if has_record(folder):
        return None
    if (search := read_tune_record(folder)) is not None:
        return Unfinished("search", search.config)
    if (vectors := read_vectors_record(folder)) is not None:
        return Unfinished("token table", vectors.config)
    return None


def to_plain(config: Mapping[str, object]) -> dict[str, object]:
    """Return options as JSON stores them, with lists instead of tuples."""
    return dict(json.loads(json.dumps(config)))


def check_same_request(
    out: Path, what: str, config: Mapping[str, object], fingerprint: str, prepared: PreparedRun
) -> None:
    """Raise ValueError unless work that was stopped has the options and data of this run."""
    now = to_plain(prepared.record.config)
    for name in dict.fromkeys([*config, *now]):
        if config.get(name) != now.get(name):
            raise ValueError(
                f"{out} holds an unfinished {what} with {name} {config.get(name)}, not "
                f"{now.get(name)}: repeat its options, or give another {spell_option('out')}"
            )
    if fingerprint != prepared.record.info.fingerprint:
        raise ValueError(
            f"{out} holds an unfinished {what} on other data: give another {spell_option('out')}"
        )
