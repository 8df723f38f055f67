"""The table of docs/performance.md, made of what results.jsonl says."""

from pathlib import Path
from typing import Any

from benchmarks.checking import latest
from benchmarks.row import find, names

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- comparison: begin -->", "<!-- comparison: end -->"
HEAD = """| work | side | rate | against | ratio (spread) | goal | |
|---|---|---|---|---|---|---|"""
DEVICES = {"cpu": "On the CPU", "cuda": "On a GPU"}


def number(value: float) -> str:
    """A rate in three figures or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def lines(record: dict[str, Any]) -> list[str]:
    """A line for each contest of a case."""
    work = f"{find(record['row']).CASES[record['case']]} (`{record['row']}:{record['case']}`)"
    made = []
    for one in record["contests"]:
        middle, low, high = one["ratio"]
        ours, theirs = (number(record["rates"][one[key]][0]) for key in ("side", "against"))
        side = one["side"] + (f": {one['best']}" if one["best"] else "")
        met = "met" if middle >= one["goal"] else "**missed**"
        rate, against = f"{ours} {record['unit']}/s", f"{one['against']}: {theirs}"
        ratio = f"{middle:.3g} ({low:.3g} to {high:.3g})"
        made.append(f"| {work} | {side} | {rate} | {against} | {ratio} | {one['goal']:g} | {met} |")
        work = ""
    for one in record["left_out"]:
        side, goal = f"{one['side']}: {one['best']}", f"{one['goal']:g}"
        made.append(f"| {work} | {side} | | {one['against']} | this CPU has no bf16 | {goal} | |")
        work = ""
    return made


def equal_work(records: list[dict[str, Any]]) -> str:
    """Who the peers are, and what was found equal before anything was timed."""
    made = ["What each peer does, and what was found equal before the clock started:", ""]
    for name in names():
        found = [record for record in records if record["row"] == name]
        cases = "; ".join(f"{record['case']}: {record['equal']}" for record in found)
        made += [f"- `{name}`: {find(name).PEER}. Equal: {cases}."] if found else []
    return "\n".join(made)


def limits(records: list[dict[str, Any]]) -> str:
    """How near to a matrix product the counted sides come."""
    made = []
    for record in records:
        shares = record.get("share_of_matrix_rate", {})
        told = ", ".join(f"{side} {share:.0%}" for side, share in shares.items())
        made += [f"- `{record['row']}:{record['case']}`: {told}"] if told else []
    head = "Share of the rate of the fastest matrix product measured beside it, by counted"
    return "\n".join([f"{head} operations:", "", *made]) if made else ""


def circumstances(records: list[dict[str, Any]]) -> str:
    """Machine, versions, commits and dates."""

    def all_of(key: str) -> str:
        return ", ".join(sorted({str(record[key]) for record in records if key in record}))

    packages = sorted({name for record in records for name in find(record["row"]).PACKAGES})
    versions = ", ".join(f"{name} {all_of(name)}" for name in ("torch", *packages))
    where = all_of("gpu") or f"{all_of('threads')} threads of {all_of('cpu')}"
    return f"{where}; {versions}; commits {all_of('commit')}; {all_of('date')}."


def page() -> str:
    """All of it."""
    every = latest().values()
    full = [one for one in every if not one["quick"] and one["clock"] == "wall"]
    found = sorted(full, key=lambda record: (record["row"], record["case"]))
    parts = []
    for device, title in DEVICES.items():
        records = [record for record in found if record["device"] == device]
        if not records:
            parts.append(f"### {title}\n\nNot yet measured.")
            continue
        rows = "\n".join(line for record in records for line in lines(record))
        parts += [f"### {title}", f"{HEAD}\n{rows}", circumstances(records)]
        parts += [equal_work(records), *filter(None, [limits(records)])]
    return "\n\n".join(parts)


def made(text: str) -> str:
    """`text` with the table between its marks made anew.

    Raises:
        ValueError: the marks are not there.
    """
    if BEGIN not in text or END not in text:
        raise ValueError(f"table: {PAGE.name} has no marks {BEGIN} and {END}")
    before, rest = text.split(BEGIN, 1)
    return f"{before}{BEGIN}\n\n{page()}\n\n{END}{rest.split(END, 1)[1]}"


def write() -> None:
    PAGE.write_text(made(PAGE.read_text()))
