"""Two SimCLR views of each image: selfwise against lightly, by turns, on the same images.

    python -m benchmarks.views [--threads 1] [--rounds 7]

Both do exactly: random resized crop, horizontal flip, colour jitter of strength 1, grayscale and
Gaussian blur, with the paper's probabilities, and give float tensors in [0, 1]. Images lie decoded
in memory: as one uint8 tensor for selfwise, as PIL images for lightly, as each is meant to be
used. (lightly resizes bilinearly, as torchvision's default; selfwise bicubically, as the paper.)
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from lightly.transforms import SimCLRTransform
from PIL import Image
from torch import Tensor

from benchmarks.circumstances import circumstances, write
from selfwise.rng import Rng, generator
from selfwise.types import ImageBatch
from selfwise.views.image import Augment

BATCH = {32: 256, 96: 64, 224: 32}  # images at each side in pixels


def smooth_images(n: int, side: int) -> list[Image.Image]:
    """Coloured clouds: noise of 8 x 8 enlarged, with a little noise of each pixel."""
    draw = np.random.default_rng(0)
    coarse = draw.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    fine = draw.normal(0, 8, (n, side, side, 3))
    clouds = [
        np.asarray(Image.fromarray(c).resize((side, side), Image.Resampling.BICUBIC))
        for c in coarse
    ]
    return [Image.fromarray((c + f).clip(0, 255).astype(np.uint8)) for c, f in zip(clouds, fine)]


def selfwise_views(images: list[Image.Image], side: int) -> Callable[[int], list[Tensor]]:
    x = torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)
    batch, augment = ImageBatch(x.contiguous(), torch.arange(len(x))), Augment(side)

    def views(step: int) -> list[Tensor]:
        rng = Rng(generator(0, "view", step))
        return [augment(batch, rng), augment(batch, rng)]

    return views


def lightly_views(images: list[Image.Image], side: int) -> Callable[[int], list[Tensor]]:
    transform = SimCLRTransform(input_size=side, normalize=None)

    def views(step: int) -> list[Tensor]:
        a, b = zip(*(transform(image) for image in images), strict=True)
        return [torch.stack(a), torch.stack(b)]  # what a data loader's collate does

    return views


def rate(views: Callable[[int], list[Tensor]], images: int, seconds: float) -> float:
    """Images per second; an image is two views."""
    start, step = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < seconds:
        views(step)
        step += 1
    return images * step / passed


def prepared(side: int) -> dict[str, Callable[[int], list[Tensor]]]:
    images = smooth_images(BATCH[side], side)
    return {"selfwise": selfwise_views(images, side), "lightly": lightly_views(images, side)}


def compare(
    tools: dict[str, Callable[[int], list[Tensor]]], side: int, *, rounds: int, seconds: float
) -> dict:
    found: dict[str, list[float]] = {name: [] for name in tools}
    for _ in range(rounds):
        for name, views in tools.items():
            found[name].append(rate(views, BATCH[side], seconds))
    ratios = [a / b for a, b in zip(found["selfwise"], found["lightly"], strict=True)]
    middle = {name: round(median(rates), 1) for name, rates in found.items()}
    spread = {name: [round(min(rates), 1), round(max(rates), 1)] for name, rates in found.items()}
    return {
        "benchmark": "views",
        "side": side,
        "batch": BATCH[side],
        "images_per_second": middle,
        "spread": spread,
        "ratio": round(median(ratios), 2),
        "ratio_spread": [round(min(ratios), 2), round(max(ratios), 2)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1, help="of torch; lightly uses one")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each side")
    parser.add_argument("--seconds", type=float, default=0.7, help="length of a turn")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    # All sizes are warmed up before any is measured. Until a process has freed a block of some
    # megabytes, as the first training step does, the C library hands memory back to the system
    # after each batch, and the page faults that follow would be measured instead.
    tools = {side: prepared(side) for side in BATCH}
    for side, pair in tools.items():
        for views in pair.values():
            rate(views, BATCH[side], options.seconds)
    print("side   selfwise img/s (spread)      lightly img/s (spread)     ratio (spread)")
    for side in BATCH:
        found = compare(tools[side], side, rounds=options.rounds, seconds=options.seconds)
        cells = [
            f"{found['images_per_second'][name]:9.0f} ({low:.0f} to {high:.0f})"
            for name, (low, high) in found["spread"].items()
        ]
        low, high = found["ratio_spread"]
        print(f"{side:4d}  {cells[0]:27s} {cells[1]:27s} {found['ratio']:.2f} ({low} to {high})")
        told = {"threads": options.threads, "rounds": options.rounds}
        write(found | circumstances("lightly", **told))


if __name__ == "__main__":
    main()
