"""Judge a run by a table that `selfwise glue` has written."""

from collections.abc import Mapping
from typing import Any, Literal

from selfwise.evaluation.scores.bootstrap import ABOVE, WORSE
from selfwise.evaluation.scores.names import UNTRAINED, WORDS


def judge_glue_table(
    table: Mapping[str, Any], raw_names: Mapping[str, str]
) -> tuple[Literal["better", "mixed", "no better", "not measured"], str, str]:
    """Return the level, the sentences and the task of a table, over its dev sets."""
    names = {UNTRAINED: "the untrained encoder", WORDS: raw_names["text"]}
    against = {row["column"]: row["against"] for row in table["rows"] if row["against"]}
    baselines = [name for name in names if any(name in one for one in against.values())]
    title = f"GLUE, {table['mode']}"
    if not baselines:
        return "not measured", f"{title}: no baseline was measured, so it cannot be judged.", title
    compared = {
        column: {name: other for name, other in one.items() if name in names}
        for column, one in against.items()
    }
    better = [
        column
        for column, one in compared.items()
        if one and all(other["verdict"].startswith(ABOVE) for other in one.values())
    ]
    rest = [column for column in against if column not in better]
    rivals = " and than ".join(names[name] for name in baselines)
    text = f"{title}: better than {rivals}, beyond the noise, on {len(better)} of {len(against)}"
    text += f" dev sets{f' ({_join(better)})' if better and rest else ''}."
    below = [c for c, one in compared.items() if WORDS in one and _is_worse(one[WORDS])]
    if not better:
        text = f"{title}: not better than {rivals}, beyond the noise, on any of {_join(rest)}."
    text += f" It is below {names[WORDS]} on {_join(below)}." if below else ""
    return ("mixed" if rest else "better") if better else "no better", text, title


def _is_worse(against: Mapping[str, Any]) -> bool:
    """Return whether a baseline is better, beyond the noise."""
    return str(against["verdict"]).startswith(WORSE)


def _join(columns: list[str]) -> str:
    return ", ".join(columns)
