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


def same(record: Record) -> tuple[str, ...]:
    """What two records have in common that may be compared."""
    return record["row"], record["case"], record["device"]


def latest() -> dict[tuple[str, ...], Record]:
    """The last full measurement of each case on each device."""
    return {same(record): record for record in recorded() if not record["quick"]}


def last(record: Record) -> Record | None:
    """What was written down last of this case."""
    return latest().get(same(record))


def lost(now: Record, before: Record | None) -> list[str]:
    """A sentence for each contest that has lost more than a quarter of its ratio."""
    if before is None:
        return [f"nothing to compare with: {now['row']}:{now['case']} was never written down"]
    old = {(one["side"], one["against"]): one["ratio"][0] for one in before["contests"]}
    found = []
    for one in now["contests"]:
        was, ratio = old.get((one["side"], one["against"])), one["ratio"][0]
        if was is None:
            found.append(f"{one['side']} against {one['against']} was never written down")
        elif ratio < LEAST * was:
            found.append(f"{one['side']}: {ratio:.2f} times {one['against']}, it was {was:.2f}")
    return found
