"""What becomes of a picture before a model sees it, as other tools are told."""

from collections.abc import Sequence
from math import floor, nextafter
from typing import Any

FRACTION, SMALL = 0.875, 64  # as in our evaluation: the middle of images, all of those up to 64 px


def fraction(size: int) -> float:
    """Side of the central square that is evaluated, of the shorter side."""
    return FRACTION if size > SMALL else 1.0


def shorter_side(size: int) -> int:
    """To how many pixels the shorter side is resized before the middle `size` of them are cut."""
    return round(size / fraction(size))


def crop_pct(size: int) -> float:
    """timm's word for it; timm resizes to floor(size / crop_pct)."""
    wanted = shorter_side(size)
    candidates = (fraction(size), size / wanted, nextafter(size / wanted, 0))
    return next(pct for pct in candidates if floor(size / pct) == wanted)


def pictures(size: int, channels: int) -> dict[str, Any]:
    """preprocessing.json of a model that brings the values to its mean and deviation by itself."""
    return {
        "colour": "RGB" if channels == 3 else "gray",
        "channels": channels,
        "turn": "upright, by the EXIF orientation",
        "resize_shorter_side": shorter_side(size),
        "filter": "bicubic",
        "antialias": True,
        "centre_crop": size,
        "crop_fraction": fraction(size),
        "scale": "to 0..1, 8-bit values divided by 255",
        "mean": [0.0] * channels,
        "std": [1.0] * channels,
        "layout": "float32, batch x channels x height x width",
    }


def statistics(mean: Sequence[float] | None, std: Sequence[float] | None, channels: int) -> Any:
    """(mean, deviation) of each channel; values that stay in 0..1 have 0 and 1."""
    if mean is None or std is None:
        return [0.0] * channels, [1.0] * channels
    return list(mean), list(std)
