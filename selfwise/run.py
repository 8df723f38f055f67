"""Puts the named parts together: a method, an encoder, data and the loop become a run folder.

RUN/run.yaml        options, versions, hardware, data fingerprint: enough to run it again
RUN/metrics.jsonl   loss and metrics by step
RUN/checkpoints/    whole checkpoints, the last two by default
RUN/timing.jsonl, RUN/tensorboard/, RUN/features/ (a cache that may be deleted)
"""

from collections.abc import Mapping
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
    reading_defaults,
    sort_options,
    where,
)
from selfwise.data import Images, Source, open_images
from selfwise.data.images import ArrayImages
from selfwise.data.parallel import available
from selfwise.encoders import vision
from selfwise.evaluate.online import OnlineKNN
from selfwise.methods import Method
from selfwise.rng import seeded
from selfwise.train import checkpoint
from selfwise.train.fit import fit
from selfwise.train.measure import measure_steps
from selfwise.train.options import Options, names, resolve


@dataclass(frozen=True)
class Run:
    """A run folder with its trained method in memory."""

    folder: Path
    config: dict[str, Any]
    method: Method
    weights: str  # SHA-256 of the weights, "" before the first checkpoint

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
        """The untrained twin of the encoder, with weights from another seed."""
        return _encoder(self.config, seed)


def pretrain(
    method: str,
    *,
    data: Any,
    out: str | Path,
    encoder: str | Mapping[str, Any] = "resnet18",
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
    told = {
        "data": where(data),
        "encoder": dict(encoder) if isinstance(encoder, Mapping) else {"name": encoder},
        "seed": seed,
        **reading_defaults(),
        **chosen["reading"],
        **chosen["method"],
    }
    found = describe(images, size=size)
    settings = {"method": method, "options": told, "found": found}
    model = build(settings)
    source = Source(images, batch=training.batch or 0, seed=seed, labelled=kind.labelled)
    probes = _probes(settings, images, training)
    training = _in_steps(training, settings, source, probes)
    told |= {**method_options(kind, chosen["method"]), **asdict(training)}
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
    options = settings["options"]
    if data is None and options["data"] == FROM_PYTHON:
        raise ValueError(f"{folder} was given its data in Python: resume it there, with data=")
    training = Options(**{name: options[name] for name in names()})
    now = config.environment(training.threads, training.device)
    for difference in config.differences(settings["environment"], now):
        print(f"warning: {difference}: the result may differ in the last bits", flush=True)
    kind = methods.find(settings["method"])
    reading = {name: options[name] for name in READING}
    source_data = options["data"] if data is None else data
    images = open_images(source_data, labelled=kind.labelled, **reading)
    if images.fingerprint != settings["found"]["fingerprint"]:
        raise ValueError(
            f"the data at {source_data} are not those that {folder} was started with "
            f"({len(images)} examples now, {settings['found']['examples']} then)"
        )
    seed = int(options["seed"])
    model = build(settings)
    source = Source(images, batch=training.batch or 0, seed=seed, labelled=kind.labelled)
    _log_broken(images, folder)
    probes = _probes(settings, images, training)
    fit(model, source, training, seed=seed, out=folder, probes=probes, quiet=quiet)
    return load(folder)


def load(run: str | Path) -> Run:
    """Open a run folder: its newest whole checkpoint, on the CPU.

    Raises ValueError if the folder is no run, or has no whole checkpoint.
    """
    folder = Path(run)
    settings = config.read(folder)
    found, torn = checkpoint.latest(folder / "checkpoints")
    if found is None:
        why = f" ({torn[0]})" if torn else ""
        raise ValueError(
            f"{folder} has no whole checkpoint{why}; `selfwise resume` starts it again"
        )
    for sentence in torn:
        print(f"warning: {sentence}; using the checkpoint of step {found.step}", flush=True)
    model = build(settings)
    checkpoint.load_weights(found, model)
    weights = checkpoint.checksum(found.folder / checkpoint.FILES[0])
    return Run(folder, settings, model.eval(), weights)


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


def _encoder(settings: Mapping[str, Any], seed: int) -> vision.Vision:
    found, encoder = settings["found"], dict(settings["options"]["encoder"])
    name = encoder.pop("name")
    return vision.build(
        name, in_channels=found["channels"], size=found["size"], seed=seed, **encoder
    )


def _in_steps(
    training: Options, settings: dict[str, Any], source: Source, probes: list[OnlineKNN]
) -> Options:
    """The options with the number of steps that the epochs or minutes come to; both are kept."""
    if training.steps is not None:
        return training
    if training.epochs is not None:
        steps = max(1, round(training.epochs * source.steps_per_epoch))
        settings["found"]["asked"] = {"epochs": training.epochs}
    else:
        seed = settings["options"]["seed"]
        steps = measure_steps(lambda: build(settings), source, training, seed=seed, probes=probes)
        settings["found"]["asked"] = {"minutes": training.minutes}
    return replace(training, steps=steps, epochs=None, minutes=None)


def _probes(settings: Mapping[str, Any], images: Images, training: Options) -> list[OnlineKNN]:
    if not training.probe_every:
        return []
    if images.labels is None:
        raise ValueError("--probe-every needs labels: a folder for each class, or a csv with them")
    size, seed = settings["found"]["size"], settings["options"]["seed"]
    return [OnlineKNN(images, size=size, seed=seed, every=training.probe_every)]


def _log_broken(images: Images, folder: Path) -> None:
    """List the files that were left out, now and as the loader finds more."""
    images.broken_log = folder / "broken.txt"  # type: ignore[attr-defined]
    if images.broken:
        (folder / "broken.txt").write_text("".join(f"{name}\n" for name in images.broken))
