"""Puts the named parts together: a method, an encoder, data and the loop become a run folder.

RUN/run.yaml        options, versions, hardware, data fingerprint: enough to run it again
RUN/metrics.jsonl   loss and metrics by step
RUN/checkpoints/    whole checkpoints, the last two by default
RUN/timing.jsonl, RUN/tensorboard/, RUN/features/ (a cache that may be deleted)
"""

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any

from selfwise import config, methods, modalities
from selfwise.arguments import (
    BEGUN,
    FROM_PYTHON,
    check_free,
    clear_begun,
    method_options,
    named,
    sort_options,
    where,
)
from selfwise.members import Ready, check_as_many, check_together, joined, reopened, together
from selfwise.methods import Method
from selfwise.modalities.build import build, located, opened, started
from selfwise.modalities.modality import Data, Steps
from selfwise.modalities.settled import NAME, settled
from selfwise.train.best import check_best
from selfwise.train.checkpoint import everything
from selfwise.train.fit import Probe, fit
from selfwise.train.measure import Pace, measure_pace
from selfwise.train.options import Options, Resolved, check, recorded, resolve, resolve_device
from selfwise.train.process import threads
from selfwise.train.progress import span
from selfwise.train.room import check_memory
from selfwise.train.world import counted, given

PATIENCE, MEASURED = 10.0, 0.05  # seconds that are measured, and the share of a budget
LOOK = 0.1  # of a budget: no single look at the representation takes longer
FEW = 50  # steps that teach an encoder little


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

    def unread(self, examples: Any, window: str = "") -> list[str]:
        """Sentences on what of the examples is not read; of images and recordings all is."""
        return getattr(self.modality, "unread", lambda *_: [])(self, examples, window)

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
    if (world := given()) is not None and world.rank:
        joined(out, world, data=data, device=chosen["training"].get("device", "auto"))
        return load(out)
    check_free(out, method)
    told: dict[str, Any] = {"encoder": encoder, "start": start, "seed": seed, "quiet": quiet}
    ready = prepared(method, data=data, **told, options=options)
    settings, model, examples, source = ready.settings, ready.method, ready.examples, ready.source
    probes = examples.probes(model, ready.training, seed=seed)
    training = _in_steps(ready.training, settings, examples.kept, source, probes, quiet=quiet)
    if training.health_every != ready.training.health_every:
        probes = examples.probes(model, training, seed=seed)
    settings["options"] |= asdict(training)
    told = {"seed": seed, "probes": probes}
    check_best(lambda: build(settings, examples.kept), source, training, **told)
    _found(out, settings, examples, training)
    with _removed_if_never_saved(out, training), together(out, training) as world:
        told |= {"out": out, "quiet": quiet, "beside": {NAME: settled(out)}}
        fit(model, source, training, **told, world=world)
    return load(out)


def prepared(
    method: str,
    *,
    data: Any,
    encoder: str | Mapping[str, Any] = "",
    start: str | Path = "",
    seed: int = 0,
    quiet: bool = False,
    options: Mapping[str, Any],
) -> Ready:
    """What `pretrain` would train, told the same, with its data open; no run folder is made.

    Raises ValueError with one sentence for anything that cannot be.
    """
    kind = methods.find(method)
    chosen = sort_options(kind, options)
    modality, reading = modalities.of(kind), chosen["reading"]
    if earlier := config.read(Path(start)) if start else {}:
        encoder = encoder or earlier["options"]["encoder"]
        reading = modality.inherited(Path(start)) | reading
    chosen["training"]["devices"] = counted(chosen["training"].get("devices"))
    shape, asked = named(encoder, kind), Options(**chosen["training"])
    check(asked, kind)  # before units are learned, which may take hours
    check_together(asked.devices, asked.device, data)
    told = {"encoder": shape, "device": resolve_device(asked.device), **reading}
    with threads(asked.threads):
        examples = modality.opened(data, kind, **told)
    if earlier:
        examples.follow(earlier["found"])
    training = _resolved(chosen["training"], kind, examples)
    told = {"data": where(data), "encoder": shape, "seed": int(seed), "start": _place(start)}
    told |= {**examples.told, **method_options(kind, chosen["method"])}
    settings = {"method": method, "options": told, "found": examples.found}
    model = started(settings, examples.kept)
    _say_about(model, settings, quiet=quiet)
    source = examples.source(model, batch=training.batch, seed=seed)
    return Ready(settings, training, model, examples, source, seed)


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


def _place(start: str | Path) -> str:
    return str(Path(start).resolve()) if start else ""


def _found(out: Path, settings: dict[str, Any], examples: Data, training: Resolved) -> None:
    """A run folder that has no weights yet. With run.yaml, which is written last, it is a run."""
    settings["environment"] = config.environment(training.threads, training.device)
    clear_begun(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / BEGUN).touch()
    examples.keep(out)
    config.write(out, settings)
    (out / BEGUN).unlink()


@contextmanager
def _removed_if_never_saved(out: Path, training: Resolved) -> Iterator[None]:
    """A mistake before the first checkpoint leaves no folder that would block the next attempt.

    Of several processes the others may still be reading there, and it stays.
    """
    try:
        yield
    except (ValueError, FloatingPointError):
        if training.devices == 1 and not everything(out / "checkpoints"):
            shutil.rmtree(out)
        raise


def resume(run: str | Path, *, data: Any = None, quiet: bool = False) -> Run:
    """Go on with a run that was stopped; the result is that of the run that was not.

    Args:
        run: folder of the run.
        data: only for a run that was given its data in Python: the same data again.
        quiet: print nothing but differences of the environment.
    """
    folder = Path(run)
    training = recorded(config.read(folder)["options"])
    check_as_many(folder, training.devices)
    if (world := given()) is not None and world.rank:
        joined(folder, world, data=data, device=training.device)
        return load(folder)
    again = reopened(folder, data)
    examples_of = again.settings["options"]["data"] if data is None else data
    check_together(training.devices, training.device, examples_of)
    now = config.environment(training.threads, resolve_device(training.device))
    for difference in config.differences(again.settings["environment"], now):
        text = f"warning: {difference}: the result may differ in the last bits"
        print(text, file=sys.stderr, flush=True)
    probes = again.examples.probes(again.method, training, seed=again.seed)
    again.examples.keep(folder)  # after the probes, since some write there
    told: dict[str, Any] = {"seed": again.seed, "out": folder, "probes": probes, "quiet": quiet}
    told["beside"] = {NAME: settled(folder)}
    with together(folder, training) as world:
        fit(again.method, again.source, training, **told, world=world)
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
    folder, found = located(run)
    return Run(folder, *opened(folder, found))


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
    seed, length, begun = settings["options"]["seed"], source.steps_per_epoch, monotonic()
    check_memory(lambda: build(settings, kept), source, training, seed=seed)
    if training.steps:
        return training
    budget = inf if training.minutes is None else 60 * training.minutes
    _say("measuring how long a step takes", quiet=quiet)
    how: dict[str, Any] = {"probes": probes, "patience": min(PATIENCE, MEASURED * budget)}
    how["longest_look"] = LOOK * budget
    pace = measure_pace(lambda: build(settings, kept), source, training, seed=seed, **how)
    if training.minutes is not None and training.health_every and max(pace.looks) > LOOK * budget:
        _say(_no_looks(training, max(pace.looks)), quiet=quiet)
        training, pace, probes = replace(training, health_every=0), Pace(pace.step, []), []
    if training.minutes is not None:
        steps = pace.steps_in(budget - (monotonic() - begun), probes)
        settings["found"]["asked"] = {"minutes": training.minutes}
        if steps < FEW:
            _say(_few_steps(training, steps, pace.step), quiet=quiet)
    else:
        epochs = training.epochs or 0.0
        steps = max(1, round(epochs * length))
        settings["found"]["asked"] = {"epochs": epochs}
    lasts = span(pace.seconds_of(steps, probes))
    _say(f"{steps} steps ({steps / length:.1f} epochs), about {lasts}", quiet=quiet)
    return replace(training, steps=steps, epochs=None, minutes=None)


def _few_steps(training: Resolved, steps: int, seconds: float) -> str:
    count = "1 step" if steps == 1 else f"{steps} steps"
    return (
        f"warning: --minutes {training.minutes:g} buys {count} of {seconds:.2g} s each, too few to "
        "learn much from: give more minutes, or take a smaller --batch, encoder or input"
    )


def _no_looks(training: Resolved, seconds: float) -> str:
    return (
        f"--minutes {training.minutes:g}: a look at the representation would take about "
        f"{seconds:.0f} s, so there is none (--health-every 0)"
    )


def _say(text: str, *, quiet: bool) -> None:
    if not quiet:
        print(text, file=sys.stderr, flush=True)
