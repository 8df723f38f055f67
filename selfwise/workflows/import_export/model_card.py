"""The model card of an export: method, training data, scores, and how to load it."""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Literal, NamedTuple

from selfwise.core.plugins import FROM_PYTHON
from selfwise.runs import logs_and_scores
from selfwise.runs.names import IMPORTED
from selfwise.runs.open import Run
from selfwise.runs.reproduce import list_changes
from selfwise.runs.run_yaml import RunRecord, has_record, read_record
from selfwise.runs.score_groups import ScoreGroup, group_scores

FILE = "README.md"
Form = Literal["hf", "timm", "onnx", "safetensors", "word2vec"]
FORMS: Mapping[Form, str] = {
    "hf": "transformers",
    "timm": "timm",
    "onnx": "ONNX",
    "safetensors": "safetensors",
    "word2vec": "word2vec's formats",
}
_LISTED_ELSEWHERE = (
    "data",
    "encoder",
    "init_from",
    "init_tokens",
    "steps",
)  # options with lines of their own
# folders whose names mean nothing without their parent's name
_PARTS = ("train", "training", "val", "valid", "validation", "test", "images", "data")


class Usage(NamedTuple):
    """How to load an export, and the inputs of its model."""

    loading: Sequence[
        str
    ]  # Python that runs inside the folder; each block has a sentence before it
    inputs: Sequence[str]  # lines on the inputs of the model


def write_card(run: Run, form: Form, usage: Usage) -> str:
    """Write the card as Markdown. Paths keep only their last name, since cards may be published."""
    parts = [
        f"# {_write_title(run)}, for {FORMS[form]}",
        *([describe_method(run)] if _is_trained(run) else []),
        "## How to load the model",
        "In this folder:",
        *usage.loading,
        "## Inputs",
        _bullet_list([*usage.inputs, *_describe_precision(run)]),
        "## Training",
        _bullet_list(_describe_training(run)),
        "## Scores",
        *_describe_scores(run),
        "## Licenses",
        _bullet_list(_describe_licences(run)),
    ]
    return "\n\n".join(parts) + "\n"


def _write_title(run: Run) -> str:
    record = run.record
    how = (
        f"pre-trained with {to_markdown(record.method)}"
        if _is_trained(run)
        else "imported and not trained"
    )
    return f"{to_markdown(record.encoder_name)}, {how}"


def _is_trained(run: Run) -> bool:
    """Return whether the method of the run has trained the weights."""
    return not (run.step == 0 and run.record.imported)


def describe_method(run: Run) -> str:
    """Describe the method with its paper: the first paragraph of its module."""
    documented = (sys.modules[type(run.method).__module__].__doc__ or "").strip()
    return " ".join(documented.partition("\n\n")[0].split())


def _describe_precision(run: Run) -> Iterable[str]:
    """Name the difference between these features and those of `selfwise embed`, if any."""
    precision = run.record.option("precision")
    if precision != "float32":
        yield (
            "weights and features are float32; `selfwise embed` computes the features of this run "
            "in bf16 on the kind of machine that trained it, and bf16 differs in the third digit"
        )


def to_markdown(value: object) -> str:
    """Escape text for Markdown; of an absolute path only the last name remains.

    Unprintable characters, such as marks that change the writing direction, become U+FFFD.
    """
    words = " ".join(str(remove_folders(value)).split())
    words = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in words)
    words = re.sub(r"([\\`*{}\[\]<>#|~&]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", words)
    return re.sub(r"(?i)(www)\.|(:)(?=//)|(@)", _break_link, words)  # what GitHub turns into a link


def _break_link(match: re.Match[str]) -> str:
    """Escape the text of an address, so that it is not a link."""
    word = match[0]
    return f"{word[:-1]}\\{word[-1]}"


def remove_folders(value: object) -> object:
    """Remove folders of this machine from the value, also inside lists and mappings."""
    if isinstance(value, Mapping):
        return {name: remove_folders(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [remove_folders(inner) for inner in value]
    if isinstance(value, str):  # mnist:/home/me/data:train
        return ":".join(_last_name(part) for part in value.split(":"))
    return value


def _last_name(path: str) -> str:
    pure = PurePath(path)
    if not pure.is_absolute():
        return path
    common = pure.name.lower() in _PARTS and pure.parent.name
    return f"{pure.parent.name}/{pure.name}" if common else pure.name


def _describe_training(run: Run) -> Iterable[str]:
    """Describe data, steps, options and versions."""
    record = run.record
    environment = record.environment
    yield f"data: {_describe_data(record)}"
    counted = {n: v for n, v in record.info if isinstance(v, int | float) and v}
    if counted:
        yield "counted: " + ", ".join(f"{to_markdown(n)} {v:,}" for n, v in counted.items())
    if record.info.fingerprint:
        yield f"data fingerprint: {to_markdown(record.info.fingerprint)}"
    yield from _describe_origin(record)
    if _is_trained(run):
        yield f"steps: {run.step:,} of {record.steps:,}"
    encoder = to_markdown(record.encoder_name)
    yield f"encoder: {encoder}{_list_options(record.chosen_encoder_options)}"
    run_values = {
        n: c.value
        for n, c in list_changes(record).items()
        if n.partition(".")[0] not in _LISTED_ELSEWHERE
    }
    changed = _list_options(run_values).removeprefix(", ")
    yield f"options that differ from the defaults: {changed or 'none'}"
    versions = {n: environment[n] for n in ("selfwise", "torch", "commit") if environment.get(n)}
    yield f"trained with{_list_options(versions).removeprefix(',')}"
    yield f"SHA-256 of the run's weights: {run.weights}"


def _describe_origin(record: RunRecord) -> Iterable[str]:
    """Describe the start of the weights, through earlier runs as far as their folders exist."""
    seen: set[str] = set()
    while (start := record.get("init_from", "")) and start not in seen:
        seen.add(start)
        if not has_record(Path(start)):
            gone = "whose folder no longer exists: its data are unknown"
            yield f"started from the run {to_markdown(start)}, {gone}"
            return
        record = read_record(Path(start))
        how = (
            f", {to_markdown(record.method)} on {to_markdown(record.data)}"
            if _is_named(record)
            else ""
        )
        yield f"started from the run {to_markdown(start)}{how}"
    if tokens := record.get("init_tokens", ""):
        own = tokens == "word2vec"
        source = "skip-gram on the same text" if own else f"the run {to_markdown(tokens)}"
        yield f"token table from {source}"
    if imported := record.imported:
        family = to_markdown(imported["family"])
        yield f"weights imported from {to_markdown(imported['from'])} ({family})"
    if record.encoder_options.get("pretrained"):
        yield f"weights published with timm as {to_markdown(record.encoder_name)}"


def _is_named(record: RunRecord) -> bool:
    return record.data not in (IMPORTED, FROM_PYTHON)


def _describe_data(record: RunRecord) -> str:
    if _is_named(record):
        return to_markdown(record.data)
    imported = record.data == IMPORTED
    return "none; the weights were imported" if imported else "given in Python"


def _list_options(values: Mapping[str, object]) -> str:
    return "".join(f", {to_markdown(name)} {to_markdown(value)}" for name, value in values.items())


def _describe_scores(run: Run) -> list[str]:
    """Write a table and sentences for every score of these weights."""
    files = [
        f
        for f in logs_and_scores.read_scores(run.folder)
        if f.get("weights", run.weights) == run.weights
    ]
    if not files:
        return ["Not measured yet; `selfwise probe` measures it."]
    return [part for one in group_scores(files, step=run.step) for part in _describe_score(one)]


def _describe_score(one: ScoreGroup) -> list[str]:
    head, *lines = [[to_markdown(cell) for cell in line] for line in one.table()]
    table = [head, ["---"] * len(head), *lines]
    where = one["data"] or {}
    of = f" of {to_markdown(where['test'])}" if where.get("test") else ""
    return [
        f"{to_markdown(one.title)}, in percent ± deviation, {one['n_test']:,} test examples{of}:",
        "\n".join(f"| {' | '.join(line)} |" for line in table),
        *(
            [_bullet_list(to_markdown(sentence) for sentence in one.sentences)]
            if one.sentences
            else []
        ),
    ]


def _describe_licences(run: Run) -> Iterable[str]:
    record = run.record
    yield "the code of selfwise: Apache License 2.0"
    started = {
        "published weights of timm": record.encoder_options.get("pretrained"),
        "imported weights": bool(record.imported),
        "the weights of an earlier run": record.get("init_from"),
    }
    of = [what for what, is_so in started.items() if is_so]
    if of:
        yield f"these weights began as {' and '.join(of)}, whose license applies to them too"
    yield "these weights: ask their author, who knows the license of the data"


def _bullet_list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
