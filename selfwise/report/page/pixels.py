"""Pixels as small pictures of a page."""

import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from selfwise.report.page.parts import Picture


def encoded(pixels: UInt8[np.ndarray, "h w c"], alt: str, *, exact: int) -> Picture:
    """A picture of one or three channels: PNG up to `exact` px a side, where JPEG would blur what
    few pixels there are, and JPEG above."""
    made = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
    file = io.BytesIO()
    if max(made.size) <= exact:
        made.save(file, format="png", optimize=True)
        return Picture(file.getvalue(), "png", alt)
    made.save(file, format="jpeg", quality=85)
    return Picture(file.getvalue(), "jpeg", alt)
