"""Pictures of what a method makes of images: reconstructions with the use of codes, and colors."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from torch import Tensor

from selfwise.core.device import to_float64
from selfwise.core.files import atomic_write
from selfwise.core.rng import shuffle_indices
from selfwise.core.types import slice_batch, to_device
from selfwise.data.image import Images
from selfwise.evaluation.features.image import evaluation_mode
from selfwise.methods.method import Method
from selfwise.nn.evaluation_crop import choose_crop_fraction
from selfwise.views.image.augment import evaluation_view
from selfwise.views.image.color_bins import has_color
from selfwise.views.image.color_space import lab_to_rgb, rgb_to_lab

MAX_EXAMPLES = 512  # at most; with 64 patches each 32,768 codes
BATCH_SIZE = 64  # images
MAX_COLUMNS = 12  # images in a picture
# px: small images are shown at least so large; white between rows and columns
MIN_SIDE, GAP = 96, 4
COLLAPSED_PERPLEXITY = 2.0  # a perplexity below it: nearly every patch has the same code


def save_image_grid(pictures: Sequence[Float[Tensor, "b c h w"]], path: Path) -> None:
    """Write a PNG in which the images of each batch are a row: originals, then reconstructions.

    Values are in 0 to 1, at most 12 images of each batch are shown, and small ones enlarged pixel
    by pixel. The file appears whole or not at all.
    """
    with atomic_write(path) as temporary:
        Image.fromarray(draw_image_grid(pictures)).save(temporary, format="PNG")


def draw_image_grid(
    pictures: Sequence[Float[Tensor, "b c h w"]],
) -> UInt8[np.ndarray, "hh ww 3"]:
    """Return the images of each batch as a row, at most 12 of them, on white.

    Values are in 0 to 1. All batches have as many images, of one width.
    """
    lines = [_draw_row(batch[:MAX_COLUMNS]) for batch in pictures]
    gap = np.full((GAP, lines[0].shape[1], 3), 255, np.uint8)
    return np.concatenate([part for line in lines for part in (gap, line)] + [gap])


def measure_code_usage(counts: Int64[Tensor, "k"]) -> dict[str, float]:
    """Return how codes that occur so often are used, where at least one does.

    `codes_used`: share of the codes that occur at all. `code_perplexity`: exp of the entropy of
    their frequencies: as many codes of equal frequency would be as hard to guess.
    """
    share = counts.double() / counts.sum()
    entropy = -torch.special.xlogy(share, share).sum()
    used = (counts > 0).double().mean()
    return {"codes_used": float(used), "code_perplexity": float(entropy.exp())}


class PictureMonitor:
    """A monitor of a method's outputs on some images, for the training loop.

    The monitor reads at most 512 examples once, drawn by the seed from the training examples, so it
    monitors a run and reports no result. Every measurement overwrites the picture in `folder`;
    without a folder there is no picture. The run does not change.
    """

    def __init__(self, images: Images, *, size: int, seed: int, every: int, folder: Path | None):
        assert len(images), "the caller has checked that there are examples"
        sample = shuffle_indices(len(images), seed, "reconstructions")[:MAX_EXAMPLES]
        self.batch = images.read(sample)  # in this order: a folder of classes begins with one class
        self.size, self.every, self.folder = size, every, folder

    def iterate_views(self, device: torch.device) -> Iterator[Float[Tensor, "b c s s"]]:
        """Yield the examples as they are evaluated, a few at a time, on the device."""
        for first in range(0, len(self.batch.x), BATCH_SIZE):
            part = to_device(slice_batch(self.batch, slice(first, first + BATCH_SIZE)), device)
            yield evaluation_view(part, self.size, fraction=choose_crop_fraction(self.size))

    def __call__(self, method: Method) -> dict[str, float]:
        raise NotImplementedError  # each kind has its own

    def warning(self, values: dict[str, float]) -> str | None:
        """For the user, where the values call for it."""
        return None


class ReconstructionMonitor(PictureMonitor):
    """Error and use of the codes of an image tokenizer, and `reconstructions.png`.

    The method has `codes`, `units` and `reconstruct`, as `fsq` and `dvae` have.
    `reconstruction_mse` is the mean squared error of the pixels.
    """

    def __call__(self, method: Method) -> dict[str, float]:
        tokenizer: Any = method
        device, n = next(method.parameters()).device, len(self.batch.x)
        counts = torch.zeros(tokenizer.units, dtype=torch.int64)
        error, pictures = 0.0, None
        with evaluation_mode(method, device):
            for x in self.iterate_views(device):
                codes, reconstructed = tokenizer.codes(x).cpu(), tokenizer.reconstruct(x)
                counts += torch.bincount(codes.flatten(), minlength=len(counts))
                squares = to_float64((reconstructed - x).square())
                error += float(squares.mean(dim=(1, 2, 3)).sum())
                pictures = pictures or (x.cpu(), reconstructed.cpu())
        if self.folder is not None and pictures is not None:
            save_image_grid(pictures, self.folder / "reconstructions.png")
        return {"reconstruction_mse": error / n, **measure_code_usage(counts)}

    def warning(self, values: dict[str, float]) -> str | None:
        """For the user, where nearly all patches have the same code."""
        if values["code_perplexity"] >= COLLAPSED_PERPLEXITY:
            return None
        return (
            f"the codes have collapsed: their perplexity is {values['code_perplexity']:.1f}, so "
            "nearly all patches get one code, and a model trained on them learns little; a lower "
            "--lr or more steps usually help"
        )


class ColorizationMonitor(PictureMonitor):
    """Error of the colors that a method guesses, and `colors.png`: gray, guessed, true.

    The method has `colors`, as `colorization` has. `color_error` is the mean distance in a and b of
    guessed and true colors over all pixels of images that have colors, `color_error_gray` that
    of guessing gray everywhere; images without colors are not counted.
    """

    def __call__(self, method: Method) -> dict[str, float]:
        painter: Any = method
        device = next(method.parameters()).device
        error, pictures = torch.zeros(3, dtype=torch.float64), None
        with evaluation_mode(method, device):
            for x in self.iterate_views(device):
                colorized = painter.colors(x)
                lab, ab = rgb_to_lab(x), rgb_to_lab(colorized)[:, 1:]
                gray = lab_to_rgb(torch.cat([lab[:, :1], 0 * ab], dim=1))
                distances = [
                    (lab[:, 1:] - other).norm(dim=1).mean(dim=(1, 2)) for other in (ab, 0 * ab)
                ]
                is_coloured = has_color(lab[:, 1:])
                sums = torch.stack(
                    [*(torch.where(is_coloured, f, 0.0) for f in distances), is_coloured.float()]
                )
                error += to_float64(sums).sum(dim=1).cpu()
                pictures = pictures or (gray.cpu(), colorized.cpu(), x.cpu())
        if self.folder is not None and pictures is not None:
            save_image_grid(pictures, self.folder / "colors.png")
        colorized_error, gray_error = (error[:2] / error[2].clamp_min(1)).tolist()
        return {"color_error": colorized_error, "color_error_gray": gray_error}


def _draw_row(batch: Float[Tensor, "b c h w"]) -> np.ndarray:
    """Return the images side by side, uint8 (h w 3)."""
    times = max(1, MIN_SIDE // batch.shape[2])
    x = (batch.detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    x = x.expand(-1, 3, -1, -1).permute(0, 2, 3, 1)
    images = x.repeat_interleave(times, 1).repeat_interleave(times, 2).numpy()
    gap = np.full((images.shape[1], GAP, 3), 255, np.uint8)
    return np.concatenate([part for image in images for part in (gap, image)] + [gap], axis=1)
