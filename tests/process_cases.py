"""Small runs that one process and several do alike; as a script, one of the several.

All of them are done in one go, so that the processes start once.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import cases
import torch
from torch import Tensor, nn

from selfwise import methods
from selfwise.methods import Method
from selfwise.rng import seeded
from selfwise.train.crew import ready, serve
from selfwise.train.fit import fit
from selfwise.train.options import Options, resolve
from selfwise.train.world import ALONE, World, wait_for_all
from selfwise.types import rows

STEPS = 20
PLAIN = {"optimizer": "sgd", "lr": 0.05}  # neither signs nor ratios of gradients
# what the issue asks for by name: methods with options of their own, and of the loop
LONG = {
    "simclr": ({}, PLAIN),
    "triplet": ({"mining": "semihard"}, PLAIN),
    "triplet, random": ({"mining": "random"}, PLAIN),
    "triplet_labelled": ({"mining": "batch_hard"}, PLAIN),
    "triplet_labelled, random": ({"mining": "random"}, PLAIN),
    "supervised": ({}, {**PLAIN, "accumulate": 2, "clip": 0.5}),
    "bert": ({}, {"accumulate": 2}),
    "hubert": ({"alpha": 0.3}, {"accumulate": 2}),
    "jigsaw": ({}, {**PLAIN, "optimizer": "lars"}),  # its batch norm is over all processes
}
SHORT = [name for name in methods.names() if name not in LONG]
NAMES = [*LONG, *SHORT]


class Again:
    """The same examples at every step; of sound another number of them, once fewer than two."""

    def __init__(self, kind: type[Method], n: int = 16):
        self.all, self.uneven = cases.batch(kind, n), kind.modality == "audio"

    def __getitem__(self, step: int):
        return rows(self.all, slice(0, (5, 1, 7, 4)[step % 4])) if self.uneven else self.all


class Simple(nn.Module):
    """A head without batch norm."""

    def __init__(self, width: int, dim: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, dim))

    def forward(self, h: Tensor) -> Tensor:
        return self.layers(h)


def build(case: str) -> Method:
    """The method of a case; those of the issue have encoder and head without batch norm."""
    name = case.partition(",")[0]
    if case not in LONG or name in ("bert", "hubert", "jigsaw"):
        return cases.build(name, **LONG.get(case, ({}, {}))[0])
    small = {"depths": [1, 1, 1, 1], "dims": [8, 16, 16, 32]}
    encoder = cases.vision.build("convnext_atto", in_channels=3, size=32, seed=0, **small)
    method = cases.build(name, encoder=encoder, size=32, **LONG[case][0])
    if hasattr(method, "projection"):
        with seeded(0, "head"):
            method.projection = Simple(encoder.dim, 16)
    return method


def train(case: str, out: Path, world: World = ALONE) -> Method:
    """The run of a case, in `out`."""
    name = case.partition(",")[0]
    told = {"precision": "float32", "device": "cpu", "threads": 1, "log_every": 1}
    told |= {"steps": STEPS if case in LONG else 3, "batch": 16, **LONG.get(case, ({}, {}))[1]}
    options = resolve(Options(**told), methods.find(name), workers=0)
    out.mkdir(parents=True, exist_ok=True)
    made = build(case)
    return fit(made, Again(type(made)), options, seed=0, out=out, quiet=True, world=world)


def logged(run: Path) -> list[dict[str, float]]:
    """The lines of metrics.jsonl."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def all_cases(out: Path, world: World) -> None:
    """Every case, by one of several processes."""
    torch.set_num_threads(1)
    for case in NAMES:
        train(case, out / case, world)
        wait_for_all()


def member(out: str) -> int:
    def work(world, store):
        ready(world, store, "cpu")
        all_cases(Path(out), world)

    return serve(work, "nothing to go on with")


if __name__ == "__main__":
    sys.exit(member(sys.argv[1]))
