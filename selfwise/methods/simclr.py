"""SimCLR (Chen et al. 2020, arXiv:2002.05709): views of one image attract, other images repel."""

from types import MappingProxyType
from typing import Annotated, NamedTuple

import torch
import torch.distributed as dist
from annotated_types import Ge, Le
from jaxtyping import Float
from torch import Tensor

from selfwise.core.ranges import (
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    PositiveShare,
    Probability,
    check_ranges,
)
from selfwise.core.rng import Rng
from selfwise.core.types import Encoder, ImageBatch, Step
from selfwise.distributed.collectives import gather_rows, gather_views, world_size
from selfwise.losses.contrastive import (
    nt_xent,
    nt_xent_shard,
    unit_views,
)
from selfwise.methods.default_rules import (
    CROP_RULES,
    VIEW_CANDIDATES,
    choose_on_cpu,
    short_run_lars,
)
from selfwise.methods.inspection import ImageColumn, ImageGrid
from selfwise.methods.method import Method, PaperDefaults, Summary, mean_over
from selfwise.methods.needs import IMAGE_SIZE
from selfwise.nn.heads import ProjectionHead
from selfwise.views.image.augment import build_simclr_augment


class TwoViews(NamedTuple):
    a: Float[Tensor, "b c s s"]
    b: Float[Tensor, "b c s s"]


LOG = "settings for SimCLR on CIFAR-10 with two cores"
RULES = (
    *CROP_RULES,
    *short_run_lars(4.0, base_batch=256, evidence=LOG),
    choose_on_cpu("temperature", 0.2, LOG),
)


class SimCLR(Method):
    """Two augmentations of each image, one encoder, a projection head, NT-Xent.

    The representation is h, the encoder's output. z, the output of the projection head, is
    discarded after training (section 4.2: h is more than 10 points better).

    Args:
        encoder: any image encoder.
        size: side of the views in pixels.
        proj_dim: width of z, on which the loss is computed.
        proj_layers: layers of the projection head, 2 (paper) or 3 (the authors' later code).
        temperature: temperature of NT-Xent. 0.5 suits small batches and CIFAR (appendix B.9), 0.1
            ImageNet.
        min_crop_scale: smallest fraction of the image's area that a crop may show.
        flip_prob: probability of a horizontal flip; 0 for images where left and right matter.
        jitter_strength: strength of the color jitter; by default 1, and 0.5 up to 64 px (appendix
            B.9).
        blur_prob: probability of Gaussian blur; by default 0.5, and 0 up to 64 px (appendix B.9).
    """

    modality = "image"
    rules = RULES
    # temperatures of table 5 and of appendix B.9
    candidates = MappingProxyType({**VIEW_CANDIDATES, "temperature": (0.1, 0.2, 0.5, 1.0)})
    summary = Summary(
        predicts="which views are of one image",
        source="two augmented views of each image",
        loss="NT-Xent",
        reference="Chen et al. 2020, arXiv:2002.05709",
    )
    needs = MappingProxyType({"size": IMAGE_SIZE})
    rounded_view = True  # pixels have eight bits; measured in docs/results.md
    couples_batch = "NT-Xent compares each image with all other images of the batch"
    # Section 2.2 and appendix B.1: LARS, 0.075 * sqrt(batch), 10 of 100 epochs of warm-up.
    # Decay 1e-6 is the paper's; the README of the authors' code has 1e-4.
    paper = PaperDefaults("lars", lr=1.2, base_batch=256, scaling="sqrt", weight_decay=1e-6)

    @check_ranges
    def __init__(
        self,
        encoder: Encoder[Tensor],
        *,
        size: int,
        proj_dim: PositiveInt = 128,
        proj_layers: Annotated[int, Ge(2), Le(3)] = 2,
        temperature: PositiveFloat = 0.5,
        min_crop_scale: PositiveShare = 0.08,
        flip_prob: Probability = 0.5,
        jitter_strength: NonNegativeFloat | None = None,
        blur_prob: Probability | None = None,
    ):
        super().__init__()
        self.augment = build_simclr_augment(
            size,
            min_crop_scale=min_crop_scale,
            flip_prob=flip_prob,
            jitter_strength=jitter_strength,
            blur_prob=blur_prob,
        )
        self.encoder, self.temperature = encoder, temperature
        self.projection = ProjectionHead(encoder.dim, dim=proj_dim, layers=proj_layers)

    def view(self, batch: ImageBatch, rng: Rng) -> TwoViews:
        return TwoViews(self.augment(batch, rng), self.augment(batch, rng))

    def counts(self, view: TwoViews) -> dict[str, Tensor]:
        return {"nt_xent": view.a.new_full((), 2 * len(view.a))}

    def forward(self, view: TwoViews) -> Step:
        # one pass over both views, as in the authors' code: batch norm sees both together
        z = self.projection(self.encoder(torch.cat(view)).pooled)
        a, b = z.chunk(2)
        loss = nt_xent_over_ranks(a, b, self.temperature)
        own, other = _cosines(gather_rows(a.detach()), gather_rows(b.detach()))
        first = (own > other).float().mean()
        terms = {"nt_xent": mean_over(loss, len(z))}
        return Step(terms, {"contrastive_top1": mean_over(first, len(a))})

    def inspect(self, view: TwoViews) -> ImageGrid:
        """Return both views, and whether each is closest to its partner among all images."""
        own, other = _cosines(*self.projection(self.encoder(torch.cat(view)).pooled).chunk(2))
        about = (
            "Two views of each image should be similar, and unlike the views of all other images. "
            f"Of {len(view.a)} images, {int((own > other).sum())} have their own other view as "
            "nearest neighbor. The caption gives the cosines with the other view and with another "
            "image."
        )
        captions = [f"cosine {o:.2f}, other {n:.2f}" for o, n in zip(own.tolist(), other.tolist())]
        return ImageGrid(
            about,
            [ImageColumn("view 1", view.a), ImageColumn("view 2", view.b, captions, own > other)],
        )


def nt_xent_over_ranks(
    a: Float[Tensor, "n d"], b: Float[Tensor, "n d"], temperature: float
) -> Float[Tensor, ""]:
    """Return NT-Xent of this process's examples among the examples of all processes.

    Every process has the same number of examples. Gradients reach all processes.
    """
    if world_size() == 1:
        return nt_xent(a, b, temperature)
    own = unit_views(a, b)
    return nt_xent_shard(own, gather_views(own), dist.get_rank() * len(a), temperature)


@torch.no_grad()
def _cosines(
    a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]
) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
    """Return the cosine of each first view with its partner, and with the nearest other image."""
    a, b = (torch.nn.functional.normalize(z.float(), dim=1) for z in (a, b))
    own = (a * b).sum(dim=1)
    eye = torch.eye(len(a), dtype=torch.bool, device=a.device)
    others = torch.cat([a @ a.T, a @ b.T], 1).masked_fill(eye.repeat(1, 2), -torch.inf)
    return own, others.amax(dim=1)
