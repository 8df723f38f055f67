"""Side by side with what people use: each row by turns, after a check of equal work.

python -m benchmarks [ROW | ROW:CASE]...     measure and write down; all rows without a name
python -m benchmarks list                    the rows, their cases and goals
python -m benchmarks check [ROW]...          compare ratios with those last written down
python -m benchmarks table                   make the table of docs/performance.md anew
"""

import argparse
import sys

from benchmarks import checking, table
from benchmarks.circumstances import write
from benchmarks.comparing import Plan, apart
from benchmarks.row import Setting, cases, find, names
from benchmarks.turns import CLOCKS

VERBS = ("list", "check", "table")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        "benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("what", nargs="*", metavar="ROW", help="or list, check, table")
    made.add_argument("--rounds", type=int, help="turns of each side [7; 3 when quick]")
    made.add_argument("--seconds", type=float, help="length of a turn [6; 2 when quick]")
    made.add_argument("--quick", action="store_true", help="few short turns, smaller work")
    made.add_argument("--dry", action="store_true", help="write nothing down")
    made.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    made.add_argument("--threads", type=int, default=2, help="of torch, on both sides")
    made.add_argument("--clock", choices=CLOCKS, default="wall",
                      help="processor: a side's own time, for a busy machine")  # fmt: skip
    return made


def listed() -> None:
    for name in names():
        module = find(name)
        print(f"{name}: {module.PEER}")
        for case, what in module.CASES.items():
            goals = ", ".join(
                f"{one.side} {one.goal:g} times {one.against}" for one in module.GOALS[case]
            )
            print(f"  {name}:{case}  {what}; goal: {goals}")


def show(record: dict) -> None:
    """A record in a few lines."""
    print(f"{record['row']}:{record['case']}  ({record['equal']})", flush=True)
    for side, (middle, low, high) in record["rates"].items():
        share = record.get("share_of_matrix_rate", {}).get(side)
        limit = "" if share is None else f"  {share:.0%} of the matrix rate"
        print(f"  {side:32s}{middle:12,.5g} {record['unit']}/s ({low:,.5g} to {high:,.5g}){limit}")
    for one in record["contests"]:
        middle, low, high = one["ratio"]
        met = "" if middle >= one["goal"] else "  MISSED"
        print(f"  {one['side']}: {middle:.3g} times {one['against']} ({low:.2f} to {high:.2f}), "
              f"goal {one['goal']:g}{met}", flush=True)  # fmt: skip
    for one in record["left_out"]:
        print(f"  {one['side']}: left out, for this CPU has no products of bf16", flush=True)


def refuse_processes(wanted: list[tuple[str, str]]) -> None:
    """Raises ValueError for cases whose work is partly in other processes."""
    named = [
        f"{row}:{case}" for row, case in wanted if case in getattr(find(row), "OTHER_PROCESSES", ())
    ]
    if named:
        raise ValueError(
            f"--clock processor counts the time of one process, and others work for "
            f"{', '.join(named)}: name other rows, or take --clock wall"
        )


def compared(record: dict) -> bool:
    """Say what this record has lost against the last one; whether it has lost nothing."""
    before = checking.last(record)
    lost = checking.lost(record, before)
    if other := checking.elsewhere(record, before):
        print(f"  {other}")
    print("\n".join(f"  LOST: {text}" for text in lost) or "  as before", flush=True)
    return not lost


def run(options: argparse.Namespace, asked: list[str], *, check: bool) -> list[str]:
    """Which cases failed or got slower: what has lost has to lose again, measured once more."""
    usual = Plan(3, 2.0) if options.quick or check else Plan()
    rounds = usual.rounds if options.rounds is None else options.rounds
    seconds = usual.seconds if options.seconds is None else options.seconds
    if rounds < 1 or seconds <= 0 or options.threads < 1:
        raise ValueError("--rounds and --threads have to be at least 1, --seconds above 0")
    if options.clock == "processor":
        refuse_processes(cases(asked, options.device))
    setting = Setting(options.device, options.threads, options.quick or check)
    plan, failed = Plan(rounds, seconds, options.clock), []
    for row, case in cases(asked, options.device):
        try:
            show(record := apart(row, case, setting, plan))
            if check and not compared(record):
                if checking.last(record):  # it may be bad luck
                    print("  once more:")
                    show(again := apart(row, case, setting, plan))
                    record = checking.better(record, again)
                failed += [] if compared(record) else [f"{row}:{case}"]
        except RuntimeError as error:
            print(error, file=sys.stderr)
            failed.append(f"{row}:{case}")
            continue
        if not check and not options.dry:
            write(record)
    return failed


def main() -> int:
    options = parser().parse_args()
    verb = options.what[0] if options.what and options.what[0] in VERBS else ""
    asked = options.what[1:] if verb else options.what
    try:
        if verb == "list":
            listed()
        elif verb == "table":
            table.write()
        else:
            failed = run(options, asked, check=verb == "check")
            if failed:  # once more, at the end, where one looks
                print(f"not as they should be: {', '.join(failed)}", file=sys.stderr)
            return 1 if failed else 0
    except ValueError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
