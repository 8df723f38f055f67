"""Triplet loss without labels (FaceNet, Schroff et al. 2015, arXiv:1503.03832): two views of an
image are nearer to each other than to views of other images, by a margin."""

from types import MappingProxyType
from typing import Annotated, NamedTuple

import torch
from annotated_types import Ge, Le
from jaxtyping import Float, Float32
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
from selfwise.distributed.collectives import gather_rows, gather_views
from selfwise.losses import triplet_mining as ways
from selfwise.methods.default_rules import (
    CROP_RULES,
    VIEW_CANDIDATES,
    choose_on_cpu,
    short_run_lars,
)
from selfwise.methods.inspection import ImageGrid, show_triplets
from selfwise.methods.method import Method, PaperDefaults, Summary, scale_by_world_size
from selfwise.methods.needs import IMAGE_SIZE
from selfwise.nn.heads import ProjectionHead
from selfwise.views.image.augment import build_simclr_augment


class ImagePairs(NamedTuple):
    """Row i of `a` is similar to row i of `b`; all other pairs are not.

    Here a pair is two views of an image. Another source of pairs needs only another `view`.
    """

    a: Float[Tensor, "b c s s"]
    b: Float[Tensor, "b c s s"]
    draw: Float32[Tensor, "b 2"] | None = None  # for random negatives of each side


LOG = "settings for six objectives on CIFAR-10"
RULES = (
    *CROP_RULES,
    *short_run_lars(4.0, base_batch=256, evidence=LOG),
    choose_on_cpu("margin", 1.0, LOG),
)


class Triplet(Method):
    """Two augmentations of each image, negatives from the batch, the triplet loss. No labels.

    Each view is the anchor once, and the other view of its image is the positive. Views and head
    are those of SimCLR, with the same option names: SimCLR's table 4 compares NT-Xent with this
    loss on them, with and without semi-hard mining.

    Args:
        encoder: any image encoder.
        size: side of the views in pixels.
        proj_dim: width of the embedding, on which the loss is computed.
        proj_layers: layers of the projection head, 2 or 3.
        margin: how much farther a negative must be, in squared distance on the unit sphere.
        mining: how to choose the negative: semihard (the nearest that is farther than the positive
            and within the margin), hard (the nearest) or random.
        min_crop_scale: smallest fraction of the image's area that a crop may show.
        flip_prob: probability of a horizontal flip; 0 for images where left and right matter.
        jitter_strength: strength of the color jitter; by default 1, and 0.5 up to 64 px.
        blur_prob: probability of Gaussian blur; by default 0.5, and 0 up to 64 px.
    """

    modality = "image"
    rules = RULES
    candidates = MappingProxyType({**VIEW_CANDIDATES, "mining": ("semihard", "hard", "random")})
    summary = Summary(
        predicts="that two views are nearer than a negative",
        source="two augmented views of each image",
        loss="triplet loss with mining",
        reference="Schroff et al. 2015, arXiv:1503.03832",
    )
    needs = MappingProxyType({"size": IMAGE_SIZE})
    rounded_view = True  # pixels have eight bits, as in SimCLR
    couples_batch = "the triplet loss takes its negatives from the whole batch"
    # SimCLR's recipe (section 2.2, appendix B.1), as in its comparison of losses. LARS is not
    # affected when gradients shrink as triplets are solved. FaceNet: AdaGrad from 0.05, batch
    # 1,800.
    paper = PaperDefaults("lars", lr=1.2, base_batch=256, scaling="sqrt", weight_decay=1e-6)

    @check_ranges
    def __init__(
        self,
        encoder: Encoder[Tensor],
        *,
        size: int,
        proj_dim: PositiveInt = 128,
        proj_layers: Annotated[int, Ge(2), Le(3)] = 2,
        margin: PositiveFloat = 0.2,
        mining: str = "semihard",
        min_crop_scale: PositiveShare = 0.08,
        flip_prob: Probability = 0.5,
        jitter_strength: NonNegativeFloat | None = None,
        blur_prob: Probability | None = None,
    ):
        super().__init__()
        ways.check_mining(mining, margin, ways.VIEW_RULES)
        self.augment = build_simclr_augment(
            size,
            min_crop_scale=min_crop_scale,
            flip_prob=flip_prob,
            jitter_strength=jitter_strength,
            blur_prob=blur_prob,
        )
        self.encoder, self.margin, self.mining = encoder, margin, mining
        self.projection = ProjectionHead(encoder.dim, dim=proj_dim, layers=proj_layers)

    def view(self, batch: ImageBatch, rng: Rng) -> ImagePairs:
        a, b = self.augment(batch, rng), self.augment(batch, rng)
        if self.mining != "random":
            return ImagePairs(a, b)
        return ImagePairs(a, b, rng.uniform(len(a), 2).to(a.device, non_blocking=True))

    def counts(self, view: ImagePairs) -> dict[str, Tensor]:
        rows = 2 * len(view.a)
        return {"triplet_loss": view.a.new_full((), ways.count_mined_pairs(self.mining, rows, 1))}

    def forward(self, view: ImagePairs) -> Step:
        z, image, partner, draw = self._embed_views(view)
        step = ways.triplet_step(
            z, image, partner, mining=self.mining, margin=self.margin, draw=draw
        )
        return scale_by_world_size(step)

    def _embed_views(self, view: ImagePairs) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return embeddings of all views, their image, their partner, and a draw for mining."""
        # one pass over both views, as in SimCLR's code: batch norm sees both together
        z = self.projection(self.encoder(torch.cat([view.a, view.b])).pooled)
        z = gather_views(z)  # negatives come from all processes
        row = torch.arange(len(z), device=z.device)
        n = len(z) // 2
        if view.draw is not None:
            view = view._replace(draw=gather_rows(view.draw))
        draw = None if view.draw is None else view.draw.T.reshape(-1, 1)
        return z, row % n, row.roll(n)[:, None], draw

    def inspect(self, view: ImagePairs) -> ImageGrid:
        """Return first views as anchors, with the negatives mined among these images."""
        x, n = torch.cat([view.a, view.b]), len(view.a)
        z, image, partner, draw = self._embed_views(view)
        distance, triplets = ways.mine_triplets(
            z, image, partner, mining=self.mining, margin=self.margin, draw=draw
        )
        about = (
            "Two views of an image are the anchor and the positive. The negative is a view of "
            f"another of {n} images, {ways.DESCRIPTIONS[self.mining]}. Captions give squared "
            f"distances (0 to 4); the negative should be farther by {self.margin:g}."
        )
        return ImageGrid(about, show_triplets(x, distance, *(part[:n] for part in triplets)))
