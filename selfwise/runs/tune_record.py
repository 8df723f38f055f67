"""tune.json in a run folder: the plan of a search, its trials, and the setting that was chosen."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfwise.core.files import read_json, write_file
from selfwise.core.plain_data import parse_fields
from selfwise.runs.successive_halving import Rung, Search, Trial
from selfwise.runs.tune_file import TuneFile

FILE = "tune.json"
FORMAT = 1


@dataclass(frozen=True)
class TuneRecord:
    """The contents of tune.json."""

    config: Mapping[str, Any]
    """The user's options with the method, as in run.yaml."""
    fingerprint: str
    """Of the data."""
    seed: int
    """Seed of the settings, of the weights before training, of the batches and of the views."""
    steps: int
    """Steps of the search and the run together."""
    budget: int
    """Steps of the search, at most."""
    measuring: int
    """What the measurement after a trial counts, in steps."""
    step_seconds: float | None
    """Seconds of a step as measured before the search; None if they were not measured."""
    planning_seconds: float
    """Seconds before the first trial."""
    search: Search

    @property
    def seconds(self) -> float:
        """The time that the search has taken so far."""
        return self.planning_seconds + sum(trial.seconds for trial in self.search.trials)

    @property
    def rest(self) -> int:
        """Steps that the search has left to the run."""
        return self.steps - self.search.count_spent(self.measuring)

    def to_dict(self) -> dict[str, object]:
        """Return the record in the form of tune.json."""
        search = self.search
        own = {name: value for name, value in vars(self).items() if name != "search"}
        return {
            "format": FORMAT,
            **own,
            "config": dict(self.config),
            "judged_by": search.judge,
            "settings": [dict(setting) for setting in search.settings],
            "plan": [{"settings": count, "steps": steps} for count, steps in search.plan],
            "rungs": [{"steps": r.steps, "settings": list(r.settings)} for r in search.rungs],
            "trials": [{**t._asdict(), "values": dict(t.values)} for t in search.trials],
            "chosen": search.chosen,
        }


def write_tune_record(folder: Path, record: TuneRecord) -> None:
    """Write tune.json completely or not at all."""
    write_file(folder / FILE, json.dumps(record.to_dict(), indent=1) + "\n")


def read_tune_record(folder: Path) -> TuneRecord | None:
    """Read tune.json of a run; None if the run had no search.

    Raises ValueError naming the file if it cannot be read.
    """
    return read_json(folder / FILE, FORMAT, _build_record)


def _build_record(content: Mapping[str, Any]) -> TuneRecord:
    file = parse_fields(TuneFile, content)
    file.check_numbers()
    search = Search(
        settings=file.settings,
        judge=file.judged_by,
        plan=[(rung.settings, rung.steps) for rung in file.plan],
        rungs=[Rung(rung.steps, tuple(rung.settings)) for rung in file.rungs],
        trials=[Trial(**dict(trial)) for trial in file.trials],
        chosen=file.chosen,
    )
    names = [name for name in TuneRecord.__annotations__ if name != "search"]
    return TuneRecord(**{name: getattr(file, name) for name in names}, search=search)
