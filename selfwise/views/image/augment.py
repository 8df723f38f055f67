"""The views of SimCLR (Chen et al. 2020, arXiv:2002.05709, section 3 and appendix A).

All work is on whole batches, every sample with its own random parameters. Nothing waits for the
device: draws and boxes are made on the CPU and follow without blocking.
"""

from math import log
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from selfwise.core.rng import Rng
from selfwise.core.types import ImageBatch, slice_batch
from selfwise.views.image.color_jitter import LEAVE, jitter_colors_, jitter_factors, to_grayscale
from selfwise.views.image.resample import (
    BandedMatrix,
    apply_bands,
    bicubic_bands,
    gaussian_bands,
    mirror_bands,
)

StoredImages = UInt8[Tensor, "b c h w"] | Float[Tensor, "b c h w"]

ATTEMPTS = 10  # as torchvision's RandomResizedCrop and TensorFlow's sample_distorted_bounding_box
CHUNK = 3 * 2**18  # values worked on at a time on a CPU: 3 MB, so that copies stay in the cache


def crop_boxes(
    extent: Int64[Tensor, "b 2"],
    rng: Rng,
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Float[Tensor, "b 4"]:
    """Random (top, left, height, width) inside images of size `extent`; whole pixels.

    The distribution is that of torchvision's `RandomResizedCrop.get_params`: the share of the area
    is uniform in `scale`, the aspect (width / height) log-uniform in `ratio`; the first of ten
    attempts that fits is used, else the largest central box whose aspect is in `ratio`.
    """
    n, device = len(extent), extent.device
    numbers = rng.uniform(n, ATTEMPTS, 2).to(device, non_blocking=True)
    corner = rng.uniform(n, 2).to(device, non_blocking=True)
    real = extent.float()
    share = scale[0] + (scale[1] - scale[0]) * numbers[..., 0]
    aspect = (log(ratio[0]) + log(ratio[1] / ratio[0]) * numbers[..., 1]).exp()
    area = share * real.prod(dim=1, keepdim=True)
    sides = torch.stack([(area / aspect).sqrt(), (area * aspect).sqrt()], dim=2).round()
    fits = ((sides > 0) & (sides <= real[:, None])).all(dim=2)

    attempt = torch.arange(ATTEMPTS, device=device)
    first = torch.where(fits, attempt, ATTEMPTS).amin(dim=1)
    sides = torch.cat([sides, _central_box(real, ratio)[:, None]], dim=1)
    side = sides.gather(1, first.view(n, 1, 1).expand(n, 1, 2))[:, 0]
    room = real - side
    # below room + 1 in single precision too: the largest draw is 1 - 2^-24
    free = (corner * (room + 1)).floor()
    central = (room / 2).floor()
    return torch.cat([torch.where(first[:, None] < ATTEMPTS, free, central), side], dim=1)


def _central_box(real: Float[Tensor, "b 2"], ratio: tuple[float, float]) -> Float[Tensor, "b 2"]:
    height, width = real.unbind(dim=1)
    low, high = (width / ratio[0]).round(), (height * ratio[1]).round()
    return torch.stack([torch.minimum(height, low), torch.minimum(width, high)], dim=1)


def resized_crop(
    x: StoredImages, box: Float[Tensor, "b 4"], size: int, *, flip: Bool[Tensor, "b"] | None = None
) -> Float[Tensor, "b c {size} {size}"]:
    """Cut out each sample's box (top, left, height, width), resize it, mirror it where `flip`.

    `x` is uint8 in 0..255 or float in 0..1, the result float32 in [0, 1]. Antialiased bicubic with
    a = -0.5, as torch and PIL: agrees with torchvision's `resized_crop`. Boxes must lie inside the
    image.
    """
    flip = None if flip is None else flip.to(x.device, non_blocking=True)
    box = box.to(x.device, non_blocking=True)
    matrices = _crop_matrices(box, size, x.shape[2:], flip)
    return _crop_transposed(x, *matrices).mT.contiguous()


def evaluation_view(
    batch: ImageBatch, size: int, *, fraction: float = 1.0
) -> Float[Tensor, "b c {size} {size}"]:
    """Return the central square whose side is `fraction` of the image's shorter side, resized.

    An image that already has that size is only scaled to [0, 1].
    """
    real = _extent(batch).to(batch.x.device, non_blocking=True).float()
    side = (real.amin(dim=1, keepdim=True) * fraction).round().clamp_min(1).expand(-1, 2)
    box = torch.cat([((real - side) / 2).round(), side], dim=1)
    return resized_crop(batch.x, box, size)


def gaussian_blur(
    x: Float[Tensor, "b c h w"], sigma: Float[Tensor, "b"], kernel: int
) -> Float[Tensor, "b c h w"]:
    """Blur each sample with its own `sigma` (in pixels) and a window of `kernel` pixels.

    At the border the image is mirrored, as torchvision does; the authors' code pads with zeros
    ("SAME"), which darkens the border.

    Raises ValueError if the kernel is even, or reaches beyond the mirrored image.
    """
    if kernel % 2 == 0 or kernel < 1 or kernel // 2 >= min(x.shape[2:]):
        raise ValueError(
            f"the blur kernel must be odd and at most {2 * min(x.shape[2:]) - 1}, got {kernel}"
        )
    x = apply_bands(x.contiguous(), gaussian_bands(sigma, x.shape[2], kernel))
    x = apply_bands(x.mT.contiguous(), gaussian_bands(sigma, x.shape[3], kernel))
    return x.mT.contiguous()


class _Draws(NamedTuple):
    """The random parameters of one view of each sample, and the sample's row in the batch."""

    row: Int64[Tensor, "b"]
    box: Float[Tensor, "b 4"]
    flip: Bool[Tensor, "b"]
    factors: Float[Tensor, "b 4"]
    order: Int64[Tensor, "b 4"]
    gray: Bool[Tensor, "b"]
    blurred: Bool[Tensor, "b"]
    sigma: Float[Tensor, "b"]


class Augment(NamedTuple):
    """One random view of each image: crop, flip, color jitter, grayscale, blur (appendix A)."""

    size: int  # side of the view in pixels
    scale: tuple[float, float] = (0.08, 1.0)  # share of the image's area that a crop shows
    ratio: tuple[float, float] = (3 / 4, 4 / 3)  # width / height of a crop
    flip: float = 0.5  # probability, as all below but `strength`
    strength: float = 1.0  # of the color jitter
    jitter: float = 0.8
    grayscale: float = 0.2
    blur: float = 0.5

    def check(self) -> None:
        """Raise ValueError if an option is out of range."""
        if self.size < 1:
            raise ValueError(f"size must be at least 1 pixel, got {self.size}")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale (crop) must rise within 0 (excluded) to 1, got {self.scale}")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"ratio must be two rising numbers above 0, got {self.ratio}")
        if not self.strength >= 0:
            raise ValueError(f"strength of the color jitter must be 0 or more, got {self.strength}")
        for name in ("flip", "jitter", "grayscale", "blur"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability, 0 to 1; got {getattr(self, name)}")

    def __call__(self, batch: ImageBatch, rng: Rng) -> Float[Tensor, "b c {self.size} {self.size}"]:
        """Return a float32 view in [0, 1] of each image, on the batch's device."""
        (n, channels), device = batch.x.shape[:2], batch.x.device
        draws = self._draw(batch, rng)
        box = draws.box.to(device, non_blocking=True)
        flip = draws.flip.to(device, non_blocking=True) if self.flip else None
        matrices = _crop_matrices(box, self.size, batch.x.shape[2:], flip)
        view = batch.x.new_empty(n, channels, self.size, self.size, dtype=torch.float32)
        # a GPU wants everything at once, a CPU core what stays in its cache
        chunk = max(1, CHUNK // view[0].numel()) if device.type == "cpu" else max(1, n)
        for start in range(0, n, chunk):
            part = slice(start, start + chunk)
            row = draws.row[part].to(device, non_blocking=True)
            x = _crop_transposed(batch.x.index_select(0, row), *slice_batch(matrices, part))
            self._finish(x, slice_batch(draws, part), row, view)
        return view

    def _draw(self, batch: ImageBatch, rng: Rng) -> _Draws:
        """Sorted by the order of the color operations, so that few large ones are launched."""
        n = len(batch.x)
        box = crop_boxes(_extent(batch), rng, scale=self.scale, ratio=self.ratio)
        odds = torch.tensor([self.flip, self.jitter, self.grayscale, self.blur])
        flip, jittered, gray, blurred = (rng.uniform(n, 4) < odds).unbind(dim=1)
        factors = jitter_factors(n, self.strength, rng)
        order = rng.orders(4, n).masked_fill(~jittered[:, None], LEAVE)
        sigma = 0.1 + 1.9 * rng.uniform(n)  # appendix A: U(0.1, 2) pixels
        row = (order * torch.tensor([125, 25, 5, 1])).sum(dim=1).argsort(stable=True)
        draws = _Draws(torch.arange(n), box, flip, factors, order, gray, blurred, sigma)
        return _Draws(*(part[row.to(part.device, non_blocking=True)] for part in draws))

    def _finish(
        self,
        x: Float[Tensor, "k c s s"],
        draws: _Draws,
        row: Int64[Tensor, "k"],
        view: Float[Tensor, "b c s s"],
    ) -> None:
        """Colors and blur of transposed crops, written to their rows of the view.

        What no sample undergoes launches nothing.
        """
        if self.jitter:
            x = jitter_colors_(x, draws.factors, draws.order)
        if self.grayscale:
            gray = _row_numbers(draws.gray, x.device)
            x.index_copy_(0, gray, to_grayscale(x.index_select(0, gray)))
        if not self.blur:
            view.index_copy_(0, row, x.mT)
            return
        sharp, blurred = (
            _row_numbers(~draws.blurred, x.device),
            _row_numbers(draws.blurred, x.device),
        )
        view.index_copy_(0, row[sharp], x.index_select(0, sharp).mT)
        kernel = self.size // 10 // 2 * 2 + 1  # the authors' code: a tenth of the side, made odd
        sigma = draws.sigma[draws.blurred].to(x.device, non_blocking=True)
        mix = gaussian_bands(sigma, self.size, kernel)
        x = apply_bands(x.index_select(0, blurred), mix).mT.contiguous()
        # a weighted mean of ones may round to a little more than one
        view.index_copy_(0, row[blurred], apply_bands(x, mix).clamp_(0, 1))


def build_simclr_augment(
    size: int,
    *,
    min_crop_scale: float,
    flip_prob: float,
    jitter_strength: float | None,
    blur_prob: float | None,
) -> Augment:
    """Build SimCLR's views.

    By default color jitter of strength 1 and blur; up to 64 px strength 0.5 and no blur
    (appendix B.9).

    Raises ValueError if an option is out of range.
    """
    small = size <= 64
    augment = Augment(
        size,
        scale=(min_crop_scale, 1.0),
        flip=flip_prob,
        strength=(0.5 if small else 1.0) if jitter_strength is None else jitter_strength,
        blur=(0.0 if small else 0.5) if blur_prob is None else blur_prob,
    )
    augment.check()
    return augment


def build_supervised_augment(
    size: int, *, min_crop_scale: float, flip_prob: float, jitter_strength: float, blur_prob: float
) -> Augment:
    """Build views for training with labels; colors change only if `jitter_strength` is above 0.

    Raises ValueError if an option is out of range.
    """
    augment = Augment(
        size,
        scale=(min_crop_scale, 1.0),
        flip=flip_prob,
        strength=jitter_strength,
        jitter=0.8 if jitter_strength else 0.0,
        grayscale=0.2 if jitter_strength else 0.0,
        blur=blur_prob,
    )
    augment.check()
    return augment


def _row_numbers(chosen: Bool[Tensor, "b"], device: torch.device) -> Int64[Tensor, "k"]:
    """Return the numbers of the chosen rows. The draws are on the CPU, so this waits for no
    device."""
    return chosen.nonzero()[:, 0].to(device, non_blocking=True)


def _extent(batch: ImageBatch) -> Int64[Tensor, "b 2"]:
    if batch.extent is not None:
        return batch.extent
    return torch.tensor(batch.x.shape[2:]).expand(len(batch.x), 2)


def _crop_matrices(
    box: Float[Tensor, "b 4"],
    size: int,
    full: torch.Size,
    flip: Bool[Tensor, "b"] | None,
) -> tuple[BandedMatrix, BandedMatrix]:
    """Return the matrices of the rows and of the columns of a crop."""
    rows = bicubic_bands(box[:, 0], box[:, 2], size, full[0])
    columns = bicubic_bands(box[:, 1], box[:, 3], size, full[1])
    return rows, columns if flip is None else mirror_bands(columns, flip)


def _crop_transposed(
    x: StoredImages, rows: BandedMatrix, columns: BandedMatrix
) -> Float[Tensor, "b c s s"]:
    """`resized_crop` with columns before rows: what follows does not mind, or wants it so."""
    x = x.float().div_(255) if x.dtype == torch.uint8 else x.float()
    return apply_bands(apply_bands(x.contiguous(), rows).mT.contiguous(), columns).clamp_(0, 1)
