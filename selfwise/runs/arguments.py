"""What `pretrain` was told: sorted, checked, and written down."""

import shutil
from collections.abc import Mapping, Sequence
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from selfwise import modalities
from selfwise.core.errors import did_you_mean
from selfwise.data.image.named_sets import parse_name
from selfwise.data.text.documents import HUB
from selfwise.data.text.python_docs import NAME as EMBEDDED_TEXT
from selfwise.methods import Method
from selfwise.runs import config
from selfwise.training.config import names

FROM_PYTHON, IMPORTED = "<from Python>", "<imported>"
BEGUN = ".begun"  # in a run folder until run.yaml is there
# what a method is given by run.py where it asks for it
SUPPLIED = ("encoder", "size", "classes", "vocab", "length", "units", "clusters", "prior")
NOT_READING = (
    "data",
    "kind",
    "open_run",
    "folder",
    "encoder",
    "device",
)  # of a modality's `opened`
OF_UNITS = ("units", "clusters", "units_layer")  # of it too, for methods that ask for units
OF_COLORS = ("prior",)  # and for those that ask for how often colours occur


def sort_options(kind: type[Method], options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Which options belong to the method, to training, and to reading.

    Raises ValueError naming the nearest option for one that nobody knows.
    """
    sorts = {"method": tuple(own_options(kind)), "training": tuple(names())}
    sorts["reading"] = tuple(reading_options(kind))
    known = [name for group in sorts.values() for name in group]
    for name in options:
        if name not in known:
            raise ValueError(f"unknown option {name!r}{did_you_mean(name, known)}")
    return {s: {n: options[n] for n in group if n in options} for s, group in sorts.items()}


def own_options(kind: type[Method]) -> dict[str, Parameter]:
    """The keyword options of a method that a user may set."""
    parameters = signature(kind).parameters
    return {n: p for n, p in parameters.items() if n not in SUPPLIED}


def method_options(kind: type[Method], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The method's options with its defaults filled in, as run.yaml records them."""
    return {n: chosen.get(n, p.default) for n, p in own_options(kind).items()}


def check_free(out: Path, method: str) -> None:
    """Raises ValueError if `out` holds anything: nothing is ever written over."""
    if out.is_file():
        raise ValueError(f"--out {out} is a file; give a folder that does not exist yet")
    if (out / config.FILE).is_file():
        there = config.read(out)["method"]
        other = "" if there == method else f" of another method ({there})"
        raise ValueError(
            f"--out {out} already holds a run{other}; `selfwise resume {out}` goes on with it, "
            "a new run needs another folder"
        )
    if out.is_dir() and any(out.iterdir()) and not (out / BEGUN).is_file():
        raise ValueError(f"--out {out} is not empty; give a folder that does not exist yet")


def clear_begun(out: Path) -> None:
    """Remove what a process left in `out` that was killed before it was a run."""
    if (out / BEGUN).is_file() and not (out / config.FILE).is_file():
        shutil.rmtree(out)


def where(data: Any) -> str:
    """The data as run.yaml names them: names and paths that hold from any folder."""
    if not isinstance(data, str | Path):
        return FROM_PYTHON
    if str(data) == EMBEDDED_TEXT or str(data).startswith(HUB):
        return str(data)
    known = parse_name(data) if isinstance(data, str) else None
    if known is None:
        return str(Path(data).expanduser().resolve())
    if known.root is None:
        return str(data)
    root = str(known.root.expanduser().resolve())
    return ":".join([known.name, root, *([known.split] if known.split else [])])


def named(encoder: str | Mapping[str, Any], kind: type[Method]) -> dict[str, Any]:
    """An encoder's name and options as one mapping; without a name it is the method's default.

    Options that go with the method are added where they are not given.

    Raises ValueError if a mapping has no name.
    """
    if isinstance(encoder, str):
        return {"name": encoder or kind.default_encoder, **kind.encoder_options}
    if "name" not in encoder:
        raise ValueError(f"encoder {dict(encoder)} needs a name, such as {kind.default_encoder}")
    name = encoder["name"] or kind.default_encoder
    return {**kind.encoder_options, **encoder, "name": name}


def reading_options(kind: type[Method]) -> dict[str, Any]:
    """The options of reading that go with a method's modality, with their defaults."""
    parameters = signature(modalities.of(kind).opened).parameters
    return {n: p.default for n, p in parameters.items() if n not in not_reading(kind)}


def not_reading(kind: type[Method]) -> set[str]:
    """Parameters of a modality's `opened` that are no options of a method."""
    wanted = signature(kind).parameters
    asks = "units" in wanted or "clusters" in wanted
    return {*NOT_READING, *(() if asks else OF_UNITS), *(() if "prior" in wanted else OF_COLORS)}


def without_length(options: dict[str, Any], argv: Sequence[str]) -> dict[str, Any]:
    """The options of a file, without its length if the command line gives one."""
    lengths = ("steps", "epochs", "minutes")
    given = {token.partition("=")[0] for token in argv}
    if given.isdisjoint(f"--{name}" for name in lengths):
        return options
    return {name: value for name, value in options.items() if name not in lengths}
