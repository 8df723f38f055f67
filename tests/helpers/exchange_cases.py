"""Small runs with weights that show mistakes, and real photographs as files, to be taken elsewhere.

The photographs are the two that come with scikit-learn, in pieces.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.datasets
import torch
from PIL import Image

import selfwise
from selfwise.core.rng import generator
from selfwise.runs.open import Run
from selfwise.runs.run_yaml import Choice
from selfwise.training import checkpoint
from selfwise.training.optimizers import build_optimizer

NARROW = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "zero_init_last": False}
RESNET_OPTIONS = {"stem": "timm", **NARROW}
BEIT_OPTIONS = {"depth": 2, "dim": 32, "heads": 2, "patch": 8}


def _encoder(name: str, options: dict[str, Any]) -> dict[str, Any]:
    return {"encoder": name, "encoder_options": options}


RESNET, BEIT = _encoder("resnet18", RESNET_OPTIONS), _encoder("beit-tiny", BEIT_OPTIONS)
# by a name of ours: the encoder, the side of its images, their channels
IMAGE_RUNS: dict[str, tuple[dict[str, Any], int, int]] = {
    "resnet": (RESNET, 96, 3),
    "resnet small": (_encoder("resnet18", {**RESNET_OPTIONS, "stem": "auto"}), 32, 3),
    "resnet half": (_encoder("resnet18", {**RESNET_OPTIONS, "stem": "half"}), 32, 3),
    "resnet gray": (RESNET, 32, 1),
    "resnet normalised": (
        _encoder("resnet18", {**RESNET_OPTIONS, "normalize": [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]}),
        32,
        3,
    ),
    "resnet lightness": (
        _encoder("resnet18", {**RESNET_OPTIONS, "color_space": "lightness"}),
        32,
        3,
    ),
    "vit": (
        _encoder("vit_tiny_patch16_224", {"depth": 2, "embed_dim": 48, "patch_size": 8}),
        32,
        3,
    ),
    "beit": (BEIT, 32, 3),
    "beit pooled": (
        _encoder(
            "beit-tiny", {**BEIT_OPTIONS, "norm": "pooled", "shared_bias": False, "absolute": True}
        ),
        32,
        3,
    ),
}
QUICK = {"steps": 1, "batch_size": 8, "monitor_every": 0, "cpu_threads": 1, "quiet": True}
QUICK |= {"precision": "float32"}  # embed computes in that of the run


def photographs(folder: Path, n: int = 8, *, short: int, long: int = 0) -> Path:
    """A new folder of `n` pieces of two photographs, every other a JPEG, one of them turned.

    `short` and `long`: the sides in px; without the second they are squares.
    """
    folder.mkdir(parents=True)
    home = Path(sklearn.datasets.__file__).parent / "images"
    whole = [Image.open(home / name) for name in ("china.jpg", "flower.jpg")]
    long = long or short
    for i in range(n):
        place = (40 * i, 10 * i, 40 * i + long * 300 // short, 10 * i + 300)
        piece = whole[i % 2].crop(place).resize((long, short), Image.Resampling.BICUBIC)
        if i == 1:
            exif = Image.Exif()
            exif[274] = 6  # lies on its side, as phones write it
            piece.save(folder / f"{i}.jpg", quality=95, exif=exif)
        else:
            piece.save(folder / f"{i}.{'jpg' if i % 2 else 'png'}")
    return folder


@torch.no_grad()
def spread(module: torch.nn.Module, seed: int = 0) -> None:
    """Random everything, activations of order 1: at their start many weights are 0 or 1."""
    rng = generator(seed, "weights")
    for name, weight in [*module.named_parameters(), *module.named_buffers()]:
        noise = torch.randn(weight.shape, generator=rng)
        if name.endswith("running_var"):
            weight.copy_(noise.abs() + 0.5)
        elif name.endswith(("running_mean", "bias")):
            weight.copy_(0.3 * noise)
        elif not weight.is_floating_point():
            continue
        elif weight.ndim == 1:  # gains of norms, LayerScale
            weight.copy_(1.0 + 0.2 * noise)
        elif weight.ndim == 3 or "table" in name:
            weight.copy_(0.5 * noise)
        else:
            weight.copy_(noise * (1.5 / weight[0].numel()) ** 0.5)


def filled(run: Run, fill: Callable[[torch.nn.Module], None] = spread) -> Run:
    """The same run one step later, with such weights."""
    fill(run.method)
    kind = run.record.training.optimizer
    optimizer = build_optimizer(kind, run.method, lr=0.1, weight_decay=0.0)
    state = {"meter": {}, "offset": 0, "newest": {}, "best": {}}
    checkpoint.save_checkpoint(
        run.folder / "checkpoints", run.step + 1, run.method, optimizer, state
    )
    return selfwise.load(run.folder)


def with_precision(run: Run, precision: str) -> Run:
    """The same run in memory, whose vectors are computed in that precision."""
    resolved = {**run.record.resolved, "precision": Choice(precision, "user")}
    loaded = replace(run.loaded, record=replace(run.record, resolved=resolved))
    return replace(run, loaded=loaded)


def image_run(kind: str, out: Path, data: Any) -> Run:
    """A run of SimCLR with the encoder of that name."""
    encoder, size, channels = IMAGE_RUNS[kind]
    told = {**encoder, "image_size": size, "channels": channels}
    return filled(selfwise.pretrain("simclr", data=data, out=out, **told, **QUICK))


def far(ours: Any, theirs: Any) -> float:
    """The largest difference, of features above 1 as a share of the largest of them."""
    a, b = (np.asarray(part, dtype=np.float64) for part in (ours, theirs))
    assert a.shape == b.shape
    assert a.std(axis=0).max() > 1e-2, "features that are all the same would show nothing"
    return float(np.abs(a - b).max() / max(1.0, np.abs(a).max()))


def blocks(card: str) -> list[str]:
    """The Python of a card."""
    return re.findall(r"^```python\n(.*?)^```$", card, re.S | re.M)
