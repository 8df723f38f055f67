"""The tables of docs/performance.md, made of what results.jsonl says."""

from pathlib import Path
from typing import Any

from benchmarks.checking import latest, processor, recorded
from benchmarks.row import find, names

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
MARKS = ("<!-- {}: begin -->", "<!-- {}: end -->")
COSTS_HEAD = """| cost | sizes | figure | at each size | found | at most | |
|---|---|---|---|---|---|---|"""
WAYS = {"growth": "{} times, largest against smallest", "added": "{} more", "is": "{}"}
HEAD = """| work | side | rate | against | ratio (spread; turns) | goal | |
|---|---|---|---|---|---|---|"""
DEVICES = {"cpu": "On the CPU", "cuda": "On a GPU"}


def number(value: float) -> str:
    """A rate in three figures or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def named(contest: dict[str, Any]) -> str:
    """Our side, with what differs."""
    return contest["side"] + (f": {contest['best']}" if contest["best"] else "")


def lines(record: dict[str, Any]) -> list[str]:
    """A line for each contest of a case."""
    quick = ", in quick" if record["quick"] else ""
    work = (
        f"{find(record['row']).CASES[record['case']]} (`{record['row']}:{record['case']}`{quick})"
    )
    made = []
    for one in record["contests"]:
        middle, low, high = one["ratio"]
        ours, theirs = (number(record["rates"][one[key]][0]) for key in ("side", "against"))
        side = named(one)
        met = "met" if middle >= one["goal"] else "**missed**"
        rate, against = f"{ours} {record['unit']}/s", f"{one['against']}: {theirs}"
        ratio = f"{middle:.3g} ({low:.3g} to {high:.3g}; {record['rounds']})"
        made.append(f"| {work} | {side} | {rate} | {against} | {ratio} | {one['goal']:g} | {met} |")
        work = ""
    for one in record["left_out"]:
        side, goal = named(one), f"{one['goal']:g}"
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
        goals = getattr(find(record["row"]), "SHARES", {}).get(record["case"], {})
        told = ", ".join(
            f"{side} {share:.0%}{against(share, goals.get(side))}" for side, share in shares.items()
        )
        made += [f"- `{record['row']}:{record['case']}`: {told}"] if told else []
    head = "Share of the rate of the fastest matrix product measured beside it, by counted"
    return "\n".join([f"{head} operations:", "", *made]) if made else ""


def against(share: float, goal: float | None) -> str:
    if goal is None:
        return ""
    return f" (goal {goal:.0%}: {'met' if share >= goal else '**missed**'})"


def circumstances(records: list[dict[str, Any]]) -> str:
    """Machine, versions, commits and dates."""

    def all_of(key: str) -> str:
        return ", ".join(sorted({str(record[key]) for record in records if key in record}))

    packages = sorted({name for record in records for name in find(record["row"]).PACKAGES})
    versions = ", ".join(f"{name} {all_of(name)}" for name in ("torch", *packages))
    where = all_of("gpu") or f"{all_of('threads')} threads of {processors(records)}"
    return f"{where}; {versions}; commits {all_of('commit')}; {all_of('date')}."


def processors(records: list[dict[str, Any]]) -> str:
    """The processor, or, where there are several, which rows are of which."""
    rows: dict[str, set[str]] = {}
    for one in records:
        cpu, vectors = processor(one)
        alike = {processor(other) for other in records if other["row"] == one["row"]}
        name = f"`{one['row']}`" if len(alike) == 1 else f"`{one['row']}:{one['case']}`"
        rows.setdefault(f"{cpu} ({vectors})" if vectors else cpu, set()).add(name)
    if len(rows) == 1:
        return next(iter(rows))
    return " and of ".join(f"{cpu} for {', '.join(sorted(rows[cpu]))}" for cpu in sorted(rows))


def other_processors(records: list[dict[str, Any]]) -> str:
    """The last ratios of these cases, measured in the same way, on other processors."""
    here = {(one["row"], one["case"]): one for one in records}
    found: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for one in recorded():
        shown = here.get((one["row"], one["case"]))
        kind = ("device", "quick", "clock", "threads")
        alike = shown and all(shown[key] == one[key] for key in kind)
        if shown and alike and processor(one) != processor(shown):
            found.setdefault(processor(one), {})[f"{one['row']}:{one['case']}"] = one
    made = []
    for (cpu, vectors), cases in sorted(found.items()):
        each = "; ".join(f"`{case}` {ratios(cases[case])}" for case in sorted(cases))
        dates, commits = (
            ", ".join(sorted({one[key] for one in cases.values()})) for key in ("date", "commit")
        )
        made.append(f"- {cpu} ({vectors}; {dates}; commits {commits}): {each}")
    head = "The same on another processor when it was last at hand, median ratios:\n"
    return "\n".join([head, *made]) if made else ""


def ratios(record: dict[str, Any]) -> str:
    """The median of each contest, with its sides."""
    return ", ".join(
        f"{one['ratio'][0]:.3g} ({one['side']} to {one['against']})" for one in record["contests"]
    )


def page() -> str:
    """All of it."""
    every = latest().values()
    walls = sorted((one for one in every if one["clock"] == "wall"), key=lambda one: -one["quick"])
    whole = {(one["row"], one["case"], one["device"]): one for one in walls}  # in full, if it was
    found = sorted(whole.values(), key=lambda record: (record["row"], record["case"]))
    parts = []
    for device, title in DEVICES.items():
        records = [record for record in found if record["device"] == device]
        if not records:
            parts.append(f"### {title}\n\nNot yet measured.")
            continue
        rows = "\n".join(line for record in records for line in lines(record))
        parts += [f"### {title}", f"{HEAD}\n{rows}", circumstances(records)]
        parts += [other_processors(records), equal_work(records), limits(records)]
    return "\n\n".join(filter(None, parts))


def costs() -> str:
    """A line for each goal of each cost, in its last full measurement."""
    whole = [one for one in recorded("cost") if not one["quick"] and one["clock"] == "wall"]
    found = {one["name"]: one for one in whole}
    if not found:
        return "Not yet measured."
    lines = [line for one in found.values() for line in cost_lines(one)]
    every = list(found.values())

    def all_of(key: str) -> str:
        return ", ".join(sorted({str(one[key]) for one in every}))

    where = processors([one | {"row": one["name"], "case": ""} for one in every])
    told = f"One thread of {where}; torch {all_of('torch')}; commits {all_of('commit')}; "
    told += f"{all_of('date')}."
    return "\n".join([COSTS_HEAD, *lines, "", told])


def cost_lines(record: dict[str, Any]) -> list[str]:
    """Each figure that has a goal, at every size that has it."""
    made, what = [], f"{record['what']} (`{record['name']}`)"
    for goal in record["goals"]:
        figure, sizes = goal["figure"], record["sizes"]
        have = {size: sizes[size][figure][0] for size in sizes if figure in sizes[size]}
        have = {size: value for size, value in have.items() if goal["size"] in ("", size)}
        each = ", ".join(f"{value:.3g}" for value in have.values())
        middle, low, high = goal["found"]
        told = WAYS[goal["how"]].format(f"{middle:.3g} ({low:.3g} to {high:.3g})")
        met = "met" if goal["met"] else "**missed**"
        at = ", ".join(have)
        made.append(f"| {what} | {at} | {figure} | {each} | {told} | {goal['most']:g} | {met} |")
        what = ""
    return made


def made(text: str) -> str:
    """`text` with the tables between their marks made anew.

    Raises:
        ValueError: the marks are not there.
    """
    for name, content in (("comparison", page()), ("costs", costs())):
        begin, end = (mark.format(name) for mark in MARKS)
        if begin not in text or end not in text:
            raise ValueError(f"table: {PAGE.name} has no marks {begin} and {end}")
        before, rest = text.split(begin, 1)
        text = f"{before}{begin}\n\n{content}\n\n{end}{rest.split(end, 1)[1]}"
    return text


def write() -> None:
    PAGE.write_text(made(PAGE.read_text()))
