"""Which colors images are made of, as colorization counts them."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from selfwise.views.image.color_bins import BINS, has_color, soft_encode, subsample_pixels
from selfwise.views.image.color_space import rgb_to_lab


class ColorCounts(NamedTuple):
    """How often each bin is the nearest one, and of how many images."""

    counts: Float64[Tensor, "q"]
    read: int  # images
    colored: int  # of these, how many have a color; gray images are not counted


def count_colors(images: Iterable[Float[Tensor, "b 3 h w"]]) -> ColorCounts:
    """Count the nearest bin at every fourth pixel down and across: the pixels that the loss reads.

    Args:
        images: batches of values in 0..1.
    """
    counts, read, with_color = torch.zeros(BINS, dtype=torch.float64), 0, 0
    for x in images:
        ab = rgb_to_lab(subsample_pixels(x))[:, 1:]
        read += len(ab)
        ab = ab[has_color(ab)]
        nearest = soft_encode(ab.permute(0, 2, 3, 1), 1)[0]
        counts += torch.bincount(nearest.flatten(), minlength=BINS)
        with_color += len(ab)
    return ColorCounts(counts, read, with_color)


def read_prior(path: Path) -> Float[Tensor, "q"]:
    """Return frequencies of the 313 bins from an npy file, as float32 that adds up to 1.

    Raises ValueError if the file does not hold 313 frequencies.
    """
    if not path.is_file():
        raise ValueError(f"--prior must be images or an npy file of {BINS} numbers, not {path}")
    try:
        prior = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"--prior {path} is not an npy file of plain numbers") from error
    shape = getattr(prior, "shape", None)
    if shape != (BINS,) or prior.dtype.kind not in "fiu":
        raise ValueError(
            f"--prior {path} must hold {BINS} numbers, one for each bin, ascending by a, then by b;"
            f" it holds {'an archive' if shape is None else f'{prior.dtype} {shape}'}"
        )
    if not np.isfinite(prior).all() or prior.min() < 0 or not prior.sum() > 0:
        raise ValueError(f"--prior {path} must hold frequencies: 0 or more, and not all 0")
    return torch.from_numpy((prior / prior.sum()).astype(np.float32))
