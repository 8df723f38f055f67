"""Has selfwise got slower beside its peers? Ratios are compared, for times belong to a machine."""

import json
from typing import Any

from benchmarks.circumstances import RESULTS
from benchmarks.row import find

LEAST = 0.75  # of the ratio that was written down last
Record = dict[str, Any]


def recorded(kind: str = "comparison") -> list[Record]:
    """Every comparison, or cost, in results.jsonl, the oldest first."""
    lines = (json.loads(line) for line in RESULTS.read_text().splitlines() if line.strip())
    return [record for record in lines if record["benchmark"] == kind]


KEY = ("row", "case", "device", "quick", "threads", "clock")
PROCESSOR = ("cpu", "vectors")


def same(record: Record) -> tuple[Any, ...]:
    """What two records have in common that may be compared: some ratios change with the size."""
    return tuple(record[name] for name in KEY)


def processor(record: Record) -> tuple[Any, ...]:
    """Its name and its vector instructions, which old records lack."""
    return tuple(record.get(name) for name in PROCESSOR)


def latest() -> dict[tuple[Any, ...], Record]:
    """The last measurement of each case on each device, in full and in quick, the newest last."""
    found: dict[tuple[Any, ...], Record] = {}
    for record in recorded():
        found.pop(same(record), None)
        found[same(record)] = record
    return found


def last(record: Record) -> Record | None:
    """What was written down last of this case, on this processor if it ever was.

    In full too, where quick is the same work.
    """
    whole = not getattr(find(record["row"]), "QUICK_IS_LESS", False)
    wanted = [same(record), *([same({**record, "quick": False})] if whole else [])]
    every = recorded()
    here = [one for one in every if processor(one) == processor(record)]
    for known in (here, every):
        for key in wanted:
            if found := [one for one in known if same(one) == key]:
                return found[-1]
    return None


def better(one: Record, other: Record) -> Record:
    """The first record, and of each contest the higher of both ratios."""
    again = {(found["side"], found["against"]): found for found in other["contests"]}
    pairs = [(found, again[found["side"], found["against"]]) for found in one["contests"]]
    return {**one, "contests": [max(pair, key=lambda found: found["ratio"][0]) for pair in pairs]}


def lost(now: Record, before: Record | None) -> list[str]:
    """A sentence for each contest that has lost more than a quarter of its ratio."""
    if before is None:
        size = "in quick" if now["quick"] else "in full"
        return [f"{now['row']}:{now['case']} was never written down {size}: nothing to compare"]
    old, new = (
        {(one["side"], one["against"]): one["ratio"][0] for one in record["contests"]}
        for record in (before, now)
    )
    passed = {(one["side"], one["against"]) for one in [*before["left_out"], *now["left_out"]]}
    found = []
    for side, against in dict.fromkeys([*new, *old]):
        was, ratio = old.get((side, against)), new.get((side, against))
        if was is not None and ratio is not None:
            if ratio < LEAST * was:
                found.append(f"{side}: {ratio:.2f} times {against}, it was {was:.2f}")
        elif (side, against) not in passed:  # what one of the machines cannot do
            when = "now" if ratio is None else "when it was written down"
            found.append(f"{side} against {against} was not measured {when}")
    return found


def elsewhere(now: Record, before: Record | None) -> str:
    """That the last one was of another processor, on which ratios may be others."""
    if before is None or processor(now) == processor(before):
        return ""
    return f"the last one was on {before.get('cpu')} with {before.get('vectors', 'other')} vectors"
