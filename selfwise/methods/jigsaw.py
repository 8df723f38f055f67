"""Jigsaw (Noroozi & Favaro 2016, arXiv:1603.09246): predict the order of shuffled tiles."""

from math import ceil, factorial, floor
from textwrap import shorten
from types import MappingProxyType
from typing import Annotated, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from jaxtyping import Float, Int64
from torch import Tensor, nn

from selfwise.core.ranges import (
    NonNegativeInt,
    PositiveInt,
    PositiveShare,
    Probability,
    check_ranges,
)
from selfwise.core.rng import Rng
from selfwise.core.types import Encoder, ImageBatch, Step
from selfwise.methods.default_rules import Conditions, DefaultRule, short_run_lars
from selfwise.methods.inspection import ImageColumn, ImageGrid
from selfwise.methods.method import Method, PaperDefaults, Summary, cross_entropy_step
from selfwise.methods.needs import IMAGE_SIZE
from selfwise.views.image.color_jitter import to_grayscale
from selfwise.views.image.permutations import hamming_distances, permutation_set
from selfwise.views.image.tiles import assemble_tiles, cut_tiles, draw_corners, standardize_tiles
from selfwise.views.image.window import Window

MIN_TILE = 4  # pixels of a tile's side
# the paper: tiles of 64 pixels in cells of 75, channels shifted by up to 2 pixels
TILE_SHARE, SHIFT_SHARE = 64 / 75, 2 / 75


class PuzzleTiles(NamedTuple):
    """The tiles of each image in raster order, and the orders in which the head reads them."""

    x: Float[Tensor, "b t c h w"]
    order: Int64[Tensor, "b k t"]  # which tile is in each place
    label: Int64[Tensor, "b k"]  # the number of the order among the permutations


LOG = "settings for six objectives on CIFAR-10"
SMALL = 64  # px


def _choose_grid(about: Conditions) -> int | None:
    return 2 if 0 < about.side <= SMALL else None


RULES = (
    *short_run_lars(4.0, base_batch=256, evidence=LOG),
    DefaultRule(
        "grid",
        "data",
        _choose_grid,
        "2 up to 64 px, where a ninth shows too little",
        LOG,
    ),
)


class Jigsaw(Method):
    """Encode each tile separately; a head reads the tiles in a permuted order.

    All tiles of the batch go through the encoder once. Because the encoder sees each tile alone,
    the head can read its features in several orders at almost no cost (`repeats`). The head is
    VISSL's: a layer for each tile, their outputs concatenated, a linear layer with an output per
    permutation.

    Args:
        encoder: an image encoder that also takes images of the tiles' size.
        size: side of the views in pixels.
        grid: tiles in a row and in a column, 2 or 3.
        tile_size: side of a tile in pixels; by default 64/75 of its cell, whose side is `size` /
            `grid`.
        num_permutations: number of permutations to tell apart; by default 100, and 24 for 2 x 2.
        permutation_rule: choose permutations for the largest mean distance (`mean`), or the largest
            distance from the nearest permutation chosen already (`min`).
        repeats: number of orders in which the head reads each image in a step.
        embed_dim: outputs of the layer that each tile goes through separately.
        min_crop_side: smallest side of the random square that the tiles are cut from, as a fraction
            of the image's shorter side; by default 0.88 (225 of 256), and 0.6 up to 64 px.
        flip_prob: probability of a horizontal flip; 0 for images where left and right matter.
        grayscale_prob: probability that an image loses its colors, against shortcuts by chromatic
            aberration.
        max_channel_shift: largest shift in pixels between the color channels of a tile; by default
            2 in cells of 75 px, and less in smaller cells.
    """

    modality = "image"
    rules = RULES
    summary = Summary(
        predicts="the order of shuffled tiles",
        source="the tiles of an image, each encoded separately",
        loss="cross-entropy over permutations",
        reference="Noroozi and Favaro 2016, arXiv:1603.09246",
    )
    needs = MappingProxyType({"size": IMAGE_SIZE})
    rounded_view = True  # the first layer rounds its input in any case
    # VISSL's configuration: 0.1 at 256, warm-up for 5 of 105 epochs. Its rate falls in steps; here
    # it falls along a cosine, and momentum is Nesterov's.
    paper = PaperDefaults(
        "sgd", lr=0.1, base_batch=256, scaling="linear", weight_decay=1e-4, warmup=0.05
    )

    table: Tensor

    @check_ranges
    def __init__(
        self,
        encoder: Encoder[Tensor],
        *,
        size: int,
        grid: Annotated[int, Ge(2), Le(3)] = 3,
        tile_size: PositiveInt | None = None,
        num_permutations: int | None = None,
        permutation_rule: str = "mean",
        repeats: PositiveInt = 8,
        embed_dim: PositiveInt = 1000,
        min_crop_side: PositiveShare | None = None,
        flip_prob: Probability = 0.5,
        grayscale_prob: Probability = 0.3,
        max_channel_shift: NonNegativeInt | None = None,
    ):
        super().__init__()
        min_crop = (0.6 if size <= 64 else 225 / 256) if min_crop_side is None else min_crop_side
        self.window = Window(size, min_crop, flip_prob)
        assert isinstance(encoder, nn.Module), "encoders are modules"
        self.grid, self.tile = (
            grid,
            _choose_tile_side(size, grid, tile_size, _find_patch_size(encoder)),
        )
        _check_encoder_takes(encoder, self.tile)
        cell = size // grid
        self.room = cell - self.tile
        self.shift = min(
            round(SHIFT_SHARE * cell) if max_channel_shift is None else max_channel_shift, self.room
        )
        self.grayscale_prob, self.repeats = grayscale_prob, repeats
        if num_permutations is None:
            num_permutations = min(100, factorial(grid**2))
        chosen = permutation_set(grid**2, num_permutations, rule=permutation_rule)
        self._distances = hamming_distances(chosen)
        # saved with the weights: they define the meaning of the head's outputs
        self.register_buffer("table", torch.from_numpy(chosen.astype(np.uint8)))
        self.encoder = encoder
        self.embed = nn.Sequential(
            nn.Linear(encoder.dim, embed_dim), nn.BatchNorm1d(embed_dim), nn.ReLU(inplace=True)
        )
        self.head = nn.Linear(grid**2 * embed_dim, len(chosen))

    @property
    def about(self) -> dict[str, float]:
        min_distance, mean_distance = self._distances
        return {
            "permutations": len(self.table),
            "least_hamming": min_distance,
            "mean_hamming": mean_distance,
        }

    def view(self, batch: ImageBatch, rng: Rng) -> PuzzleTiles:
        x = self.window(batch, rng)
        n, channels = x.shape[:2]
        gray = rng.uniform(n) < self.grayscale_prob
        if self.grayscale_prob and channels == 3:
            gray_rows = gray.nonzero()[:, 0].to(x.device, non_blocking=True)
            x.index_copy_(0, gray_rows, to_grayscale(x.index_select(0, gray_rows)))
        corner = draw_corners(n, channels, rng, grid=self.grid, room=self.room, shift=self.shift)
        # shifting the channels of a gray image would give it colored edges
        corner = torch.where(gray.view(n, 1, 1, 1), corner[:, :, :1], corner)
        # with replacement: of 100 permutations, two of eight are rarely equal
        label = rng.integers(len(self.table), n, self.repeats).to(x.device, non_blocking=True)
        cut = cut_tiles(x, corner, grid=self.grid, tile=self.tile)
        return PuzzleTiles(standardize_tiles(cut), self.table[label].long(), label)

    def counts(self, view: PuzzleTiles) -> dict[str, Tensor]:
        return {"jigsaw_loss": view.x.new_full((), view.label.numel())}

    def forward(self, view: PuzzleTiles) -> Step:
        return cross_entropy_step("jigsaw", self._scores(view.x, view.order), view.label.flatten())

    def inspect(self, view: PuzzleTiles) -> ImageGrid:
        """Return the first order of each image, as shuffled and as put back."""
        order, label = view.order[:, 0], view.label[:, 0]
        scores = self._scores(view.x, view.order[:, :1]).float()
        chance, answer = scores.softmax(dim=1).max(dim=1)
        puzzle = view.x.gather(1, _expand_order(order, view.x))
        guess = self.table[answer].long()
        solved = torch.zeros_like(puzzle).scatter(1, _expand_order(guess, puzzle), puzzle)
        placed, count = (guess == order).sum(dim=1).tolist(), order.shape[1]
        captions = [
            f"{p} of {count} correct, {100 * c:.0f} %" for p, c in zip(placed, chance.tolist())
        ]
        about = (
            f"Tiles are in one of {len(self.table)} orders. The encoder sees each tile separately, "
            "and the head predicts the order. Gaps between the tiles and one contrast for all "
            "tiles keep edges and brightness from giving the order away."
        )
        return ImageGrid(
            about,
            [
                ImageColumn("puzzle", assemble_tiles(puzzle, self.grid)),
                ImageColumn(
                    "put back", assemble_tiles(solved, self.grid), captions, answer == label
                ),
                ImageColumn("solution", assemble_tiles(view.x, self.grid)),
            ],
        )

    def _scores(
        self, x: Float[Tensor, "b t c h w"], order: Int64[Tensor, "b k t"]
    ) -> Float[Tensor, "b*k p"]:
        """Score each permutation for each order in which the head reads the tiles of an image."""
        n, count = x.shape[:2]
        h = self.embed(self.encoder(x.flatten(0, 1)).pooled)
        first = count * torch.arange(n, device=h.device)[:, None, None]
        # F.embedding has a deterministic backward pass; each tile is read several times
        read = F.embedding((first + order).flatten(0, 1), h).flatten(1)
        logits: Tensor = self.head(read)
        return logits


def _expand_order(
    order: Int64[Tensor, "b t"], x: Float[Tensor, "b t c h w"]
) -> Int64[Tensor, "b t c h w"]:
    return order[:, :, None, None, None].expand_as(x)


def _find_patch_size(encoder: nn.Module) -> int | None:
    """Return the side of a patch, where the encoder has patches."""
    sizes = (getattr(module, "patch_size", None) for module in encoder.modules())
    return next((int(size[0]) for size in sizes if isinstance(size, tuple)), None)


def _choose_tile_side(size: int, grid: int, tile: int | None, patch: int | None) -> int:
    """Return a tile's side in pixels: `tile`, or 64/75 of a cell, in whole patches and even.

    An even side, because encoders halve their images: 9 pixels would cost half as much again as 8.
    """
    cell, step = size // grid, patch or 2
    side = min(ceil(TILE_SHARE * cell), cell - 1) // step * step if tile is None else tile
    min_tile = ceil(MIN_TILE / step) * step
    if tile is not None and not min_tile <= tile <= cell:
        raise ValueError(
            f"tile_size must be {min_tile} to {cell} pixels, the side of a cell of {grid} x {grid} "
            f"in {size} px, got {tile}"
        )
    if side < min_tile:
        need = grid * max(min_tile + 1, floor((min_tile - 1) / TILE_SHARE) + 1)
        raise ValueError(
            f"images of {size} px are too small for {grid} x {grid} tiles of {min_tile} px or more "
            f"with gaps between them; --image-size {need} or larger would be right"
            + (", or --grid 2" if grid > 2 and size >= need / grid * 2 else "")
        )
    return side


@torch.no_grad()
def _check_encoder_takes(encoder: nn.Module, side: int) -> None:
    """Raise ValueError if the encoder rejects tiles of that side; the encoder stays unchanged."""
    weights = list(encoder.parameters())
    channels = next((w.shape[1] for w in weights if w.ndim == 4), 3)
    modes = [(part, part.training) for part in encoder.modules()]
    like = weights[0] if weights else torch.zeros(())
    try:
        encoder.eval()(like.new_zeros(2, channels, side, side))
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:
        raise ValueError(
            f"the encoder does not take tiles of {side} px ({shorten(str(error), 120)}); a ResNet "
            "would be right, or --encoder.dynamic_img_size true for a timm ViT"
        ) from error
    finally:
        for part, training in modes:
            part.training = training
