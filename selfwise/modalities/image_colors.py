"""How often each colour occurs in the images, for methods that make rare ones count more."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from selfwise.data.image import Images
from selfwise.evaluation.features.color_counts import BINS, count_color_bins, smooth_prior

FILE = "prior.npy"  # in the run folder
IMAGES = "images"


@dataclass(frozen=True)
class ImageColors:
    """The prior of a run over the 313 bins, smoothed as the paper has it, and where it is from."""

    prior: Float[Tensor, "q"]
    about: dict[str, Any]

    @property
    def given(self) -> dict[str, Any]:
        """What a method is given of it, by name."""
        return {"prior": self.prior}

    def keep(self, run: Path) -> None:
        """Write the prior into a run folder, where the run can be opened without its images."""
        unfinished = run / f".{FILE}.{os.getpid()}"
        with unfinished.open("wb") as file:
            np.save(file, self.prior.numpy(), allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(run / FILE)


def find(images: Images, prior: str, *, size: int, folder: Path | None) -> ImageColors:
    """The prior of these images, of a file, or what the run `folder` keeps.

    Raises ValueError if the images are gray, or the file is no prior.
    """
    if images.channels != 3:
        raise ValueError(
            f"colorization learns from the colours of images, and these have {images.channels} "
            "channel: give it colour images, without --channels 1"
        )
    if folder is not None:
        return load(folder)
    if prior != IMAGES:
        told = _read(Path(prior))
        told = (told / told.sum()).astype(np.float32)
        return ImageColors(torch.from_numpy(told), {"of": Path(prior).name})
    counts, colored, read = count_color_bins(images, size=size)
    if not colored:
        raise ValueError(
            f"none of {read} images has a colour (an |a| or |b| above 5 in Lab), so that there is "
            "nothing to learn from; give colour images"
        )
    return ImageColors(
        smooth_prior(counts).float(), {"of": IMAGES, "read": read, "gray": read - colored}
    )


def load(folder: Path) -> ImageColors:
    """The prior that a run folder keeps, to the last bit."""
    return ImageColors(torch.from_numpy(_read(folder / FILE)), {})


def where(prior: str) -> str:
    """The option as run.yaml records it."""
    return prior if prior == IMAGES else str(Path(prior).expanduser().resolve())


def _read(path: Path) -> np.ndarray:
    """Raises ValueError if the file holds no 313 frequencies."""
    if not path.is_file():
        raise ValueError(f"--prior must be {IMAGES} or an npy file of {BINS} numbers, not {path}")
    try:
        found = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"--prior {path} is no npy file of plain numbers") from error
    shape = getattr(found, "shape", None)
    if shape != (BINS,) or found.dtype.kind not in "fiu":
        raise ValueError(
            f"--prior {path} must hold {BINS} numbers, one for each bin, ascending by a, then by b;"
            f" it holds {'an archive' if shape is None else f'{found.dtype} {shape}'}"
        )
    if not np.isfinite(found).all() or found.min() < 0 or not found.sum() > 0:
        raise ValueError(f"--prior {path} must hold frequencies: 0 or more, and not all 0")
    return found
