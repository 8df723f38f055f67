"""Photos made of the two that come with scikit-learn: random parts, enlarged or shrunk."""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

CLASSES = 10


def photos(folder: Path, n: int, size: tuple[int, int], *, suffix: str = ".jpg") -> Path:
    """`n` files of `size` (width, height) in ten folders, the same every time.

    Each is a part of a photo, a fifth to two thirds of its side, mirrored or not, its brightness
    changed a little. JPEG has quality 90.
    """
    sources = [Image.fromarray(image) for image in load_sample_images().images]
    draw = np.random.default_rng(0)
    for i in range(n):
        home = folder / f"{i % CLASSES}"
        home.mkdir(parents=True, exist_ok=True)
        part(sources[i % 2], size, draw).save(home / f"{i:06d}{suffix}", quality=90)
    return folder


def part(source: Image.Image, size: tuple[int, int], draw: np.random.Generator) -> Image.Image:
    """A random window of the same aspect, resized."""
    largest = min(source.width / size[0], source.height / size[1])
    scale = largest * draw.uniform(0.2, 0.67)
    width, height = (max(8, round(scale * side)) for side in size)
    left = int(draw.integers(source.width - width + 1))
    top = int(draw.integers(source.height - height + 1))
    found = source.crop((left, top, left + width, top + height))
    found = found.resize(size, Image.Resampling.BICUBIC)
    if draw.random() < 0.5:
        found = found.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    factor = draw.uniform(0.7, 1.3)
    return found.point(lambda value: min(255, round(value * factor)))


def squares(n: int, side: int) -> list[Image.Image]:
    """Squares of the photos, a half to all of their height, made `side` pixels; always the same."""
    draw, found = np.random.default_rng(0), []
    originals = [Image.fromarray(photo) for photo in load_sample_images().images]
    for i in range(n):
        photo = originals[i % len(originals)]
        extent = int(draw.integers(photo.height // 2, photo.height + 1))
        left = int(draw.integers(0, photo.width - extent + 1))
        top = int(draw.integers(0, photo.height - extent + 1))
        box = (left, top, left + extent, top + extent)
        found.append(photo.resize((side, side), Image.Resampling.BICUBIC, box=box))
    return found
