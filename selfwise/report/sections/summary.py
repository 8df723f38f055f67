"""The top of the page: what was trained on what, and what it is worth in one sentence."""

from collections.abc import Sequence
from pathlib import Path

from selfwise.core.errors import shorten_folder_names
from selfwise.evaluation.features.text_windows import DEVIATION
from selfwise.evaluation.scores.probe_score import PRETRAINED, RAW, UNTRAINED, format_percent
from selfwise.report.page.parts import Rows, Section
from selfwise.report.sections import glue
from selfwise.runs import records, score_groups
from selfwise.runs.open import Run
from selfwise.runs.record import RunRecord, read_record
from selfwise.runs.score_groups import Measured
from selfwise.training import checkpoint
from selfwise.workflows.describe_runs import spoken

LEARNED = {  # kinds of probe, as a sentence begins
    "linear": "a linear probe gets",
    "weighted": "a linear probe of all layers gets",
    "sgd": "a linear probe, trained as in SimCLR's paper, gets",
    "knn": "its nearest neighbours get",
    "finetune": "fine-tuned, it gets",
}
RECALL = "recall@1"


def sections(folders: Sequence[Path], run: Run | None = None, shown: str = "") -> list[Section]:
    """Method, encoder, data and length of each run, a column for each.

    Args:
        folders: of the runs.
        run: the only one, where it could be opened: its encoder's weights are counted.
        shown: which examples the page shows, in words.
    """
    columns = [_facts(folder) for folder in folders]
    if run is not None:
        count = sum(weight.numel() for weight in run.encoder.parameters())
        columns[0]["encoder"] += f", {count:,} weights"
    if shown:
        columns[0]["shown here"] = shown
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = [[name, *(column.get(name, "") for column in columns)] for name in names]
    several = len(folders) > 1
    head = ["", *shorten_folder_names(folders)] if several else []
    about = "Runs side by side; what differs stands further below." if several else ""
    return [Section("In short", about, [Rows(head, rows)])]


def title(folders: Sequence[Path]) -> str:
    """What the page is about."""
    if len(folders) > 1:
        return f"{len(folders)} runs side by side"
    record = read_record(folders[0])
    return f"{record.method} on {data_named(record.data)}"


def lead(folders: Sequence[Path]) -> str:
    """The best score of each run beside its baselines; nothing where there is no score."""
    said = [best(folder) for folder in folders]
    if len(folders) == 1:
        return said[0]
    return " ".join(
        f"{name}: {text}" for name, text in zip(shorten_folder_names(folders), said) if text
    )


def best(folder: Path) -> str:
    """The highest accuracy that was measured, with its baselines, at the fewest and at the most
    labels; without any, what is retrieved, or the mean on GLUE.

    Raises ValueError for a file among the scores that is none.
    """
    found = score_groups.gathered(records.scores(folder), step=glue.newest_step(folder))
    told = [one for one in found if one.newest]
    probed = [one for one in told if one["kind"] in LEARNED and _output(one)]
    if probed:
        one = max(probed, key=lambda one: one.rows[one.places[-1], PRETRAINED]["mean"])
        return _probed(one)
    retrieved = next((one for one in told if (RECALL, PRETRAINED) in one.rows), None)
    return _retrieved(retrieved) if retrieved else glue.lead(folder)


def _output(one: Measured) -> bool:
    """Whether the encoder's own output was probed."""
    return one["layer"] is None and one["pooling"] in (None, "", DEVIATION)


def _probed(one: Measured) -> str:
    """What a probe gets right at the fewest labels, and at the most."""
    few, *more = dict.fromkeys([one.places[0], one.places[-1]])
    said = f"With {score_groups.labels(few)}, {LEARNED[one['kind']]} {_value(one, few)} of "
    said += f"{one['n_test']:,} test examples right{_baselines(one, few)}."
    for budget in more:
        words = f"With {score_groups.labels(budget)} it is {_value(one, budget)}"
        said += f" {words}{_baselines(one, budget)}."
    return " ".join([said, *one.warnings])


def _retrieved(one: Measured) -> str:
    return (
        f"The nearest of {one['n_test']:,} test examples is of the same class for "
        f"{_value(one, RECALL)}{_baselines(one, RECALL)}."
    )


def _baselines(one: Measured, place: int | str) -> str:
    """What is compared with."""
    words = {RAW: "the raw input", UNTRAINED: "the untrained encoder"}
    told = [f"{words[n]} {_value(one, place, n)}" for n in words if (place, n) in one.rows]
    return f"; {', '.join(told)}" if told else ""


def _value(one: Measured, place: int | str, name: str = PRETRAINED) -> str:
    """In percent; what is compared with without its deviation."""
    row = one.rows[place, name]
    text = score_groups.value(row) if name == PRETRAINED else format_percent(row["mean"], None)
    return f"{text} %"


def data_named(where: str) -> str:
    """Data in a few words: a name as it is, a path by its last two parts."""
    parts = Path(where).parts
    return where if len(parts) < 3 else "/".join(parts[-2:])


def _span(hours: float) -> str:
    """A length of sound."""
    return f"{hours:,.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"


def _facts(folder: Path) -> dict[str, str]:
    """What a reader wants to know first."""
    record = read_record(folder)
    options, info = record.chosen_encoder_options, record.info
    facts = {"method": record.method, "encoder": record.encoder_name}
    if options:
        facts["encoder"] += " with " + ", ".join(f"{n} {spoken(v)}" for n, v in options.items())
    if record.imported:
        return {**facts, "imported from": str(record.imported["from"])}
    facts["data"] = f"{data_named(record.data)}, {info.examples:,} examples"
    if record.modality == "audio":
        facts["data"] += f", {_span(info.hours)}"
    if record.modality == "text":
        facts["data"] += f", {info.tokens:,} tokens"
    newest, _ = checkpoint.latest(folder / "checkpoints")
    done, steps = newest.step if newest else 0, record.steps
    facts["steps"] = f"{steps:,}" if done == steps else f"{done:,} of {steps:,}"
    facts["steps"] += f", each of {in_a_step(record)} examples"
    if start := record.get("start"):
        facts["started from"] = data_named(start)
    return facts


def in_a_step(record: RunRecord) -> str:
    """How many examples are in a step; where seconds of sound decide, their mean is known."""
    return f"{'about ' if record.get('seconds') else ''}{record.option('batch'):,}"
