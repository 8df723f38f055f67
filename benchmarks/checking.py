"""Has selfwise got slower beside its peers? Ratios are compared, for times belong to a machine."""

import json
from typing import Any

from benchmarks.circumstances import RESULTS

LEAST = 0.75  # of the ratio that was written down last
Record = dict[str, Any]


def recorded() -> list[Record]:
    """Every comparison in results.jsonl, the oldest first."""
    lines = (json.loads(line) for line in RESULTS.read_text().splitlines() if line.strip())
    return [record for record in lines if record["benchmark"] == "comparison"]


def same(record: Record) -> tuple[Any, ...]:
    """What two records have in common that may be compared: some ratios change with the size."""
    return record["row"], record["case"], record["device"], record["quick"]


def latest() -> dict[tuple[Any, ...], Record]:
    """The last measurement of each case on each device, in full and in quick."""
    return {same(record): record for record in recorded()}


def last(record: Record) -> Record | None:
    """What was written down last of this case."""
    return latest().get(same(record))


def lost(now: Record, before: Record | None) -> list[str]:
    """A sentence for each contest that has lost more than a quarter of its ratio."""
    if before is None:
        size = "in quick" if now["quick"] else "in full"
        return [f"{now['row']}:{now['case']} was never written down {size}: nothing to compare"]
    old = {(one["side"], one["against"]): one["ratio"][0] for one in before["contests"]}
    found = []
    for one in now["contests"]:
        was, ratio = old.get((one["side"], one["against"])), one["ratio"][0]
        if was is None:
            found.append(f"{one['side']} against {one['against']} was never written down")
        elif ratio < LEAST * was:
            found.append(f"{one['side']}: {ratio:.2f} times {one['against']}, it was {was:.2f}")
    return found
