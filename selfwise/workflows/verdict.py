"""Judge in a sentence or two whether an encoder is worth having, from the scores of its run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any, Literal, NamedTuple

from selfwise.core.plugins import FROM_PYTHON
from selfwise.evaluation.scores.bootstrap import ABOVE, WITHIN, WORSE, judge_interval
from selfwise.evaluation.scores.names import (
    RAW,
    RAW_NAMES,
    RETRIEVAL,
    SUPERVISED,
    UNTRAINED,
)
from selfwise.evaluation.scores.probe_score import ProbeScore
from selfwise.evaluation.scores.retrieval_score import RetrievalScore
from selfwise.runs import logs_and_scores
from selfwise.runs.score_groups import (
    ALL,
    EXAMPLE_KEYS,
    Row,
    ScoreGroup,
    count_seeds,
    describe_budget,
    group_scores,
    is_final_output,
)
from selfwise.training import checkpoint
from selfwise.workflows.verdict_glue import judge_glue_table

Level = Literal["better", "mixed", "no better", "not measured"]

NAMES = {UNTRAINED: "the untrained encoder", SUPERVISED: "the supervised baseline"}
BEYOND = ", beyond the noise"
FEW_TEST_EXAMPLES = 200  # below it, an interval is wider than most differences
PLACES = "--train PATH --test PATH"  # placeholder for the user's labeled examples


class Verdict(NamedTuple):
    """The worth of a run on one task."""

    level: Level
    text: str  # one sentence or two
    basis: str = ""  # the evidence behind it
    task: str = ""  # location of the test examples
    command: str = ""  # the command that measures it, if it is not measured yet

    def __str__(self) -> str:
        return " ".join(part for part in (self.text, self.command, self.basis) if part)


class Relation(NamedTuple):
    """The encoder compared with one competitor."""

    name: str  # in words
    judgement: str  # ABOVE, WITHIN or WORSE
    row: Row


def judge_run(
    folder: Path,
    modality: str,
    groups: Sequence[ScoreGroup],
    glue_tables: Sequence[Mapping[str, Any]] = (),
) -> list[Verdict]:
    """Return a verdict for each task that the newest weights were measured on; at least one.

    Args:
        folder: folder of the run.
        modality: modality of the run, which determines its raw input.
        groups: scores of the run, in the order of `group_scores`.
        glue_tables: GLUE tables of the run, of the newest weights.
    """
    tasks: dict[tuple[object, ...], list[ScoreGroup]] = {}
    for group in groups:
        if group.newest:
            tasks.setdefault(tuple(group[key] for key in EXAMPLE_KEYS), []).append(group)
    verdicts = [_judge_task(group, modality) for group in tasks.values()]
    judged = [judge_glue_table(table, RAW_NAMES) for table in glue_tables]
    verdicts += [Verdict(level, text, task=title) for level, text, title in judged]
    return verdicts or [_write_unmeasured(folder, groups)]


def read_verdicts(folder: Path, modality: str) -> list[Verdict]:
    """Read the verdicts of `judge_run` from the files of the run folder.

    Raises ValueError for a broken score file.
    """
    newest, _ = checkpoint.find_latest(folder / "checkpoints")
    step = newest.step if newest else 0
    groups = group_scores(logs_and_scores.read_scores(folder), step=step)
    tables = logs_and_scores.read_glue_tables(folder)
    return judge_run(folder, modality, groups, [one for one in tables if one["step"] == step])


def describe_verdict(verdict: Verdict, *, named: bool) -> str:
    """Format the verdict in one line, with its task in front if there are several."""
    is_named = named and verdict.task and not verdict.text.startswith(verdict.task)
    return f"On {verdict.task}: {verdict}" if is_named else str(verdict)


def choose_main_score(groups: Sequence[ScoreGroup]) -> ScoreGroup:
    """Return the deciding score: of the encoder's own output, the first kind in order."""
    return next((group for group in groups if is_final_output(group)), groups[0])


def judge_score(group: ScoreGroup, modality: str) -> Verdict:
    """Return the verdict of one score, with its basis."""
    outcomes = _list_outcomes(group, modality)
    if not outcomes:
        text = "This score holds no differences to baselines, so it cannot be judged."
        return Verdict("not measured", text, task=group.test_data)
    merged = _merge_outcomes(outcomes)
    if len(merged) == 1:
        places, relations = merged[0]
        clauses = [f"{_describe_relations(places, relations)}, {_format_places(group, places)}"]
    else:
        clauses = [
            f"{_format_places(group, places)}, {_describe_relations(places, relations)}"
            for places, relations in merged
        ]
    sentences = [f"{text[0].upper()}{text[1:]}." for text in clauses]
    sentences += _describe_supervised(group)
    basis = " ".join([_describe_basis(group), *_describe_few_examples(group)])
    better = [all(r.judgement == ABOVE for r in relations) for _, relations in outcomes]
    level: Level = "better" if all(better) else "mixed" if any(better) else "no better"
    return Verdict(level, " ".join(sentences), basis, group.test_data)


def judge_result(score: ProbeScore | RetrievalScore, modality: str) -> Verdict:
    """Return the verdict of a new score."""
    return judge_score(ScoreGroup([score.to_dict()], newest=True), modality)


def format_probe_command(folder: Path, score: ScoreGroup | None = None, options: str = "") -> str:
    """Format the command that probes a run, on the examples of a score if it names them."""
    data = (score["data"] if score else None) or {}
    named = {name: data.get(name) for name in ("train", "test")}
    if named["train"] in (None, "", FROM_PYTHON) or named["test"] == FROM_PYTHON:
        examples = PLACES
    else:
        examples = " ".join(f"--{name} {quote(str(v))}" for name, v in named.items() if v)
    kind = score["kind"] if score else "linear"
    kind_option = "" if kind == "linear" else f" --kind {kind}"
    return f"selfwise probe {quote(str(folder))} {examples}{kind_option}{options and ' '}{options}"


def _judge_task(groups: Sequence[ScoreGroup], modality: str) -> Verdict:
    """Return the verdict of the main score, and name other probes of the output that disagree."""
    main = choose_main_score(groups)
    verdict = judge_score(main, modality)
    others = [
        (group.title, judge_score(group, modality).level)
        for group in groups
        if group is not main and is_final_output(group)
    ]
    words = {"better": "better", "mixed": "better at some", "no better": "no better"}
    differing = [f"{t}: {words[v]}" for t, v in others if v in words and v != verdict.level]
    if not differing:
        return verdict
    return verdict._replace(basis=f"{verdict.basis} Other probes differ ({', '.join(differing)}).")


def _write_unmeasured(folder: Path, groups: Sequence[ScoreGroup]) -> Verdict:
    """Return the verdict of weights without a score."""
    steps = [group["step"] for group in groups if group["step"] is not None]
    text = "Not yet measured: run"
    if steps:
        text = f"The newest weights are not yet measured (the scores are of step {steps[0]:,}): run"
    command = format_probe_command(folder, groups[0] if groups else None)
    return Verdict("not measured", text, command=command)


Outcome = tuple[int | str, list[Relation]]  # a label budget or measure, and the comparisons there


def _list_outcomes(group: ScoreGroup, modality: str) -> list[Outcome]:
    """Return the comparisons with the two baselines, at each place that has any."""
    names = {**NAMES, RAW: RAW_NAMES.get(modality, "the raw input")}
    rows, outcomes = group.rows, []
    for place in group.places:
        relations = [
            Relation(names[name], judge_interval((row["low"], row["high"])), row)
            for name in (UNTRAINED, RAW)
            if "difference" in (row := rows.get((place, name), {}))
        ]
        outcomes += [(place, relations)] if relations else []
    return outcomes


def _merge_outcomes(
    outcomes: Sequence[Outcome],
) -> list[tuple[list[int | str], list[Relation]]]:
    """Merge places with equal outcomes, with the comparisons of the last of them."""
    merged: dict[tuple[tuple[str, str], ...], tuple[list[int | str], list[Relation]]] = {}
    for place, relations in outcomes:
        key = tuple((relation.name, relation.judgement) for relation in relations)
        places = [*merged.get(key, ([], []))[0], place]
        merged[key] = (places, relations)
    return list(merged.values())


def _describe_relations(places: Sequence[int | str], relations: Sequence[Relation]) -> str:
    """Write a clause: `better than the untrained encoder and than raw pixels, beyond the noise`.

    A disadvantage of the encoder comes first if its raw input is not beaten.
    """
    rivals: dict[str, list[str]] = {}
    for one in relations:
        shown = len(places) == 1 and one.judgement == WITHIN
        numbers = _format_interval(one.row) if shown else ""
        rivals.setdefault(one.judgement, []).append(f"than {one.name}{numbers}")
    better, worse = (
        [f"{word} {' and '.join(rivals[judgement])}{BEYOND}"] if judgement in rivals else []
        for word, judgement in (("better", ABOVE), ("worse", WORSE))
    )
    if WITHIN in rivals:
        worse.append(f"no better {' or '.join(rivals[WITHIN])}, within the noise")
    parts = [better, worse] if relations[-1].judgement == ABOVE else [worse, better]
    clauses = [", and ".join(part) for part in parts if part]
    if all(clause.endswith(BEYOND) for clause in clauses):  # once is enough
        clauses[:-1] = [clause.removesuffix(BEYOND) for clause in clauses[:-1]]
    return ", but ".join(clauses)


def _format_interval(row: Row) -> str:
    """Format the difference in points, with its interval."""
    low, high = 100 * row["low"], 100 * row["high"]
    return f" ({100 * row['difference']:+.1f} points, 95 % interval {low:+.1f} to {high:+.1f})"


def _format_places(group: ScoreGroup, places: Sequence[int | str]) -> str:
    """Describe label budgets or measures: `with 10 and 50 labels per class and with all labels`."""
    if group["kind"] == RETRIEVAL:
        return f"in {' and '.join(str(place) for place in places)}"
    numbers = [str(place) for place in places if place != ALL]
    listed = " and ".join([", ".join(numbers[:-1]), numbers[-1]] if numbers[1:] else numbers)
    texts = [f"with {listed} labels per class"] if numbers else []
    texts += [f"with {describe_budget(ALL)}"] if ALL in places else []
    return " and ".join(texts)


def _describe_supervised(group: ScoreGroup) -> list[str]:
    """Compare the encoder with training on the labels alone, if that was measured."""
    words = {ABOVE: "It is also better than {}", WITHIN: "It is within the noise of {}"}
    places: dict[str, list[int | str]] = {}
    for place in group.places:
        row = group.rows.get((place, SUPERVISED), {})
        if "difference" in row:
            places.setdefault(judge_interval((row["low"], row["high"])), []).append(place)
    return [
        f"{words.get(judgement, 'It is worse than {}').format(NAMES[SUPERVISED])} "
        f"{_format_places(group, at)}."
        for judgement, at in places.items()
    ]


def _describe_basis(group: ScoreGroup) -> str:
    """Describe the verdict's basis: probe, test examples, and a single training run."""
    rows = group.rows
    drawn = [rows[key] for key in rows if key[0] != ALL and group["kind"] != RETRIEVAL]
    once = bool(drawn) and max(map(count_seeds, drawn)) == 1
    draws = ", with labels drawn once" if once else ""
    article = "" if group["kind"] in (RETRIEVAL, "finetune") else "a "
    return (
        f"This is one training run, measured by {article}{group.title} on {group['n_test']:,} "
        f"test examples{draws}."
    )


def _describe_few_examples(group: ScoreGroup) -> list[str]:
    """State how large a difference must be to show, if the test set is small."""
    widths = [row["high"] - row["low"] for row in group.rows.values() if "difference" in row]
    if group["n_test"] >= FEW_TEST_EXAMPLES or not widths:
        return []
    points = 50 * max(widths)
    return [f"So few test examples show only differences above about {points:.0f} points."]
