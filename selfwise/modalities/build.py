"""From settings to modules: the method of a run, new or trained."""

from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

from selfwise import config, methods, modalities
from selfwise.methods import Method
from selfwise.rng import seeded
from selfwise.train import checkpoint


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
    with seeded(options["seed"], "method"):
        return kind(modality.encoder(settings, kept, options["seed"]), **own)


def opened(folder: Path, found: checkpoint.Checkpoint) -> Opened:
    """The run in `folder` as it was at a checkpoint."""
    settings = config.read(folder)
    modality = modalities.of(methods.find(settings["method"]))
    model = build(modality.unpublished(settings), modality.kept(folder))
    checkpoint.load_weights(found, model)
    weights = checkpoint.checksum(found.folder / checkpoint.FILES[0])
    return Opened(settings, model.eval(), weights, found.step)


def newest(folder: Path) -> checkpoint.Checkpoint:
    """The newest whole checkpoint of a run.

    Raises ValueError if the folder is no run, or has no whole checkpoint.
    """
    config.read(folder)
    found, torn = checkpoint.latest(folder / "checkpoints")
    if found is None:
        why = f" ({torn[0]})" if torn else ""
        raise ValueError(
            f"{folder} has no whole checkpoint{why}; `selfwise resume {folder}` starts it again"
        )
    return found
