"""Puts the named parts together: a method, an encoder, data and the loop become a run folder.

RUN/run.yaml        options, versions, hardware, data fingerprint: enough to run it again
RUN/metrics.jsonl   loss and metrics by step
RUN/checkpoints/    whole checkpoints, the last two by default
RUN/timing.jsonl, RUN/tensorboard/, RUN/features/ (a cache that may be deleted)
"""

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from selfwise import methods, modalities
from selfwise.core.process import threads
from selfwise.distributed.process_group import count_processes, detect_env
from selfwise.methods import Method
from selfwise.modalities.modality import Data
from selfwise.runs import config
from selfwise.runs.arguments import (
    BEGUN,
    check_free,
    clear_begun,
    method_options,
    named,
    sort_options,
    where,
)
from selfwise.runs.build import build, open_newest, started
from selfwise.runs.launch import Ready, check_together, joined, together
from selfwise.runs.open import Run, load
from selfwise.runs.settled import NAME, settled
from selfwise.runs.steps import plan_steps
from selfwise.training.best_metric import check_best
from selfwise.training.checkpoint import everything
from selfwise.training.config import Options, Resolved, check, resolve, resolve_device
from selfwise.training.loop import fit


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
        options: of the method, of training (`selfwise.training.config.Options`), and of reading.

    Raises ValueError with one sentence for anything that cannot be.
    """
    kind, out = methods.find(method), Path(out)
    chosen = sort_options(kind, options)
    if (env := detect_env()) is not None and env.rank:
        joined(out, env, data=data, device=chosen["training"].get("device", "auto"))
        return load(out)
    check_free(out, method)
    told: dict[str, Any] = {"encoder": encoder, "start": start, "seed": seed, "quiet": quiet}
    ready = prepared(method, data=data, **told, options=options)
    settings, model, examples, source = ready.settings, ready.method, ready.examples, ready.source
    probes = examples.probes(model, ready.training, seed=seed)
    training = plan_steps(ready.training, settings, examples.kept, source, probes, quiet=quiet)
    if training.health_every != ready.training.health_every:
        probes = examples.probes(model, training, seed=seed)
    settings["options"] |= asdict(training)
    told = {"seed": seed, "probes": probes}
    check_best(lambda: build(settings, examples.kept), source, training, **told)
    _found(out, settings, examples, training)
    with _removed_if_never_saved(out, training), together(out, training) as env:
        told |= {"out": out, "quiet": quiet, "beside": {NAME: settled(out)}}
        fit(model, source, training, **told, env=env)
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
    chosen["training"]["devices"] = count_processes(chosen["training"].get("devices"))
    shape, asked = named(encoder, kind), Options(**chosen["training"])
    check(asked, kind)  # before units are learned, which may take hours
    check_together(asked.devices, asked.device, data)
    told = {"encoder": shape, "device": resolve_device(asked.device), **reading}
    with threads(asked.threads):
        examples = modality.opened(data, kind, open_run=open_newest, **told)
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
