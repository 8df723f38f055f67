"""Advise which features to use: the encoder's, the raw input, or both together."""

from collections.abc import Callable, Mapping, Sequence

from selfwise.evaluation.scores.bootstrap import ABOVE, judge_interval
from selfwise.evaluation.scores.names import COMBINED, PRETRAINED, RAW
from selfwise.runs.score_groups import Row, ScoreGroup

Place = int | str  # a label budget


def advise_features(
    group: ScoreGroup, raw: str, format_places: Callable[[Sequence[Place]], str]
) -> list[str]:
    """Return a sentence for each different advice; none if the two were not measured together.

    The advice is the simplest features that nothing beats beyond the noise: first the raw input,
    which needs no encoder, then the encoder, then both.

    Args:
        group: the score.
        raw: the raw input in words.
        format_places: describes label budgets, as in `with 10 labels per class`.
    """
    rows, advice = group.rows, dict[tuple[str, str], list[Place]]()
    for place in group.places:
        against = rows.get((place, COMBINED), {}).get("against", {})
        row = rows.get((place, RAW), {})
        if {PRETRAINED, RAW} <= set(against) and "difference" in row:
            advice.setdefault(_choose(row, against, raw), []).append(place)
    return [f"Use {what} {format_places(at)}: {why}." for (what, why), at in advice.items()]


def _choose(encoder_row: Row, against: Mapping[str, Row], raw: str) -> tuple[str, str]:
    """Return what to use at one label budget, and why."""
    encoder_wins = _is_above(encoder_row)
    adds_to_encoder, adds_to_raw = (_is_above(against[name]) for name in (PRETRAINED, RAW))
    if not (encoder_wins or adds_to_raw):
        reason = "neither the encoder nor both together are better, beyond the noise"
        return f"{raw} alone", reason
    if encoder_wins and not adds_to_encoder:
        reason = f"it is better than {raw}, beyond the noise, and both together are not better"
        return "the encoder alone", f"{reason} than the encoder"
    both = f"the encoder and {raw} together"
    if adds_to_encoder and adds_to_raw:
        return both, "together they are better than each alone, beyond the noise"
    better, rest = (raw, "the encoder alone is not") if adds_to_raw else ("the encoder", "")
    return both, f"together they are better than {better}, beyond the noise" + (
        f"; {rest}" if rest else ""
    )


def _is_above(row: Row) -> bool:
    return judge_interval((row["low"], row["high"])) == ABOVE
