"""What images are: photos, gray photos or drawings, judged from a sample."""

from typing import Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from selfwise.core.rng import shuffle_indices
from selfwise.data.image.dataset import Images

SAMPLE = 200  # images that are looked at
GRAY = 6 / 255  # two channels of a gray pixel differ by less, also after JPEG
BINS = 32
TONE = 10 / 255  # pixels whose tone differs by less have one tone, also after JPEG
# thresholds on a drawing, between digits, characters and sketches on one side and photos of objects
# on white on the other
FLAT_SHARE = 0.4  # of its pixels, at least, have the tone of the background
CONTRAST = 0.6  # between its background and its darkest or lightest ink, at least
FULL_INK = 0.8  # of the contrast: what counts as full ink, which blurred edges are not
FULL_SHARE = 0.3  # of its ink, at least, is full


def find_kind(images: Images) -> Literal["photo", "gray", "drawing"]:
    """Return what most of the images are; a function of the images alone.

    A drawing is lines or shapes of one tone on a background of one tone, such as characters,
    sketches and diagrams. gray: photos without color.
    """
    rows = np.sort(shuffle_indices(len(images), 0, "kind of images")[:SAMPLE])
    drawn, gray = list[bool](), list[bool]()
    for row in rows:
        batch = images.read(np.array([row]))
        x = batch.x[0].float()
        if not batch.x.is_floating_point():
            x = x / 255
        if batch.extent is not None:
            height, width = batch.extent[0].tolist()
            x = x[:, :height, :width]
        drawn.append(is_drawing(x))
        gray.append(is_gray(x))
    if np.mean(drawn) > 0.5:
        return "drawing"
    return "gray" if np.mean(gray) > 0.5 else "photo"


def is_gray(x: Float[Tensor, "c h w"]) -> bool:
    """Return whether nine of ten pixels have three equal channels."""
    spread = x.amax(dim=0) - x.amin(dim=0)
    return float((spread < GRAY).float().mean()) > 0.9


def is_drawing(x: Float[Tensor, "c h w"]) -> bool:
    """Return whether the image has a background of one tone, and on it ink of mostly one tone."""
    tone = x.mean(dim=0).flatten()
    background = _find_background(tone)
    distance = (tone - background).abs()
    ink = distance[distance >= TONE]
    if len(tone) - len(ink) < FLAT_SHARE * len(tone):
        return False
    if not len(ink):
        return True  # an empty page
    contrast = float(ink.amax())
    return contrast >= CONTRAST and float((ink > FULL_INK * contrast).float().mean()) >= FULL_SHARE


def _find_background(tone: Float[Tensor, "n"]) -> Float[Tensor, ""]:
    """Return the mean of the pixels with the most frequent tone."""
    bins = (tone * BINS).long().clamp(max=BINS - 1)
    most = bins.bincount(minlength=BINS).argmax()
    return tone[bins == most].mean()
