"""Under which circumstances something was measured, and where it is written."""

import json
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from selfwise.runs.environment import find_commit, read_cpu_model

RESULTS = Path(__file__).with_name("results.jsonl")


def circumstances(*packages: str, **told: Any) -> dict[str, Any]:
    """The machine, what was told, versions of torch and `packages`, commit and date."""
    versions = {name: version(name) for name in ("torch", *packages)}
    when = {"commit": find_commit(), "date": date.today().isoformat()}
    from torch.backends.cpu import get_cpu_capability

    return {"cpu": read_cpu_model(), "vectors": get_cpu_capability(), **told, **versions, **when}


def write(record: dict[str, Any]) -> None:
    """Add a line to results.jsonl."""
    with RESULTS.open("a") as results:
        results.write(json.dumps(record) + "\n")
