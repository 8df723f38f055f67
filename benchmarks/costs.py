"""Costs that must not grow, and how long a start takes.

python -m benchmarks.costs [corpus | images | steps | length | startup]...

Each cost is measured at several sizes by turns, each time in a process of its own. Written down
are median, smallest and largest of the turns, and of the largest size against the smallest in the
same turn. All on one thread. Memory is what belongs to no file (RssAnon of Linux), and its peaks
are those of the whole process, which is looked at from outside a hundred times a second.
"""

import argparse
import os
import shutil
import sys
from types import ModuleType
from typing import Any

from benchmarks.circumstances import circumstances, write
from benchmarks.costs_process import NAMES, by_turns, find
from benchmarks.costs_record import record, table
from benchmarks.scratch import scratch
from benchmarks.turns import CLOCKS

THREADS = 1


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        "benchmarks.costs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("what", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)}; all by default")
    made.add_argument(
        "--rounds", type=int, help="turns of each size [as the cost says; 2 if quick]"
    )
    made.add_argument("--quick", action="store_true", help="small sizes, few turns")
    made.add_argument("--dry", action="store_true", help="write nothing down")
    made.add_argument("--clock", choices=CLOCKS, default="wall",
                      help="of steps, batches, lines; processor: for a busy machine")  # fmt: skip
    return made


def measured(
    name: str, module: ModuleType, *, rounds: int, quick: bool, clock: str
) -> dict[str, Any]:
    """Prepare and measure one cost; what was made for it is gone afterwards."""
    sizes = list(module.QUICK if quick else module.SIZES)
    home = scratch()
    before = round(os.getloadavg()[0], 1)
    try:
        told = module.prepare(home, sizes)
        turns = by_turns(name, home, sizes, rounds=rounds, clock=clock)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    told |= {
        "quick": quick,
        "rounds": rounds,
        "clock": clock,
        "threads": THREADS,
        "load_before": before,
    }
    return record(name, module, turns, told) | circumstances()


def run(asked: list[str], options: argparse.Namespace) -> int:
    """How many costs could not be measured; a goal that is missed is a result."""
    if options.rounds is not None and options.rounds < 1:
        raise ValueError("--rounds has to be at least 1")
    failed = 0
    modules = {name: find(name) for name in asked}
    for name, module in modules.items():
        rounds = options.rounds or (2 if options.quick else module.ROUNDS)
        told = {"rounds": rounds, "quick": options.quick, "clock": options.clock}
        try:
            found = measured(name, module, **told)
        except RuntimeError as error:
            print(error, file=sys.stderr)
            failed += 1
            continue
        print(table(found), flush=True)
        if not options.dry:
            write(found)
    return failed


def main() -> int:
    options = parser().parse_args()
    os.environ["OMP_NUM_THREADS"] = str(THREADS)
    try:
        return min(run(options.what or list(NAMES), options), 1)
    except ValueError as error:
        print(f"benchmarks.costs: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
