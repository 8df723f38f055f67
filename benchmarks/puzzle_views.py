"""Views of jigsaw and rotation: selfwise in batches against one image at a time, by turns.

    python -m benchmarks.puzzle_views [--rounds 5]

The other side is written here in the way of the public repositories (PIL and torchvision, an image
in a data loader's worker, stacked by its collate), with the same steps and the same result: for
jigsaw a window of 225 of 256 pixels, flip, grayscale, a tile in each cell, each normalised by
itself, in a random order; for rotation a crop (a shift at 32 pixels), flip, and four turns. Images
lie decoded in memory: one uint8 tensor for selfwise, PIL images for the other.
"""

import argparse
import time
from collections.abc import Callable
from random import Random
from statistics import median

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

from benchmarks.circumstances import circumstances, write
from benchmarks.views import smooth_images
from selfwise.methods.jigsaw import Jigsaw
from selfwise.methods.method import Method
from selfwise.methods.rotation import Rotation
from selfwise.rng import Rng, generator
from selfwise.types import Features, ImageBatch
from selfwise.views.permutations import permutation_set

BATCH = {32: 256, 225: 32}  # images at each side of a view in pixels
STORED = {32: 32, 225: 256}  # side of the images that lie in memory
Views = Callable[[int], object]


class Nothing(nn.Module):
    """Views need no encoder."""

    dim = 1

    def forward(self, x: Tensor) -> Features:
        return Features(x.mean(dim=(1, 2, 3))[:, None])

    def hidden(self, x: Tensor) -> list[Features]:
        return [self(x)]


def batched(method: Method, images: list[Image.Image]) -> Views:
    x = torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)
    batch = ImageBatch(x.contiguous(), torch.arange(len(x)))
    return lambda step: method.view(batch, Rng(generator(0, "view", step)))


def single_jigsaw(images: list[Image.Image], size: int, tile: int) -> Views:
    """One image after the other, one tile after the other."""
    cell, random = size // 3, Random(0)
    window = round(images[0].width * 225 / 256)
    steps = [transforms.RandomCrop(window), transforms.Resize(size)]
    steps += [transforms.RandomHorizontalFlip(), transforms.RandomGrayscale(0.3)]
    whole, orders = transforms.Compose(steps), permutation_set(9, 100)
    part = transforms.Compose([transforms.RandomCrop(tile), transforms.ToTensor()])

    def one(image: Image.Image) -> tuple[Tensor, int]:
        image, tiles = whole(image), []
        for place in range(9):
            left, top = place % 3 * cell, place // 3 * cell
            x = part(image.crop((left, top, left + cell, top + cell)))
            flat = x.flatten(1)
            deviation = flat.std(dim=1).clamp_min(1 / 255)
            tiles.append(transforms.functional.normalize(x, flat.mean(dim=1), deviation))
        label = random.randrange(len(orders))
        return torch.stack([tiles[t] for t in orders[label]]), label

    def views(step: int) -> object:
        tiles, labels = zip(*(one(image) for image in images), strict=True)
        return torch.stack(tiles), torch.tensor(labels)

    return views


def single_rotation(images: list[Image.Image], size: int) -> Views:
    """One image after the other; turned in numpy, as RotNet's data loader does."""
    small = size <= 64
    crop = transforms.RandomCrop(size, size // 8) if small else transforms.RandomResizedCrop(size)
    whole, last = (
        transforms.Compose([crop, transforms.RandomHorizontalFlip()]),
        transforms.ToTensor(),
    )

    def one(image: Image.Image) -> Tensor:
        upright = np.asarray(whole(image))
        return torch.stack([last(np.rot90(upright, turn).copy()) for turn in range(4)])

    return lambda step: (torch.stack([one(i) for i in images]), torch.arange(4).repeat(len(images)))


def rate(views: Views, images: int, seconds: float) -> float:
    """Images in a second of the processor's time, which what else runs here does not change."""
    start, step = time.process_time(), 0
    while (passed := time.process_time() - start) < seconds:
        views(step)
        step += 1
    return images * step / passed


def prepared(size: int) -> dict[str, tuple[Views, Views]]:
    """Both sides of each method."""
    images = smooth_images(BATCH[size], STORED[size])
    jigsaw = Jigsaw(Nothing(), size=size, repeats=1)
    rotation = Rotation(Nothing(), size=size)
    return {
        "jigsaw": (batched(jigsaw, images), single_jigsaw(images, size, jigsaw.tile)),
        "rotation": (batched(rotation, images), single_rotation(images, size)),
    }


def compare(pair: tuple[Views, Views], size: int, *, rounds: int, seconds: float) -> dict:
    found: list[list[float]] = [
        [rate(v, BATCH[size], seconds) for v in pair] for _ in range(rounds)
    ]
    ratios = [ours / other for ours, other in found]
    ours, other = (list(rates) for rates in zip(*found, strict=True))
    return {
        "images_per_second": {
            "selfwise": round(median(ours), 1),
            "single": round(median(other), 1),
        },
        "ratio": round(median(ratios), 2),
        "ratio_spread": [round(min(ratios), 2), round(max(ratios), 2)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a turn")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tools = {(size, name): pair for size in BATCH for name, pair in prepared(size).items()}
    for (size, _), pair in tools.items():  # all before any is measured: see benchmarks/views.py
        for views in pair:
            rate(views, BATCH[size], options.seconds)
    print("side  method    selfwise img/s  single img/s  ratio (spread)")
    for (size, name), pair in tools.items():
        found = compare(pair, size, rounds=options.rounds, seconds=options.seconds)
        ours, other = found["images_per_second"].values()
        low, high = found["ratio_spread"]
        print(
            f"{size:4d}  {name:8s}  {ours:14.0f}  {other:12.0f}  {found['ratio']} ({low} to {high})"
        )
        told = {"threads": 1, "rounds": options.rounds, "clock": "processor"}
        what = {"benchmark": "puzzle_views", "method": name, "side": size, "batch": BATCH[size]}
        write(what | found | circumstances("torchvision", "pillow", **told))


if __name__ == "__main__":
    main()
