"""The card beside an export: what was trained, on what, what it is worth, how it is loaded."""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from selfwise.core.plugins import FROM_PYTHON
from selfwise.runs import records
from selfwise.runs.names import IMPORTED
from selfwise.runs.open import Run
from selfwise.runs.record import RunRecord, has_record, read_record
from selfwise.runs.reproduce import list_changes
from selfwise.runs.score_groups import Measured, gathered

FILE = "README.md"
FORMS = {"hf": "transformers", "timm": "timm", "onnx": "ONNX", "safetensors": "safetensors"}
_SAID = ("data", "encoder", "start", "steps")  # elsewhere on the card
# folders whose names say nothing without that of the folder around them
_PARTS = ("train", "training", "val", "valid", "validation", "test", "images", "data")


class Use(NamedTuple):
    """What a card says of an export besides what it says of the run."""

    loading: Sequence[str]  # Python that runs inside the folder, each block with a sentence before
    given: Sequence[str]  # lines on what the model is given


def card(run: Run, form: str, use: Use) -> str:
    """Markdown. Of a path only the last name is kept: a card may be published."""
    parts = [
        f"# {_title(run)}, for {FORMS[form]}",
        *([about(run)] if _trained(run) else []),
        "## How to load it",
        "In this folder:",
        *use.loading,
        "## What it is given",
        _list([*use.given, *_precision(run)]),
        "## How it was trained",
        _list(_training(run)),
        "## What it is worth",
        *_worth(run),
        "## Licences",
        _list(_licences(run)),
    ]
    return "\n\n".join(parts) + "\n"


def _title(run: Run) -> str:
    name, made = run.record.encoder_name, run.record.method
    how = f"pre-trained with {plain(made)}" if _trained(run) else "imported and not trained"
    return f"{plain(name)}, {how}"


def _trained(run: Run) -> bool:
    """Whether the weights are what its method made of them."""
    return not (run.step == 0 and run.record.imported)


def about(run: Run) -> str:
    """The method's idea with its paper, as the first paragraph of its module says it."""
    told = (sys.modules[type(run.method).__module__].__doc__ or "").strip()
    return " ".join(told.partition("\n\n")[0].split())


def _precision(run: Run) -> Iterable[str]:
    """What keeps the features from being those of `selfwise embed`."""
    precision = run.record.option("precision")
    if precision != "float32":
        yield (
            "weights and features are float32; `selfwise embed` computes those of this run in "
            "bf16 on the kind of machine that trained it, which differ from the third digit on"
        )


def plain(value: Any) -> str:
    """Text that Markdown shows as it is; of an absolute path the last name.

    What cannot be printed, such as signs that turn the direction of writing, becomes U+FFFD.
    """
    words = " ".join(str(public(value)).split())
    words = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in words)
    words = re.sub(r"([\\`*{}\[\]<>#|~&]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", words)
    return re.sub(r"(?i)(www)\.|(:)(?=//)|(@)", _apart, words)  # what GitHub makes a link of


def _apart(found: re.Match[str]) -> str:
    """The same shown, which is no address any more."""
    word = found[0]
    return f"{word[:-1]}\\{word[-1]}"


def public(value: Any) -> Any:
    """The same without folders of this machine, inside lists and mappings too."""
    if isinstance(value, Mapping):
        return {name: public(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [public(inner) for inner in value]
    if isinstance(value, str):  # mnist:/home/me/data:train
        return ":".join(_last(part) for part in value.split(":"))
    return value


def _last(path: str) -> str:
    pure = PurePath(path)
    if not pure.is_absolute():
        return path
    known = pure.name.lower() in _PARTS and pure.parent.name
    return f"{pure.parent.name}/{pure.name}" if known else pure.name


def _training(run: Run) -> Iterable[str]:
    """Data, steps, options, versions."""
    record = run.record
    environment = record.environment
    yield f"data: {_data(record)}"
    counted = {n: v for n, v in record.info if isinstance(v, int | float) and v}
    if counted:
        yield "counted: " + ", ".join(f"{plain(n)} {v:,}" for n, v in counted.items())
    if record.info.fingerprint:
        yield f"fingerprint of the data: {plain(record.info.fingerprint)}"
    yield from _origin(record)
    if _trained(run):
        yield f"steps: {run.step:,} of {record.steps:,}"
    yield f"encoder: {plain(record.encoder_name)}{_told(record.chosen_encoder_options)}"
    mine = {n: c.value for n, c in list_changes(record).items() if n.partition(".")[0] not in _SAID}
    yield f"options that are not the defaults: {_told(mine).removeprefix(', ') or 'none'}"
    versions = {n: environment[n] for n in ("selfwise", "torch", "commit") if environment.get(n)}
    yield f"made with{_told(versions).removeprefix(',')}"
    yield f"SHA-256 of the run's weights: {run.weights}"


def _origin(record: RunRecord) -> Iterable[str]:
    """Where the weights began, through the runs before as far as their folders are there."""
    seen: set[str] = set()
    while (start := record.get("start", "")) and start not in seen:
        seen.add(start)
        if not has_record(Path(start)):
            yield f"started from the run {plain(start)}, which is gone: its data are not known here"
            return
        record = read_record(Path(start))
        made = f", {plain(record.method)} on {plain(record.data)}" if _is_named(record) else ""
        yield f"started from the run {plain(start)}{made}"
    if imported := record.imported:
        yield f"weights imported from {plain(imported['from'])} ({plain(imported['family'])})"
    if record.encoder_options.get("pretrained"):
        yield f"weights published with timm as {plain(record.encoder_name)}"


def _is_named(record: RunRecord) -> bool:
    return record.data not in (IMPORTED, FROM_PYTHON)


def _data(record: RunRecord) -> str:
    if _is_named(record):
        return plain(record.data)
    imported = record.data == IMPORTED
    return "none; the weights are those that were imported" if imported else "given in Python"


def _told(values: Mapping[str, Any]) -> str:
    return "".join(f", {plain(name)} {plain(value)}" for name, value in values.items())


def _worth(run: Run) -> list[str]:
    """A table and sentences of every score of these weights."""
    files = [f for f in records.scores(run.folder) if f.get("weights", run.weights) == run.weights]
    if not files:
        return ["Nothing was measured; `selfwise probe` does it."]
    return [part for one in gathered(files, step=run.step) for part in _score(one)]


def _score(one: Measured) -> list[str]:
    head, *lines = [[plain(cell) for cell in line] for line in one.table()]
    table = [head, ["---"] * len(head), *lines]
    where = one["data"] or {}
    of = f" of {plain(where['test'])}" if where.get("test") else ""
    return [
        f"{plain(one.title)}, in percent ± deviation, {one['n_test']:,} test examples{of}:",
        "\n".join(f"| {' | '.join(line)} |" for line in table),
        *([_list(plain(sentence) for sentence in one.sentences)] if one.sentences else []),
    ]


def _licences(run: Run) -> Iterable[str]:
    record = run.record
    yield "the code of selfwise: Apache License 2.0"
    started = {
        "published weights of timm": record.encoder_options.get("pretrained"),
        "imported weights": bool(record.imported),
        "the weights of an earlier run": record.get("start"),
    }
    of = [what for what, is_so in started.items() if is_so]
    if of:
        yield f"these weights began as {' and '.join(of)}, whose licence holds for them too"
    yield "these weights: what their maker says, who knows the licence of the data"


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
