"""What makes a run what it is: options that are no defaults, and the command that repeats it."""

import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from selfwise import methods, modalities
from selfwise.methods import Method
from selfwise.runs.arguments import FROM_PYTHON, IMPORTED, method_options, reading_options
from selfwise.runs.argv import as_argv
from selfwise.training.config import Options
from selfwise.training.optimizers import scaled_lr

MACHINE = ("device", "precision", "threads", "workers")  # chosen by the machine unless given
DECIDE = ("batch_tokens", "seconds")  # where these say how much a step reads, the batch follows
WIDTH = 88  # characters of a line of the command


class Change(NamedTuple):
    """An option that is not at its default."""

    value: Any
    default: Any  # None where there is none: the data, the length


class Again(NamedTuple):
    """How a run is made again, and what there is to say of that."""

    command: str
    notes: list[str]


def changed(settings: Mapping[str, Any]) -> dict[str, Change]:
    """The options of a run.yaml that differ from the method's defaults, the encoder's one by one.

    What the machine chose (device, precision, threads, workers) is left out. Raises ValueError for
    a method that there is not.
    """
    told, usual = _flat(settings["options"]), _defaults(settings)
    return {
        name: Change(value, usual.get(name))
        for name, value in told.items()
        if name not in MACHINE and value is not None and _differs(name, value, usual)
    }


def command(settings: Mapping[str, Any], *, out: str) -> Again:
    """The command that makes a run with the same options in the folder `out`, for a shell."""
    options, found, method = settings["options"], settings["found"], settings["method"]
    if options["data"] == IMPORTED:
        told = found.get("imported", {})
        words = ["selfwise", "import", told.get("family", method), told.get("from", "FOLDER")]
        for name, value in told.get("asked", {}).items():
            words += [f"--{name}", str(value)]
        words += ["--out", out]
        return Again(
            shlex.join(words), ["The weights were imported from a file or folder of this name."]
        )
    notes, given = [], {name: change.value for name, change in changed(settings).items()}
    given |= {name: options[name] for name in MACHINE if options.get(name) is not None}
    if given["data"] == FROM_PYTHON:
        given["data"] = "PATH"
        notes.append("The data were given in Python: write them to files and name them as PATH.")
    for name, amount in found.get("asked", {}).items():
        notes.append(f"It was told {name} {amount:g}, which came to {options['steps']:,} steps.")
    known = {*_defaults(settings), "data", "encoder"}
    if lost := [name for name in given if "." not in name and name not in known]:
        notes.append(f"Options of another version are left out: {', '.join(lost)}.")
    tokens = [_spoken(token) for token in _tokens(given, lost)]
    words = [f"selfwise pretrain {shlex.quote(method)}", *tokens, f"--out {shlex.quote(out)}"]
    return Again(_wrapped(words), notes)


def _tokens(given: Mapping[str, Any], lost: list[str]) -> list[str]:
    """As a command line takes them: the encoder's options with their prefix."""
    inner = {n.partition(".")[2]: v for n, v in given.items() if n.startswith("encoder.")}
    plain = {n: v for n, v in given.items() if "." not in n and n not in {"encoder", *lost}}
    shape = {"name": given["encoder"], **inner} if "encoder" in given else inner
    return as_argv({**plain, **({"encoder": shape} if shape else {})}, list(plain))


def _spoken(token: str) -> str:
    """--batch-tokens 512 of --batch_tokens=512."""
    name, _, value = token.partition("=")
    front, dot, inner = name.partition(".")
    return f"{front.replace('_', '-')}{dot}{inner} {shlex.quote(value)}"


def _wrapped(words: list[str]) -> str:
    """Lines that a shell reads as one."""
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(word) < WIDTH:
            lines[-1] += f" {word}"
        else:
            lines.append(f"  {word}")
    return " \\\n".join(lines)


def _flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with those of the encoder as `encoder.NAME`."""
    shape = {f"encoder.{name}": value for name, value in options["encoder"].items()}
    name = {"encoder": shape.pop("encoder.name")}
    rest = {n: v for n, v in options.items() if n not in ("data", "encoder")}
    return {"data": options["data"], **name, **shape, **rest}


def _differs(name: str, value: Any, usual: Mapping[str, Any]) -> bool:
    return name not in usual or usual[name] != value


def _defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Every option as it is where nothing is said, beside what was."""
    kind, told = methods.find(settings["method"]), settings["options"]
    usual: dict[str, Any] = {"seed": 0, "start": "", **reading_options(kind)}
    usual |= {**method_options(kind, {}), **asdict(Options()), **_of_paper(kind, told)}
    if "tokenizer" in usual:
        usual["tokenizer"] = kind.default_tokenizer
    if any(told.get(name) for name in DECIDE):
        usual["batch"] = told["batch"]
    if told.get("start"):  # the encoder is then that of the earlier run, whatever the default
        usual |= modalities.of(kind).inherited(Path(told["start"]))
    else:
        shape = kind.encoder_options
        usual |= {"encoder": kind.default_encoder, **{f"encoder.{n}": shape[n] for n in shape}}
    return usual


def _of_paper(kind: type[Method], told: Mapping[str, Any]) -> dict[str, Any]:
    """The paper's choices; its rate belongs to its optimiser and grows with the batch."""
    paper = kind.defaults
    names = ("batch", "optimizer", "weight_decay", "warmup", "schedule", "clip")
    rate = scaled_lr(paper, told["batch"]) if told["optimizer"] == paper.optimizer else None
    return {**{name: getattr(paper, name) for name in names}, "lr": rate}
