"""BEiT (Bao et al. 2021, arXiv:2106.08254): predict the discrete targets of masked patches."""

from types import MappingProxyType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from selfwise.core.ranges import PositiveShare, Probability, ProperShare, check_ranges
from selfwise.core.rng import Rng
from selfwise.core.types import ImageBatch, PatchEncoder, Step, Units
from selfwise.methods.inspection import ImageColumn, ImageGrid, draw_codes
from selfwise.methods.method import Method, PaperDefaults, Summary, cross_entropy_step
from selfwise.methods.needs import IMAGE_SIZE, PatchTargetNeed
from selfwise.views.image.block_mask import MASK_SHARE, check_block_grid, draw_block_masks
from selfwise.views.image.crop import Crop


class MaskedImages(NamedTuple):
    """Crops, and which of their patches are masked."""

    x: Float[Tensor, "b c s s"]
    covered: Bool[Tensor, "b n"]
    where: Int64[Tensor, "b k"]  # k different patches
    chosen: Bool[Tensor, "b k"]  # True where the patch is masked and its target is predicted
    target: Int64[Tensor, "b k"]  # targets at `where`


class BEiT(Method):
    """Mask blocks of patches; cross-entropy over the discrete targets of the masked patches.

    All patches go through the encoder, with one trained vector in place of each masked patch. The
    targets are computed from the crop that the encoder sees, including color jitter, as in the
    authors' code. The target model is not part of the method's weights.

    Args:
        encoder: an image encoder with a step between its patches and its layers, where masking
            happens.
        size: side of the views in pixels.
        targets: maps patches to discrete targets, such as k-means clusters; not trained.
        mask_ratio: fraction of the patches that is masked (75 of 196 in the authors' code).
        min_crop_scale: smallest fraction of the image's area that a crop may show.
        flip_prob: probability of a horizontal flip; 0 for images where left and right matter.
        jitter_strength: strength j of the jitter of brightness, contrast and saturation: factors
            are 1 - j to 1 + j.
    """

    modality = "image"
    summary = Summary(
        predicts="the discrete target of each masked patch",
        source="the visible patches of an image",
        loss="cross-entropy at masked patches",
        reference="Bao et al. 2021, arXiv:2106.08254",
    )
    needs = MappingProxyType({"size": IMAGE_SIZE, "targets": PatchTargetNeed()})
    default_encoder = "beit-mini"
    carried = ("mask_embedding",)  # part of the encoder's input, so it moves with the encoder
    # Appendix G and the authors' README: 1.5e-3 at 2048, warm-up for 10 of 800 epochs. Warm-up is
    # longer here because runs are shorter. The rate falls to 0, not to 1e-5.
    paper = PaperDefaults(
        lr=1.5e-3,
        base_batch=2048,
        scaling="linear",
        weight_decay=0.05,
        grad_clip=3.0,
    )

    @check_ranges
    def __init__(
        self,
        encoder: PatchEncoder,
        *,
        size: int,
        targets: Units,
        mask_ratio: ProperShare = MASK_SHARE,
        min_crop_scale: PositiveShare = 0.08,
        flip_prob: Probability = 0.5,
        jitter_strength: Probability = 0.4,
    ):
        super().__init__()
        self.crop = Crop(size, scale=(min_crop_scale, 1.0), flip=flip_prob, jitter=jitter_strength)
        check_block_grid(encoder.grid)
        _check_units(targets, encoder.grid, size)
        self.encoder, self.mask_ratio = encoder, mask_ratio
        self._targets = (targets,)  # the tuple hides it from torch: neither trained nor saved
        self.mask_embedding = nn.Parameter(torch.empty(encoder.dim))
        self.head = nn.Linear(encoder.dim, targets.size)
        for weight in (self.mask_embedding, self.head.weight):
            nn.init.trunc_normal_(weight, std=0.02, a=-0.02, b=0.02)  # cutoff as in their code
        nn.init.zeros_(self.head.bias)

    @property
    def targets(self) -> Units:
        """The model that maps patches to discrete targets."""
        return self._targets[0]

    def view(self, batch: ImageBatch, rng: Rng) -> MaskedImages:
        x = self.crop(batch, rng)
        drawn = draw_block_masks(len(x), self.encoder.grid, rng, share=self.mask_ratio)
        covered, where, chosen = (part.to(x.device, non_blocking=True) for part in drawn)
        target = self._units_of(x, covered.shape[1])
        return MaskedImages(x, covered, where, chosen, target.gather(1, where))

    def counts(self, view: MaskedImages) -> dict[str, Tensor]:
        return {"mim_loss": view.chosen.sum().float()}

    def forward(self, view: MaskedImages) -> Step:
        hidden = self._hidden(view).flatten(0, 1)
        return cross_entropy_step(
            "mim", self.head(hidden), view.target.flatten(), view.chosen.flatten()
        )

    def inspect(self, view: MaskedImages) -> ImageGrid:
        """Return the masked patches, and their predicted targets next to the true targets."""
        best = self.head(self._hidden(view)).argmax(dim=2)
        true = self._units_of(view.x, view.covered.shape[1])
        guess = true.scatter(1, view.where, torch.where(view.chosen, best, view.target))
        right = (view.chosen & (best == view.target)).sum(dim=1).tolist()
        captions = [f"{r} of {n} correct" for r, n in zip(right, view.chosen.sum(dim=1).tolist())]
        cover = self._spread(view.covered[:, None].float(), view.x)
        seen = view.x * (1 - cover) + 0.5 * cover
        decode = getattr(self.targets, "decode", None)
        if decode is None:
            pictures = [draw_codes(units, self.encoder.grid) for units in (guess, true)]
            how = "shown in arbitrary colors"
        else:
            pictures = [decode(units, view.x) for units in (guess, true)]
            pictures[0] = view.x * (1 - cover) + pictures[0] * cover
            how = "shown as decoded images"
        about = (
            "Blocks of patches are masked (gray), and the encoder predicts the target of each "
            f"masked patch, one of {self.targets.size} units. Units are {how}."
        )
        return ImageGrid(
            about,
            [
                ImageColumn("seen", seen),
                ImageColumn("filled in", pictures[0], captions),
                ImageColumn("true units", pictures[1]),
                ImageColumn("view", view.x),
            ],
        )

    def _spread(self, x: Float[Tensor, "b 1 n"], like: Float[Tensor, "b c s s"]) -> Tensor:
        """Return the value of each patch at each of its pixels."""
        return F.interpolate(x.unflatten(2, self.encoder.grid), like.shape[2:], mode="nearest")

    def _hidden(self, view: MaskedImages) -> Float[Tensor, "b k d"]:
        tokens = self.encoder.embed(view.x)
        hide = view.covered[..., None].to(tokens.dtype)
        # products, since torch.where is slow on a CPU; nothing of a masked patch remains
        tokens = tokens * (1 - hide) + self.mask_embedding.to(tokens.dtype) * hide
        hidden: Tensor = self.encoder.forward_at(tokens, view.where)
        return hidden

    @torch.no_grad()
    def _units_of(self, x: Float[Tensor, "b c s s"], n: int) -> Int64[Tensor, "b n"]:
        units = self.targets
        if isinstance(units, nn.Module):
            units.to(x.device)  # does nothing if it is there already
        targets: Tensor = units(x)
        if targets.shape[1] != n:
            raise ValueError(
                f"the targets are {targets.shape[1]} for an image of {x.shape[2]} px and the "
                f"encoder has {n} patches; targets for patches of the encoder's size would be right"
            )
        return targets


def _check_units(units: Units, grid: tuple[int, int], size: int) -> None:
    """Raise ValueError if the targets' patch size is known and differs from the encoder's."""
    patch = getattr(units, "patch", None)
    if patch is not None and (size // patch, size // patch) != grid:
        raise ValueError(
            f"the targets are for patches of {patch} px and the encoder's patches have "
            f"{size // grid[0]} px; one patch size for both would be right"
        )
