"""Puts the named parts together: a method, an encoder, data and the loop become a run folder.

RUN/run.yaml        options, versions, hardware, data fingerprint: enough to run it again
RUN/metrics.jsonl   loss and metrics by step
RUN/checkpoints/    whole checkpoints, the last two by default
RUN/timing.jsonl, RUN/tensorboard/, RUN/features/ (a cache that may be deleted)
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any

from selfwise import config, methods
from selfwise.arguments import (
    FROM_PYTHON,
    READING,
    check_free,
    describe,
    method_options,
    named,
    reading_defaults,
    sort_options,
    where,
)
from selfwise.data import Images, Source, open_images
from selfwise.data.images import ArrayImages
from selfwise.data.parallel import available
from selfwise.encoders import vision
from selfwise.evaluate.health import Health
from selfwise.evaluate.online import OnlineKNN
from selfwise.methods import Method
from selfwise.rng import seeded
from selfwise.train import checkpoint
from selfwise.train.fit import Probe, fit
from selfwise.train.measure import seconds_per_step
from selfwise.train.options import Options, Resolved, names, resolve, resolve_device
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
    def tokenizer(self) -> None:
        """Runs on images have none."""
        return

    @property
    def size(self) -> int:
        """Side of the images that the encoder expects, in pixels."""
        return int(self.config["found"]["size"])

    @property
    def reading(self) -> dict[str, Any]:
        """How a new file has to be read to look like those the encoder has seen."""
        options = self.config["options"]
        return {
            "channels": self.config["found"]["channels"],
            "decode": options["decode"],
            "cache": options["cache"],
        }

    def fresh(self, seed: int) -> vision.Vision:
        """The untrained twin of the encoder, with weights from a seed and no block hidden."""
        return vision.revealed(_encoder(_unpublished(self.config), seed))


def pretrain(
    method: str,
    *,
    data: Any,
    out: str | Path,
    encoder: str | Mapping[str, Any] = "resnet18",
    start: str | Path = "",
    size: int | None = None,
    seed: int = 0,
    quiet: bool = False,
    **options: Any,
) -> Run:
    """Train an encoder on unlabelled examples and keep everything in a run folder.

    Args:
        method: name of a method; `selfwise methods` lists them.
        data: folder of images, csv, npy or npz, a name such as digits or mnist:FOLDER; in
            Python also an array or a map-style data set.
        out: folder of the run, which must not exist yet or be empty.
        encoder: name of a timm model, or a mapping with its name and options.
        start: folder of an earlier run whose encoder's weights are the start.
        size: side of the views in px; by default the images' shorter side, at most 224.
        seed: every random draw is a function of it.
        quiet: print nothing.
        options: of the method, of training (`selfwise.train.options.Options`), and of reading.

    Raises ValueError with one sentence for anything that cannot be.
    """
    kind, out = methods.find(method), Path(out)
    chosen = sort_options(kind, options)
    check_free(out, method)
    images = open_images(data, labelled=kind.labelled, **chosen["reading"])
    # decoding wants processes; an array is read faster than a process is asked
    workers = 0 if isinstance(images, ArrayImages) else min(available(), 8)
    training = resolve(Options(**chosen["training"]), kind, workers=workers)
    found = describe(images, size=size)
    told = {
        "data": where(data),
        "encoder": named(encoder),
        "start": str(Path(start).resolve()) if start else "",
        "size": found["size"],
        "seed": int(seed),
        **{**reading_defaults(), **chosen["reading"]},
        **method_options(kind, chosen["method"]),
    }
    settings = {"method": method, "options": told, "found": found}
    model = started(settings)
    source = Source(images, batch=training.batch, seed=seed, labelled=kind.labelled)
    probes = _probes(settings, images, training)
    training = _in_steps(training, settings, source, probes, quiet=quiet)
    told |= asdict(training)
    settings["environment"] = config.environment(training.threads, training.device)
    out.mkdir(parents=True, exist_ok=True)
    config.write(out, settings)
    _log_broken(images, out)
    fit(model, source, training, seed=seed, out=out, probes=probes, quiet=quiet)
    return load(out)


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
    training = Resolved(**{name: options[name] for name in names()})
    now = config.environment(training.threads, resolve_device(training.device))
    for difference in config.differences(settings["environment"], now):
        text = f"warning: {difference}: the result may differ in the last bits"
        print(text, file=sys.stderr, flush=True)
    source_data = options["data"] if data is None else data
    reading = {name: options[name] for name in READING}
    images = open_images(source_data, labelled=kind.labelled, **reading)
    if images.fingerprint != settings["found"]["fingerprint"]:
        raise ValueError(
            f"the data at {where(source_data)} are not those that {folder} was started with "
            f"({len(images)} examples now, {settings['found']['examples']} then)"
        )
    fresh = checkpoint.latest(folder / "checkpoints")[0] is None
    model = started(settings) if fresh else build(_unpublished(settings))
    seed = int(options["seed"])
    source = Source(images, batch=training.batch, seed=seed, labelled=kind.labelled)
    _log_broken(images, folder)
    probes = _probes(settings, images, training)
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
    wanted = {**told, "encoder": named(told.get("encoder", "resnet18"))}
    wanted["data"] = where(told["data"])
    for name, value in wanted.items():
        if name != "quiet" and before.get(name) != value:
            raise ValueError(
                f"{folder} holds a run with {name} {before.get(name)}, not {value}; "
                "give another --out"
            )
    return resume(folder)


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
    settings = config.read(folder)
    model = build(_unpublished(settings))
    checkpoint.load_weights(found, model)
    weights = checkpoint.checksum(found.folder / checkpoint.FILES[0])
    return Run(folder, settings, model.eval(), weights, found.step)


def started(settings: Mapping[str, Any]) -> Method:
    """The method as it is before the first step: with the weights of an earlier run, if told."""
    model = build(settings)
    if settings["options"]["start"]:
        earlier = load(settings["options"]["start"])
        checkpoint.fill(model.encoder, earlier.encoder.state_dict(), where=earlier.folder)
    return model


def build(settings: Mapping[str, Any]) -> Method:
    """The method with its encoder, with random weights that are a function of the seed."""
    kind, options, found = methods.find(settings["method"]), settings["options"], settings["found"]
    supplied = {"size": found["size"], "classes": found["classes"]}
    wanted = signature(kind).parameters
    own = {name: supplied[name] for name in supplied if name in wanted}
    own |= {name: options[name] for name in wanted if name in options and name not in supplied}
    own.pop("encoder", None)
    with seeded(options["seed"], "method"):
        return kind(_encoder(settings, options["seed"]), **own)


def _unpublished(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same without published weights: what is loaded or compared needs none of them."""
    told = settings["options"]
    return {**settings, "options": {**told, "encoder": vision.untrained(told["encoder"])}}


def _encoder(settings: Mapping[str, Any], seed: int) -> vision.Vision:
    found, encoder = settings["found"], dict(settings["options"]["encoder"])
    name = encoder.pop("name")
    return vision.build(
        name, in_channels=found["channels"], size=found["size"], seed=seed, **encoder
    )


def _in_steps(
    training: Resolved,
    settings: dict[str, Any],
    source: Source,
    probes: Sequence[Probe],
    *,
    quiet: bool,
) -> Resolved:
    """The options with the number of steps that the epochs or minutes come to; both are kept."""
    if training.steps:
        return training
    seed, length = settings["options"]["seed"], source.steps_per_epoch
    seconds = seconds_per_step(lambda: build(settings), source, training, seed=seed, probes=probes)
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


def _probes(settings: Mapping[str, Any], images: Images, training: Resolved) -> list[Probe]:
    told: dict[str, Any] = {"size": settings["found"]["size"], "seed": settings["options"]["seed"]}
    probes: list[Probe] = []
    if training.health_every:
        probes.append(Health(images, **told, every=training.health_every))
    if training.probe_every:
        if images.labels is None:
            raise ValueError(
                "--probe-every needs labels: a folder for each class, or a csv with them"
            )
        probes.append(OnlineKNN(images, **told, every=training.probe_every))
    return probes


def _log_broken(images: Images, folder: Path) -> None:
    """List the files that were left out, now and as the loader finds more."""
    path = folder / "broken.txt"
    images.broken_log = path  # type: ignore[attr-defined]
    before = path.read_text().splitlines() if path.is_file() else []
    if lost := [name for name in images.broken if name not in before]:
        path.write_text("".join(f"{name}\n" for name in [*before, *lost]))
