"""Memory of an index of images, and time of a batch, against the number of images."""

import gc
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.costs_record import Clock, Found, Goal, anonymous, middle

WHAT = "a folder of images opened without a cache, and batches of 64 of them"
SIZES = {"1 k": 1_000, "10 k": 10_000, "100 k": 100_000, "1 M": 1_000_000}
QUICK = {"1 k": 1_000, "10 k": 10_000}
ROUNDS = 3
GROWS = True
GOALS = [Goal("batch ms", "growth", 1.2), Goal("bytes an image", "is", 200)]
IMAGES = SIZES | QUICK
REAL, EACH = 200, 1_000  # files that are written, and names in a folder
BATCH, WARM_UP, BATCHES = 64, 5, 40


def place(home: Path, size: str) -> Path:
    return home / f"images-{IMAGES[size]}"


def prepare(home: Path, sizes: list[str]) -> dict[str, Any]:
    """PNGs of 32 px with 200 different pictures; the rest are other names of the same files."""
    from PIL import Image

    draw = np.random.default_rng(0)
    real = home / "real"
    real.mkdir()
    for i in range(REAL):
        Image.fromarray(draw.integers(0, 256, (32, 32, 3), np.uint8)).save(real / f"{i}.png")
    for size in sizes:
        for first in range(0, IMAGES[size], EACH):
            folder = place(home, size) / f"class-{first // EACH:04d}"
            folder.mkdir(parents=True)
            for i in range(first, first + EACH):
                os.link(real / f"{i % REAL}.png", folder / f"picture-{i:07d}.png")
    return {"files": REAL, "in_a_folder": EACH, "batch": BATCH}


def measure(home: Path, size: str, now: Clock) -> Found:
    """Opening the folder, and the first epoch's batches.

    Another folder comes first: what a process needs once, as for its decoder, is no image's.
    """
    from selfwise.data.image.batches import ImageSource
    from selfwise.data.image.open import open_images

    ImageSource(open_images(str(home / "real"), cache="no", workers=0), batch=BATCH, seed=0).batch(
        0
    )
    gc.collect()
    base, begun = anonymous(), time.monotonic()
    images = open_images(str(place(home, size)), cache="no", workers=0)
    ready = time.monotonic()
    assert len(images) == IMAGES[size], (len(images), size)
    gc.collect()
    held = anonymous() - base
    source = ImageSource(images, batch=BATCH, seed=0)
    times = []
    for number in range(WARM_UP + BATCHES):
        mark = now()
        source.batch(number % source.steps_per_epoch)
        times.append(now() - mark)
    figures = {
        "batch ms": 1000 * middle(times[WARM_UP:]), "first batch ms": 1000 * times[0],
        "opening seconds": ready - begun, "bytes an image": held / len(images),
    }  # fmt: skip
    return Found(figures, {"opening": (begun, ready), "reading": (ready, time.monotonic())})
