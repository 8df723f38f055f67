"""Views of colorization: selfwise against one image at a time, by turns, on the same images.

    python -m benchmarks.colorization_views [--rounds 5]

Both do: random resized crop, flip, Lab, and for one of 4 x 4 pixels the soft encoding over the five
nearest of 313 bins, the weight of its nearest bin, and whether the image has colours. Nobody keeps
a trainer of this method, so the other side is written here in the way of public code: an image at a
time, PIL for the crop, scikit-image for Lab, scikit-learn's nearest neighbours for the bins. Images
lie decoded in memory: as one uint8 tensor for selfwise, as PIL images for the other. Both have one
thread, and seconds are those of the processor.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from skimage.color import rgb2lab
from sklearn.neighbors import NearestNeighbors
from torchvision.transforms import (
    Compose,
    InterpolationMode,
    RandomHorizontalFlip,
    RandomResizedCrop,
)

from benchmarks.circumstances import circumstances, write
from benchmarks.views import smooth_images
from selfwise.encoders import vision
from selfwise.methods.colorization import Colorization
from selfwise.nn.gamut import bins, rarity, smoothed
from selfwise.nn.lab import lightness
from selfwise.rng import Rng, generator
from selfwise.types import ImageBatch

BATCH = {32: 256, 176: 32}  # images at each side in pixels
NEIGHBOURS, SIGMA = 5, 5.0
Views = Callable[[int], Any]


def prior() -> torch.Tensor:
    """Gray is frequent, and the rest less and less."""
    return smoothed((-bins().norm(dim=1) / 20).exp())


def selfwise_views(images: list[Image.Image], side: int) -> Views:
    x = torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)
    batch = ImageBatch(x.contiguous(), torch.arange(len(x)))
    encoder = vision.build("resnet18", in_channels=3, size=side, sees="lightness")
    method = Colorization(encoder, size=side, prior=prior())

    def views(step: int) -> Any:
        view = method.view(batch, Rng(generator(0, "view", step)))
        return view, lightness(view.x) / 100  # which the encoder makes of it

    return views


def one_by_one(images: list[Image.Image], side: int) -> Views:
    bicubic = InterpolationMode.BICUBIC
    crop = Compose([RandomResizedCrop(side, interpolation=bicubic), RandomHorizontalFlip()])
    search = NearestNeighbors(n_neighbors=NEIGHBOURS, algorithm="ball_tree").fit(bins().numpy())
    weights = rarity(prior()).numpy()

    def view(image: Image.Image) -> tuple[torch.Tensor, ...]:
        lab = rgb2lab(np.asarray(crop(image)))
        ab = lab[2::4, 2::4, 1:]
        far, near = search.kneighbors(ab.reshape(-1, 2))
        share = np.exp(-(far**2) / (2 * SIGMA**2))
        share /= share.sum(axis=1, keepdims=True)
        colored = np.abs(ab).max() > 5
        parts = (lab[None, :, :, 0] / 100, near, share, weights[near[:, 0]], colored)
        return tuple(torch.as_tensor(part) for part in parts)

    def views(step: int) -> list[torch.Tensor]:
        parts = zip(*(view(image) for image in images), strict=True)
        return [torch.stack(part) for part in parts]  # what a data loader's collate does

    return views


def rate(views: Views, images: int, seconds: float) -> float:
    """Views per second of processor time, which others on the machine leave as it is."""
    start, step = time.process_time(), 0
    while (passed := time.process_time() - start) < seconds:
        views(step)
        step += 1
    return images * step / passed


def compare(tools: dict[str, Views], side: int, *, rounds: int, seconds: float) -> dict[str, Any]:
    found: dict[str, list[float]] = {name: [] for name in tools}
    for _ in range(rounds):
        for name, views in tools.items():
            found[name].append(rate(views, BATCH[side], seconds))
    ratios = [a / b for a, b in zip(found["selfwise"], found["one by one"], strict=True)]
    return {
        "benchmark": "colorization views",
        "side": side,
        "batch": BATCH[side],
        "views_per_second": {name: round(median(rates), 1) for name, rates in found.items()},
        "spread": {n: [round(min(r), 1), round(max(r), 1)] for n, r in found.items()},
        "ratio": round(median(ratios), 1),
        "ratio_spread": [round(min(ratios), 1), round(max(ratios), 1)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    parser.add_argument("--seconds", type=float, default=0.7, help="length of a turn")
    options = parser.parse_args()
    torch.set_num_threads(1)
    # As after a training step: once a block of 28 MB was freed, the C library keeps such
    # blocks and does not fetch them page by page from the system again.
    torch.zeros(7 * 2**20)
    print("side   selfwise views/s (spread)   one by one (spread)        ratio (spread)")
    for side in BATCH:
        images = smooth_images(BATCH[side], side)
        tools = {"selfwise": selfwise_views(images, side), "one by one": one_by_one(images, side)}
        for views in tools.values():  # warm
            rate(views, BATCH[side], options.seconds)
        found = compare(tools, side, rounds=options.rounds, seconds=options.seconds)
        cells = [
            f"{found['views_per_second'][name]:9.0f} ({low:.0f} to {high:.0f})"
            for name, (low, high) in found["spread"].items()
        ]
        low, high = found["ratio_spread"]
        print(f"{side:4d}  {cells[0]:27s} {cells[1]:27s} {found['ratio']:.1f} ({low} to {high})")
        told = {"threads": 1, "rounds": options.rounds}
        write(found | circumstances("scikit-image", "scikit-learn", **told))


if __name__ == "__main__":
    main()
