"""The top of the page: method, data, and the main score in one sentence."""

from collections.abc import Sequence
from pathlib import Path

from selfwise.core.errors import shorten_folder_names
from selfwise.evaluation.scores.names import PRETRAINED, RAW, UNTRAINED
from selfwise.evaluation.scores.probe_score import format_percent
from selfwise.report.page.parts import Section, Table
from selfwise.report.sections import glue
from selfwise.runs import logs_and_scores, score_groups
from selfwise.runs.open import Run
from selfwise.runs.run_yaml import RunRecord, read_record
from selfwise.runs.score_groups import ScoreGroup, is_final_output
from selfwise.training import checkpoint
from selfwise.workflows.describe_runs import format_value

KIND_PHRASES = {  # kinds of probe, as a sentence begins
    "linear": "a linear probe gets",
    "weighted": "a linear probe of all layers gets",
    "sgd": "a linear probe, trained as in SimCLR's paper, gets",
    "knn": "its nearest neighbors get",
    "finetune": "fine-tuned, it gets",
}
RECALL = "recall@1"


def build_sections(
    folders: Sequence[Path], run: Run | None = None, examples_about: str = ""
) -> list[Section]:
    """Method, encoder, data and length of each run, a column for each.

    Args:
        folders: of the runs.
        run: the only one, where it could be opened: its encoder's weights are counted.
        examples_about: which examples the page shows, in words.
    """
    columns = [_list_facts(folder) for folder in folders]
    if run is not None:
        count = sum(weight.numel() for weight in run.encoder.parameters())
        columns[0]["encoder"] += f", {count:,} weights"
    if examples_about:
        columns[0]["shown here"] = examples_about
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = [[name, *(column.get(name, "") for column in columns)] for name in names]
    several = len(folders) > 1
    head = ["", *shorten_folder_names(folders)] if several else []
    about = "Runs side by side; the differences are further below." if several else ""
    return [Section("In short", about, [Table(head, rows)])]


def write_title(folders: Sequence[Path]) -> str:
    """Return the title of the page."""
    if len(folders) > 1:
        return f"{len(folders)} runs side by side"
    record = read_record(folders[0])
    return f"{record.method} on {name_training_data(record)}"


def write_lead(folders: Sequence[Path]) -> str:
    """Return the best score of a run with its baselines; "" without one, and for several runs,
    whose scores are in the ranking."""
    return describe_best_score(folders[0]) if len(folders) == 1 else ""


def describe_best_score(folder: Path) -> str:
    """Return the highest accuracy that was measured, with its baselines, at the fewest and at the
    most labels; without any, what is retrieved, or the mean on GLUE.

    Raises ValueError for a file among the scores that is none.
    """
    scores = score_groups.group_scores(
        logs_and_scores.read_scores(folder), step=glue.find_newest_step(folder)
    )
    newest = [score for score in scores if score.newest]
    final_scores = [
        score for score in newest if score["kind"] in KIND_PHRASES and is_final_output(score)
    ]
    if final_scores:
        score = max(
            final_scores, key=lambda score: score.rows[score.places[-1], PRETRAINED]["mean"]
        )
        return _describe_probe(score)
    retrieval = next((score for score in newest if (RECALL, PRETRAINED) in score.rows), None)
    return _describe_retrieval(retrieval) if retrieval else glue.write_lead(folder)


def _describe_probe(score: ScoreGroup) -> str:
    """Describe the accuracy of a probe at the fewest labels, and at the most."""
    few, *budgets = dict.fromkeys([score.places[0], score.places[-1]])
    sentence = (
        f"With {score_groups.describe_budget(few)}, {KIND_PHRASES[score['kind']]} "
        f"{_format_score(score, few)} of {score['n_test']:,} test examples right"
        f"{_describe_baselines(score, few)}."
    )
    for budget in budgets:
        start = f"With {score_groups.describe_budget(budget)} it is {_format_score(score, budget)}"
        sentence += f" {start}{_describe_baselines(score, budget)}."
    return " ".join([sentence, *score.warnings])


def _describe_retrieval(score: ScoreGroup) -> str:
    return (
        f"The nearest of {score['n_test']:,} test examples shares its class for "
        f"{_format_score(score, RECALL)}{_describe_baselines(score, RECALL)}."
    )


def _describe_baselines(score: ScoreGroup, place: int | str) -> str:
    """Describe the scores of the baselines."""
    words = {RAW: "the raw input", UNTRAINED: "the untrained encoder"}
    texts = [
        f"{words[n]} {_format_score(score, place, n)}" for n in words if (place, n) in score.rows
    ]
    return f"; {', '.join(texts)}" if texts else ""


def _format_score(score: ScoreGroup, place: int | str, name: str = PRETRAINED) -> str:
    """In percent; what is compared with without its deviation."""
    row = score.rows[place, name]
    text = score_groups.format_row(row) if name == PRETRAINED else format_percent(row["mean"], None)
    return f"{text} %"


def shorten_data_name(where: str) -> str:
    """Shorten the name of data: keep a name, and the last two parts of a path."""
    parts = Path(where).parts
    return where if len(parts) < 3 else "/".join(parts[-2:])


def name_training_data(record: RunRecord) -> str:
    """Return the short names of all sources of a run."""
    return " + ".join(map(shorten_data_name, record.sources))


def _format_duration(hours: float) -> str:
    """Return a length of sound."""
    return f"{hours:,.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"


def _list_facts(folder: Path) -> dict[str, str]:
    """List the main facts on a run."""
    record = read_record(folder)
    options, info = record.chosen_encoder_options, record.info
    facts = {"method": record.method, "encoder": record.encoder_name}
    if options:
        facts["encoder"] += " with " + ", ".join(
            f"{n} {format_value(v)}" for n, v in options.items()
        )
    if record.imported:
        return {**facts, "imported from": str(record.imported["from"])}
    facts["data"] = f"{name_training_data(record)}, {info.examples:,} examples"
    if record.modality == "audio":
        facts["data"] += f", {_format_duration(info.hours)}"
    if record.modality == "text":
        facts["data"] += f", {info.tokens:,} tokens"
    newest, _ = checkpoint.find_latest(folder / "checkpoints")
    step, steps = newest.step if newest else 0, record.steps
    facts["steps"] = f"{steps:,}" if step == steps else f"{step:,} of {steps:,}"
    facts["steps"] += f", each of {describe_batch(record)} examples"
    if start := record.get("init_from"):
        facts["started from"] = shorten_data_name(start)
    if tokens := record.get("init_tokens"):
        facts["token table from"] = shorten_data_name(str(tokens))
    return facts


def describe_batch(record: RunRecord) -> str:
    """Return how many examples are in a step; where seconds of sound decide, their mean is
    known."""
    return f"{'about ' if record.get('batch_seconds') else ''}{record.option('batch_size'):,}"
