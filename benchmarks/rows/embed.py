"""Vectors of a folder of photos: a loop around a timm model, and `selfwise embed`."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.photos import photos
from benchmarks.row import Contest, Prepared, Run, Setting
from benchmarks.scratch import scratch
from selfwise.modalities.image.modality import ImageFacts
from selfwise.runs.build import LoadedRun
from selfwise.runs.open import Run as Folder
from selfwise.runs.prepare import prepare_run
from selfwise.runs.pretrain_config import make_request
from selfwise.runs.run_yaml import write_record
from selfwise.workflows.embed import embed

PEER = (
    "timm's own way: a ResNet-18 without classifier in eval mode, its transform (Pillow and "
    "torchvision), `ImageFolder`, a `DataLoader` with as many workers as cores, 64 at a time. "
    "selfwise reads with as many workers, convolves with channels last, 32 at a time; a third side "
    "is timm's loop with channels last"
)
PACKAGES = ("timm", "torchvision", "pillow")
CASES = {"photos": "Embed 10,000 photos, JPEG, 500 x 375 px, ResNet-18 at 224 px"}
EQUAL, BEST, THEIRS = "selfwise float32", "selfwise bf16", "timm float32"
LAST = " channels last"
OTHER_PROCESSES = ("photos",)
QUICK_IS_LESS = True
GOALS = {
    "photos": [
        Contest(EQUAL, THEIRS, 1.2, on_gpu=2),
        Contest(EQUAL, THEIRS + LAST, 1),
        Contest(BEST, THEIRS, 1.2, "bf16 autocast", on_gpu=2),
    ]
}
PHOTOS, QUICK, FEW, SIZE = 10_000, 400, 64, (500, 375)
FIRST = 1000  # number of the first piece that is timed
Compute = Callable[[], np.ndarray]


def run_folder(home: Path, few: Path, precision: str) -> Folder:
    """A run as `selfwise pretrain simclr` leaves it, but that nothing was trained."""
    told = {"image_size": 224, "batch_size": FEW, "steps": 1, "precision": precision}
    told |= {"device": "cpu"}
    request = make_request("simclr", told, data=str(few), encoder="resnet18")
    made = prepare_run(request, str(few), quiet=True)
    home.mkdir(parents=True)
    write_record(home, made.record)
    facts = ImageFacts(made.data.info)  # type: ignore[arg-type]
    loaded = LoadedRun(made.record, facts, made.method.eval(), "untrained", 0, made.code)
    return Folder(home, loaded)


def theirs(model: Any, folder: Path, setting: Setting, *, last: bool = False) -> Compute:
    from timm.data import create_transform
    from torchvision.datasets import ImageFolder

    # 224 of 256 px, bicubic, values in [0, 1], which our untrained encoder takes as they are
    told = {"input_size": (3, 224, 224), "crop_pct": 0.875, "interpolation": "bicubic"}
    transform = create_transform(**told, mean=(0, 0, 0), std=(1, 1, 1))

    order = torch.channels_last if last else torch.contiguous_format

    def run() -> np.ndarray:
        loader = torch.utils.data.DataLoader(
            ImageFolder(str(folder), transform), batch_size=64, num_workers=os.cpu_count() or 1
        )
        with torch.inference_mode():
            told: Any = {"device": setting.device, "memory_format": order}
            return torch.cat([model(x.to(**told)).cpu() for x, _ in loader]).numpy()

    return run


def ours(run: Folder, folder: Path, setting: Setting) -> Compute:
    """With nothing kept from an earlier call."""

    def compute() -> np.ndarray:
        for kept in (run.folder / "features").glob("*.npy"):
            kept.unlink()
        return embed(run, str(folder), device=setting.device).vectors

    return compute


def close(a: np.ndarray, b: np.ndarray) -> str:
    """Cosines of centred vectors: resizing is not the same to the last bit.

    Raises:
        AssertionError: they are not close, or in another order.
    """
    middle = b.mean(axis=0)
    a, b = a - middle, b - middle
    cosine = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    assert cosine.min() > 0.98, f"vectors differ: the smallest cosine is {cosine.min():.3f}"
    return f"vectors of the same photos have centred cosines of at least {cosine.min():.4f}"


def counting(compute: Compute, warm: Compute, n: int) -> Run:
    """A turn is the whole folder, a piece of the warm-up only a few."""

    def run(number: int) -> float:
        found = len(compute() if number >= FIRST else warm())
        assert number < FIRST or found == n
        return found

    return run


def prepare(case: str, setting: Setting) -> Prepared:
    home = scratch()
    n = QUICK if setting.quick else PHOTOS
    folder, few = photos(home / "photos", n, SIZE), photos(home / "few", FEW, SIZE)
    runs = {side: run_folder(home / side, few, side.split()[1]) for side in (EQUAL, BEST)}
    model = runs[EQUAL].method.encoder.model  # type: ignore[union-attr]
    model = model.to(setting.device)
    few_theirs = theirs(model, few, setting)
    equal = close(ours(runs[EQUAL], few, setting)(), few_theirs())
    sides: dict[str, Run] = {THEIRS: counting(theirs(model, folder, setting), few_theirs, n)}
    few_last = theirs(model, few, setting, last=True)
    close(few_last(), few_theirs())
    sides[THEIRS + LAST] = counting(theirs(model, folder, setting, last=True), few_last, n)
    for side, run in runs.items():
        sides[side] = counting(ours(run, folder, setting), ours(run, few, setting), n)
    return Prepared("photos", sides, equal, {"photos": n})
