"""From settings to modules: the method of a run, new or trained."""

import sys
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

from selfwise import methods, modalities
from selfwise.core.rng import init_seed
from selfwise.methods import Method
from selfwise.runs import config
from selfwise.runs.settled import check_unchanged
from selfwise.training import checkpoint


class Opened(NamedTuple):
    """What a run folder holds."""

    config: dict[str, Any]
    method: Method  # in eval mode, on the CPU
    weights: str  # SHA-256 of the weights
    step: int  # optimiser steps done


def build(settings: Mapping[str, Any], kept: Any) -> Method:
    """The method with its encoder, with random weights that are a function of the seed.

    `kept` is what the modality keeps for reading: a tokenizer, units, or None.
    """
    kind, options = methods.find(settings["method"]), settings["options"]
    modality, wanted = modalities.of(kind), signature(kind).parameters
    supplied = modality.supplied(settings["found"], kept)
    own = {name: supplied[name] for name in supplied if name in wanted}
    own |= {name: options[name] for name in wanted if name in options and name not in supplied}
    own.pop("encoder", None)
    with init_seed(options["seed"], "method"):
        return kind(modality.encoder(settings, kept, options["seed"]), **own)


def opened(folder: Path, found: checkpoint.Checkpoint) -> Opened:
    """The run in `folder` as it was at a checkpoint."""
    settings = config.read(folder)
    modality = modalities.of(methods.find(settings["method"]))
    check_unchanged(folder, found)
    model = build(modality.unpublished(settings), modality.kept(folder, open_newest))
    checkpoint.load_weights(found, model)
    weights = checkpoint.checksum(found.folder / checkpoint.FILES[0])
    return Opened(settings, model.eval(), weights, found.step)


def open_newest(folder: Path) -> Opened:
    """The run in `folder` as it was at its newest whole checkpoint.

    Raises ValueError if the folder is no run, or has no whole checkpoint.
    """
    return opened(folder, newest(folder))


def located(run: str | Path) -> tuple[Path, checkpoint.Checkpoint]:
    """A run folder and its newest whole checkpoint, or one of its checkpoints, told by its folder.

    Raises ValueError if the folder is no run, or has no whole checkpoint.
    """
    folder = Path(run)
    if folder.parent.name == "checkpoints":
        return folder.parent.parent, checkpoint.whole(folder)
    steps = config.read(folder)["options"]["steps"]
    found, torn = _newest(folder)
    for sentence in torn:
        print(f"warning: {sentence}; using the checkpoint of step {found.step}", file=sys.stderr)
    if found.step < steps:
        print(f"warning: {folder} is at step {found.step} of {steps}", file=sys.stderr)
    return folder, found


def started(settings: Mapping[str, Any], kept: Any) -> Method:
    """The method as it is before the first step: with the weights of an earlier run, if told."""
    model = build(settings, kept)
    if settings["options"]["start"]:
        folder, found = located(settings["options"]["start"])
        earlier = opened(folder, found).method
        # a language model is its heads too; a projection head is thrown away after each run
        whole = type(earlier) is type(model) and model.modality == "text"
        ours, theirs = (model, earlier) if whole else (model.encoder, earlier.encoder)
        checkpoint.fill(ours, theirs.state_dict(), where=folder)
        if type(earlier) is type(model):
            for name in model.carried:
                getattr(model, name).data.copy_(getattr(earlier, name))
    return model


def newest(folder: Path) -> checkpoint.Checkpoint:
    """The newest whole checkpoint of a run.

    Raises ValueError if the folder is no run, or has no whole checkpoint.
    """
    config.read(folder)
    return _newest(folder)[0]


def _newest(folder: Path) -> tuple[checkpoint.Checkpoint, list[str]]:
    """And a sentence for each newer one that is torn."""
    found, torn = checkpoint.latest(folder / "checkpoints")
    if found is None:
        why = f" ({torn[0]})" if torn else ""
        raise ValueError(
            f"{folder} has no whole checkpoint{why}; `selfwise resume {folder}` starts it again"
        )
    return found, torn
