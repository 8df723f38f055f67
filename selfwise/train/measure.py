"""How long a step takes, to turn minutes into steps and steps into minutes."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from time import monotonic

import torch

from selfwise.losses import alone
from selfwise.methods.method import Method
from selfwise.train.fit import Batches, Probe, load
from selfwise.train.memory import kept_memory
from selfwise.train.options import Resolved
from selfwise.train.process import threads
from selfwise.train.step import assemble, train_step
from selfwise.train.world import World

WARM_UP, LEAST, MOST = 5, 10, 1_000  # steps


def seconds_per_step(
    method: Callable[[], Method],
    batches: Batches,
    options: Resolved,
    *,
    seed: int,
    probes: Sequence[Probe] = (),
    patience: float = 10.0,
) -> float:
    """The time of a step, with its share of the probes, measured on a copy that is thrown away.

    Five steps to warm up, then at least ten, for at most `patience` seconds. Of several processes
    the first measures its part of a step, alone.
    """
    with threads(options.threads), kept_memory(), alone():
        # a call of its own: the copy is gone before memory is given back
        return _steps(method(), batches, options, seed=seed, probes=probes, patience=patience)


def _steps(
    trial: Method,
    batches: Batches,
    options: Resolved,
    *,
    seed: int,
    probes: Sequence[Probe],
    patience: float,
) -> float:
    parts, done, begun = assemble(trial, options), 0, monotonic()
    world = World(size=options.devices)
    for step, batch in load(batches, 0, replace(options, steps=MOST), world):
        train_step(parts, batch, step, seed=seed, options=options)
        _wait(options.device)
        if step < WARM_UP:
            begun = monotonic()
            continue
        done += 1
        if done >= LEAST and monotonic() - begun > patience:
            break
    seconds = (monotonic() - begun) / done
    for probe in probes:
        begun = monotonic()
        probe(trial)
        seconds += (monotonic() - begun) / probe.every
    return seconds


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
