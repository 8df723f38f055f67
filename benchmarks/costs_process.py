"""A measurement in a process of its own, whose memory is watched from outside."""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

from benchmarks.costs_record import Figures, Found, Turns, anonymous, peaks
from benchmarks.turns import CLOCKS
from selfwise.core.errors import did_you_mean

NAMES = ("corpus", "images", "steps", "length", "startup")
COMMAND = [sys.executable, "-W", "ignore", "-m", "benchmarks.costs_process"]
EVERY = 0.01  # seconds between two looks at the memory


def find(name: str) -> ModuleType:
    """The module of a cost.

    Raises:
        ValueError: there is none.
    """
    if name not in NAMES:
        raise ValueError(f"cost: there is no {name!r}{did_you_mean(name, NAMES)}")
    return importlib.import_module(f"benchmarks.costs_{name}")


def apart(name: str, home: Path, size: str, clock: str) -> Figures:
    """One size of one cost, in a fresh process.

    Raises:
        RuntimeError: the process failed; with the end of what it said.
    """
    seen: list[tuple[float, int]] = []
    out, errors = home / "stdout", home / "stderr"
    with out.open("w") as told, errors.open("w") as wrong:
        line = [*COMMAND, name, str(home), size, clock]
        process = subprocess.Popen(line, stdout=told, stderr=wrong, env=os.environ | _own(home))
        try:
            while process.poll() is None:
                seen.append((time.monotonic(), _held(process.pid)))
                time.sleep(EVERY)
        finally:
            process.kill()  # nothing goes on measuring where nobody waits any more
    if process.returncode:
        raise RuntimeError(f"{name} at {size} failed: {errors.read_text().strip()[-2000:]}")
    found = Found(*json.loads(out.read_text().splitlines()[-1]))
    return found.figures | peaks(found, seen)


def _own(home: Path) -> dict[str, str]:
    return {"SELFWISE_CACHE": str(home / "cache"), "TOKENIZERS_PARALLELISM": "false"}


def _held(process: int) -> int:
    try:
        return anonymous(process)
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        return 0


def by_turns(name: str, home: Path, sizes: list[str], *, rounds: int, clock: str) -> Turns:
    """Every size in every round, in the other order in every second one."""
    found: Turns = {size: [] for size in sizes}
    for turn in range(rounds):
        for size in sizes if turn % 2 == 0 else reversed(sizes):
            found[size].append(apart(name, home, size, clock))
    return found


def main() -> None:
    name, home, size, clock = sys.argv[1:]
    print(json.dumps(find(name).measure(Path(home), size, CLOCKS[clock])))


if __name__ == "__main__":
    main()
