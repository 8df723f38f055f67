"""Puts the named parts together: a method, an encoder, data and the loop become a run folder.

RUN/run.yaml        options, versions, hardware, data fingerprint: enough to run it again
RUN/metrics.jsonl   loss and metrics by step
RUN/checkpoints/    whole checkpoints, the last two by default
RUN/timing.jsonl, RUN/tensorboard/, RUN/features/ (a cache that may be deleted)
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from selfwise import config, methods, modalities
from selfwise.arguments import (
    BEGUN,
    FROM_PYTHON,
    IMPORTED,
    check_free,
    clear_begun,
    method_options,
    named,
    reading_options,
    sort_options,
    where,
)
from selfwise.methods import Method
from selfwise.modalities.build import build, opened
from selfwise.modalities.modality import Data, Steps
from selfwise.train import checkpoint
from selfwise.train.fit import Probe, fit
from selfwise.train.measure import seconds_per_step
from selfwise.train.options import Options, Resolved, check, names, resolve, resolve_device
from selfwise.train.process import threads
from selfwise.train.progress import span


@dataclass(frozen=True)
class Run:
    """A run folder with its trained method in memory."""

    folder: Path
    config: dict[str, Any]
    method: Method
    weights: str  # SHA-256 of the weights
    step: int  # optimiser steps done

    @property
    def encoder(self) -> Any:
        """The trained encoder, in the mode in which it was last used."""
        return self.method.encoder

    @property
    def modality(self) -> Any:
        """The module of the run's modality."""
        return modalities.of(type(self.method))

    @cached_property
    def kept(self) -> Any:
        """What the folder keeps for reading: a tokenizer, units, or None."""
        return self.modality.kept(self.folder)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of a run on text; only those have one."""
        return self.kept

    @property
    def size(self) -> int:
        """Side of the images that the encoder expects, in pixels."""
        return int(self.config["found"]["size"])

    def fresh(self, seed: int) -> Any:
        """The untrained twin of the encoder, with weights from a seed."""
        return self.modality.fresh(self.config, self.kept, seed)


def pretrain(
    method: str,
    *,
    data: Any,
    out: str | Path,
    encoder: str | Mapping[str, Any] = "",
    start: str | Path = "",
    seed: int = 0,
    quiet: bool = False,
    **options: Any,
) -> Run:
    """Train an encoder on unlabelled examples and keep everything in a run folder.

    Args:
        method: name of a method, as `selfwise methods` lists them.
        data: where the examples are: a folder, a file, a name; in Python also the examples.
        out: folder of the run, which must not exist yet or be empty.
        encoder: name of an encoder, or a mapping with its name and options; by default that of
            `start`, or else one that suits the method and a small machine.
        start: folder of an earlier run whose encoder's weights are the start; of the same method
            on text, its heads and its tokenizer too.
        seed: every random draw is a function of it.
        quiet: print nothing.
        options: of the method, of training (`selfwise.train.options.Options`), and of reading.

    Raises ValueError with one sentence for anything that cannot be.
    """
    kind, out = methods.find(method), Path(out)
    chosen = sort_options(kind, options)
    check_free(out, method)
    modality, reading = modalities.of(kind), chosen["reading"]
    if earlier := config.read(Path(start)) if start else {}:
        encoder = encoder or earlier["options"]["encoder"]
        reading = modality.inherited(Path(start)) | reading
    shape, asked = named(encoder, kind), Options(**chosen["training"])
    check(asked, kind)  # before units are learned, which may take hours
    told = {"encoder": shape, "device": resolve_device(asked.device), **reading}
    with threads(asked.threads):
        examples = modality.opened(data, kind, **told)
    if earlier and reading == modality.inherited(Path(start)) | reading:
        examples.follow(earlier["found"])
    training = _resolved(chosen["training"], kind, examples)
    told = {"data": where(data), "encoder": shape, "seed": int(seed)}
    told["start"] = str(Path(start).resolve()) if start else ""
    told |= {**examples.told, **method_options(kind, chosen["method"])}
    settings = {"method": method, "options": told, "found": examples.found}
    model = started(settings, examples.kept)
    _say_about(model, settings, quiet=quiet)
    source = examples.source(model, batch=training.batch, seed=seed)
    probes = examples.probes(model, training, seed=seed)
    training = _in_steps(training, settings, examples.kept, source, probes, quiet=quiet)
    told |= asdict(training)
    settings["environment"] = config.environment(training.threads, training.device)
    _found(out, settings, examples)
    fit(model, source, training, seed=seed, out=out, probes=probes, quiet=quiet)
    return load(out)


def _say_about(model: Method, settings: dict[str, Any], *, quiet: bool) -> None:
    """What the user should know of how the task was made; it is kept too."""
    if not (about := model.about):
        return
    settings["found"]["about"] = about
    if not quiet:
        said = ", ".join(f"{name} {value:g}" for name, value in about.items())
        print(f"{settings['method']}: {said}", file=sys.stderr, flush=True)


def _resolved(told: dict[str, Any], kind: type[Method], examples: Data) -> Resolved:
    if examples.batch and "batch" in told:
        raise ValueError(
            "--batch does not go with --batch-tokens or, for speech, --seconds, which decide how "
            "many examples are in a step: leave one of them out"
        )
    return resolve(Options(**told), kind, workers=examples.workers, batch=examples.batch)


def _found(out: Path, settings: dict[str, Any], examples: Data) -> None:
    """A run folder that has no weights yet. With run.yaml, which is written last, it is a run."""
    clear_begun(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / BEGUN).touch()
    examples.keep(out)
    config.write(out, settings)
    (out / BEGUN).unlink()


def resume(run: str | Path, *, data: Any = None, quiet: bool = False) -> Run:
    """Go on with a run that was stopped; the result is that of the run that was not.

    Args:
        run: folder of the run.
        data: only for a run that was given its data in Python: the same data again.
        quiet: print nothing but differences of the environment.
    """
    folder = Path(run)
    settings = config.read(folder)
    options, kind = settings["options"], methods.find(settings["method"])
    if data is None and options["data"] == FROM_PYTHON:
        raise ValueError(f"{folder} was given its data in Python: resume it there, with data=")
    if options["data"] == IMPORTED:
        raise ValueError(
            f"{folder} was imported, so there is nothing to go on with; to train it further: "
            f"selfwise pretrain {settings['method']} --start {folder} --data PATH --out RUN"
        )
    training = Resolved(**{name: options[name] for name in names()})
    now = config.environment(training.threads, resolve_device(training.device))
    for difference in config.differences(settings["environment"], now):
        text = f"warning: {difference}: the result may differ in the last bits"
        print(text, file=sys.stderr, flush=True)
    source_data = options["data"] if data is None else data
    modality = modalities.of(kind)
    reading = {name: options[name] for name in reading_options(kind)}
    shape = options["encoder"]
    examples = modality.opened(source_data, kind, folder=folder, encoder=shape, **reading)
    fresh = checkpoint.latest(folder / "checkpoints")[0] is None
    whole = settings if fresh else modality.unpublished(settings)
    model = (started if fresh else build)(whole, examples.kept)
    seed = int(options["seed"])
    source = examples.source(model, batch=training.batch, seed=seed)
    if examples.found["fingerprint"] != settings["found"]["fingerprint"]:
        raise ValueError(
            f"the data at {where(source_data)} are not those that {folder} was started with "
            f"({examples.found['examples']} examples now, {settings['found']['examples']} then)"
        )
    probes = examples.probes(model, training, seed=seed)
    examples.keep(folder)  # after the probes, since some write there
    fit(model, source, training, seed=seed, out=folder, probes=probes, quiet=quiet)
    return load(folder)


def pretrain_or_resume(method: str, *, out: str | Path, **told: Any) -> Run:
    """`pretrain`, or `resume` where the folder holds a run that was told the same.

    Raises ValueError if it holds another run, naming the first option that differs.
    """
    folder = Path(out)
    if not (folder / config.FILE).is_file():
        return pretrain(method, out=folder, **told)
    settings = config.read(folder)
    before = {**settings["options"], **settings["found"].get("asked", {})}
    wanted = {**told, "encoder": named(told.get("encoder", ""), methods.find(method))}
    wanted["data"] = where(told["data"])
    for name in ("start", "units"):
        if told.get(name) and before.get(name) == str(Path(told[name]).resolve()):
            wanted[name] = before[name]  # of a run that may be gone; "patches" is no path
    for name, value in wanted.items():
        if name != "quiet" and value is not None and before.get(name) != value:
            raise ValueError(
                f"{folder} holds a run with {name} {before.get(name)}, not {value}; "
                "give another --out"
            )
    again = told["data"] if before["data"] == FROM_PYTHON else None
    return resume(folder, data=again, quiet=told.get("quiet", False))


def load(run: str | Path) -> Run:
    """Open a run folder at its newest whole checkpoint, or one of its checkpoints, on the CPU.

    `RUN/checkpoints/step-00000400` opens that step. Raises ValueError if the folder is no run, or
    has no whole checkpoint.
    """
    folder = Path(run)
    if folder.parent.name == "checkpoints":
        return _opened(folder.parent.parent, checkpoint.whole(folder))
    settings = config.read(folder)
    found, torn = checkpoint.latest(folder / "checkpoints")
    if found is None:
        why = f" ({torn[0]})" if torn else ""
        raise ValueError(
            f"{folder} has no whole checkpoint{why}; `selfwise resume {folder}` starts it again"
        )
    for sentence in torn:
        print(f"warning: {sentence}; using the checkpoint of step {found.step}", file=sys.stderr)
    steps = settings["options"]["steps"]
    if found.step < steps:
        print(f"warning: {folder} is at step {found.step} of {steps}", file=sys.stderr)
    return _opened(folder, found)


def _opened(folder: Path, found: checkpoint.Checkpoint) -> Run:
    return Run(folder, *opened(folder, found))


def started(settings: Mapping[str, Any], kept: Any) -> Method:
    """The method as it is before the first step: with the weights of an earlier run, if told."""
    model = build(settings, kept)
    if settings["options"]["start"]:
        earlier = load(settings["options"]["start"])
        # a language model is its heads too; a projection head is thrown away after each run
        whole = type(earlier.method) is type(model) and model.modality == "text"
        ours, theirs = (model, earlier.method) if whole else (model.encoder, earlier.encoder)
        checkpoint.fill(ours, theirs.state_dict(), where=earlier.folder)
        if type(earlier.method) is type(model):
            for name in model.carried:
                getattr(model, name).data.copy_(getattr(earlier.method, name))
    return model


def _in_steps(
    training: Resolved,
    settings: dict[str, Any],
    kept: Any,
    source: Steps,
    probes: Sequence[Probe],
    *,
    quiet: bool,
) -> Resolved:
    """The options with the number of steps that the epochs or minutes come to; both are kept."""
    if training.steps:
        return training
    seed, length = settings["options"]["seed"], source.steps_per_epoch
    seconds = seconds_per_step(
        lambda: build(settings, kept), source, training, seed=seed, probes=probes
    )
    if training.minutes is not None:
        steps = max(1, int(training.minutes * 60 / seconds))
        settings["found"]["asked"] = {"minutes": training.minutes}
    else:
        epochs = training.epochs or 0.0
        steps = max(1, round(epochs * length))
        settings["found"]["asked"] = {"epochs": epochs}
    if not quiet:
        text = f"{steps} steps ({steps / length:.1f} epochs), about {span(steps * seconds)}"
        print(text, file=sys.stderr, flush=True)
    return replace(training, steps=steps, epochs=None, minutes=None)
