"""Sentences below a table of scores: neighbors that vote, choices, and encoder with raw input."""

from collections import Counter
from collections.abc import Mapping, Sequence

from selfwise.evaluation.scores.bootstrap import Interval, describe_difference
from selfwise.evaluation.scores.names import COMBINED

VOTE = "nearest neighbors vote"  # in the sentence on how many
CHOICE = "the training labels chose"  # in the sentence on layers, poolings and weights
MAX_CHOICES = 3  # of a competitor that are named


def describe_neighbours(labelled: str, voted: Mapping[str, Sequence[int]]) -> list[str]:
    """Return how many neighbors voted for each competitor; nothing of probes that have none."""
    counts = [f"{name} {_format_span(ks)}" for name, ks in voted.items() if ks]
    return [f"With {labelled}, so many {VOTE}: {', '.join(counts)}."] if counts else []


def _format_span(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low}" if low == high else f"{low} to {high}"


def describe_choices(labelled: str, chosen: Mapping[str, Sequence[str]]) -> list[str]:
    """Return which features each competitor chose, the most frequent first; nothing of competitors
    without a choice."""
    parts = [f"{name}: {_count_choices(names)}" for name, names in chosen.items() if names]
    return [f"With {labelled}, {CHOICE}, for {'; for '.join(parts)}."] if parts else []


def _count_choices(names: Sequence[str]) -> str:
    """Return `layer 1 (4 of 5), output (1 of 5)`, or `layer 1` if there is one choice."""
    counts = Counter(names).most_common()
    if len(counts) == 1:
        return counts[0][0]
    texts = [f"{name} ({count} of {len(names)})" for name, count in counts[:MAX_CHOICES]]
    more = len(counts) - MAX_CHOICES
    return ", ".join([*texts, f"{more} more"] if more > 0 else texts)


def describe_parts(labelled: str, parts: Mapping[str, tuple[float, Interval]]) -> list[str]:
    """Compare encoder and raw input together with each of the two alone, if that was measured."""
    against = [describe_difference(name, *one) for name, one in parts.items()]
    return [f"With {labelled}, {COMBINED} against {'; '.join(against)}."] if against else []
