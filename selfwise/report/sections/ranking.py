"""Which of several runs is the best, by a score that they share."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from selfwise.core.errors import shorten_folder_names
from selfwise.evaluation.scores.names import PRETRAINED, RETRIEVAL
from selfwise.evaluation.scores.proportions import compare_shares, wilson_interval
from selfwise.report.page.parts import Command, Paragraphs, Part, Section, Table
from selfwise.report.sections.glue import find_newest_step
from selfwise.runs import logs_and_scores
from selfwise.runs.score_groups import (
    EXAMPLE_KEYS,
    KINDS,
    MEASUREMENT_KEYS,
    Row,
    ScoreGroup,
    describe_budget,
    format_row,
    group_scores,
    is_final_output,
)
from selfwise.workflows.verdict import format_probe_command

TITLE = "Ranking"
HEAD = ["rank", "run", "%", "95 % interval", "compared with the first"]
CAPTION = (
    "Intervals are over the test examples (Wilson). The noise is judged as for independent test "
    "sets (Newcombe), which is cautious for a shared test set. Each run is one training: another "
    "seed may change the order."
)


class SharedScore(NamedTuple):
    """One number of several runs, measured alike on the same examples."""

    groups: Mapping[str, ScoreGroup]  # by run
    place: int | str  # label budget or measure

    @property
    def group(self) -> ScoreGroup:
        return next(iter(self.groups.values()))

    def get_row(self, name: str) -> Row:
        """Return the row of a run."""
        return self.groups[name].rows[self.place, PRETRAINED]

    @property
    def is_final(self) -> bool:
        return is_final_output(self.group)


def build_sections(folders: Sequence[Path]) -> list[Section]:
    """Return a table of the runs, the best first; none for a single run.

    Raises ValueError for a file among the scores that is not a score.
    """
    if len(folders) < 2:
        return []
    by_name = dict(zip(shorten_folder_names(folders), folders))
    scores = {name: _read_newest(folder) for name, folder in by_name.items()}
    shared = choose_shared_score(scores)
    if shared is None:
        return [_build_unranked_section(by_name, scores)]
    ranked = sorted(shared.groups, key=lambda name: -shared.get_row(name)["mean"])
    rows = [_format_rank(shared, ranked, name) for name in ranked]
    behind = [name for name in by_name if name not in ranked]
    rows += [["", name, "", "", _explain_missing(scores[name])] for name in behind]
    parts: list[Part] = [Table(HEAD, rows, CAPTION)]
    if behind:
        parts.append(Paragraphs(["To rank the rest as well, probe them on the same examples:"]))
        parts += [Command(_format_command(by_name[name], shared)) for name in behind]
    return [Section(TITLE, _describe_shared(shared), parts)]


def choose_shared_score(scores: Mapping[str, Sequence[ScoreGroup]]) -> SharedScore | None:
    """The number that most runs share; of several such, of the encoder's output, by the first kind
    of probe, with the most labels. None where no two runs share one.

    Args:
        scores: of the newest weights of each run.
    """
    shared: dict[tuple[object, ...], dict[str, ScoreGroup]] = {}
    for name, groups in scores.items():
        for group in groups:
            alike = tuple(group[key] for key in (*MEASUREMENT_KEYS, *EXAMPLE_KEYS))
            for place in group.places:
                shared.setdefault((*alike, place), {}).setdefault(name, group)
    candidates = [SharedScore(groups, key[-1]) for key, groups in shared.items() if len(groups) > 1]  # type: ignore[arg-type] # the last one is a place
    return max(candidates, key=_weigh, default=None)


def _weigh(shared: SharedScore) -> tuple[float, ...]:
    """Larger for what runs are better ranked by."""
    kinds, kind = list(KINDS), shared.group["kind"]
    rank = kinds.index(kind) if kind in kinds else len(kinds)
    if kind == RETRIEVAL:
        labels = -float(shared.group.places.index(shared.place))
    else:
        labels = float("inf") if isinstance(shared.place, str) else float(shared.place)
    return (len(shared.groups), shared.is_final, -rank, labels)


def _read_newest(folder: Path) -> list[ScoreGroup]:
    groups = group_scores(logs_and_scores.read_scores(folder), step=find_newest_step(folder))
    return [group for group in groups if group.newest]


def _format_rank(shared: SharedScore, ranked: Sequence[str], name: str) -> list[str]:
    """Return a line of the table."""
    n = shared.group["n_test"]
    first, row = shared.get_row(ranked[0]), shared.get_row(name)
    low, high = (100 * end for end in wilson_interval(_clip(row["mean"]), n))
    behind, _ = compare_shares(_clip(first["mean"]), _clip(row["mean"]), n=n)
    if name == ranked[0]:
        mark = "the first"
    else:
        points = f"{100 * (row['mean'] - first['mean']):+.1f}"
        mark = f"{points}, {'beyond the noise' if behind > 0 else 'within the noise of the first'}"
    cells = [name, format_row(row), f"{low:.1f} to {high:.1f}", mark]
    return [str(ranked.index(name) + 1), *cells]


def _clip(share: float) -> float:
    """Return sums of floats round, so that a share may be a little above 1."""
    return min(1.0, max(0.0, share))


def _describe_shared(shared: SharedScore) -> str:
    """Describe the score that ranks the runs."""
    group, place = shared.group, shared.place
    at = place if group["kind"] == RETRIEVAL else f"with {describe_budget(place)}"
    data = f" of {group.test_data}" if group.test_data else ""
    return (
        f"Ranked by the score that the runs share: {group.title}, {at}, {group['n_test']:,} test "
        f"examples{data}."
    )


def _explain_missing(groups: Sequence[ScoreGroup]) -> str:
    """Explain why a run has no rank."""
    if not groups:
        return "not yet measured"
    return "measured with other settings or on other examples"


def _format_command(folder: Path, shared: SharedScore) -> str:
    """Return the command that gives a run the number that the runs share."""
    labels = isinstance(shared.place, int)
    return format_probe_command(
        folder, shared.group, f"--labels-per-class {shared.place}" if labels else ""
    )


def _build_unranked_section(
    folders: Mapping[str, Path], scores: Mapping[str, Sequence[ScoreGroup]]
) -> Section:
    """Return how to make the runs comparable, where no two of them share a score."""
    model = next((groups[0] for groups in scores.values() if groups), None)
    about = "No two runs share a score, so they cannot be ranked."
    missing = [f for name, f in folders.items() if model is None or model not in scores[name]]
    sentence = "Probe them on the same labeled examples:"
    commands = [Command(format_probe_command(folder, model)) for folder in missing]
    return Section(TITLE, about, [Paragraphs([sentence]), *commands])
