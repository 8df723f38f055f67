"""Pixels as small pictures of a page."""

import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from selfwise.report.page.parts import Picture


def encode_pixels(pixels: UInt8[np.ndarray, "h w c"], alt: str, *, png_side: int) -> Picture:
    """Return a picture of one or three channels: PNG up to `png_side` px a side, and JPEG above.

    JPEG would blur the few pixels of a small picture.
    """
    image = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
    file = io.BytesIO()
    if max(image.size) <= png_side:
        image.save(file, format="png", optimize=True)
        return Picture(file.getvalue(), "png", alt)
    image.save(file, format="jpeg", quality=85)
    return Picture(file.getvalue(), "jpeg", alt)
