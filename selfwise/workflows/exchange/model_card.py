"""The card beside an export: what was trained, on what, what it is worth, how it is loaded."""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from selfwise.runs import config, records
from selfwise.runs.arguments import FROM_PYTHON, IMPORTED
from selfwise.runs.open import Run
from selfwise.runs.reproduce import changed
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
    name, made = run.config["options"]["encoder"]["name"], run.config["method"]
    how = f"pre-trained with {plain(made)}" if _trained(run) else "imported and not trained"
    return f"{plain(name)}, {how}"


def _trained(run: Run) -> bool:
    """Whether the weights are what its method made of them."""
    return not (run.step == 0 and "imported" in run.config["found"])


def about(run: Run) -> str:
    """The method's idea with its paper, as the first paragraph of its module says it."""
    told = (sys.modules[type(run.method).__module__].__doc__ or "").strip()
    return " ".join(told.partition("\n\n")[0].split())


def _precision(run: Run) -> Iterable[str]:
    """What keeps the features from being those of `selfwise embed`."""
    precision = run.config["options"]["precision"]
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
    settings = run.config
    options, found, environment = (settings[n] for n in ("options", "found", "environment"))
    yield f"data: {_data(options)}"
    counted = {n: v for n, v in found.items() if isinstance(v, int | float) and v}
    if counted:
        yield "counted: " + ", ".join(f"{plain(n)} {v:,}" for n, v in counted.items())
    if found.get("fingerprint"):
        yield f"fingerprint of the data: {plain(found['fingerprint'])}"
    yield from _origin(settings)
    if _trained(run):
        yield f"steps: {run.step:,} of {options['steps']:,}"
    shape = {n: v for n, v in options["encoder"].items() if n != "name"}
    yield f"encoder: {plain(options['encoder']['name'])}{_told(shape)}"
    mine = {n: c.value for n, c in changed(settings).items() if n.partition(".")[0] not in _SAID}
    yield f"options that are not the defaults: {_told(mine).removeprefix(', ') or 'none'}"
    versions = {n: environment[n] for n in ("selfwise", "torch", "commit") if environment.get(n)}
    yield f"made with{_told(versions).removeprefix(',')}"
    yield f"SHA-256 of the run's weights: {run.weights}"


def _origin(settings: Mapping[str, Any]) -> Iterable[str]:
    """Where the weights began, through the runs before as far as their folders are there."""
    seen: set[str] = set()
    while (start := settings["options"].get("start", "")) and start not in seen:
        seen.add(start)
        if not (Path(start) / config.FILE).is_file():
            yield f"started from the run {plain(start)}, which is gone: its data are not known here"
            return
        settings = config.read(Path(start))
        before, options = settings["method"], settings["options"]
        made = f", {plain(before)} on {plain(options['data'])}" if _is_named(options) else ""
        yield f"started from the run {plain(start)}{made}"
    if imported := settings["found"].get("imported"):
        yield f"weights imported from {plain(imported['from'])} ({plain(imported['family'])})"
    if settings["options"]["encoder"].get("pretrained"):
        yield f"weights published with timm as {plain(settings['options']['encoder']['name'])}"


def _is_named(options: Mapping[str, Any]) -> bool:
    return options["data"] not in (IMPORTED, FROM_PYTHON)


def _data(options: Mapping[str, Any]) -> str:
    if _is_named(options):
        return plain(options["data"])
    imported = options["data"] == IMPORTED
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
    options, found = run.config["options"], run.config["found"]
    yield "the code of selfwise: Apache License 2.0"
    started = {
        "published weights of timm": options["encoder"].get("pretrained"),
        "imported weights": "imported" in found,
        "the weights of an earlier run": options.get("start"),
    }
    of = [what for what, is_so in started.items() if is_so]
    if of:
        yield f"these weights began as {' and '.join(of)}, whose licence holds for them too"
    yield "these weights: what their maker says, who knows the licence of the data"


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
