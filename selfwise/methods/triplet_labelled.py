"""Triplet loss with labels (FaceNet, Schroff et al. 2015, arXiv:1503.03832): images of an identity
are nearer to each other than to images of other identities, by a margin."""

from functools import partial
from types import MappingProxyType
from typing import Annotated, NamedTuple

import torch
from annotated_types import Ge
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from selfwise.core.ranges import (
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    PositiveShare,
    Probability,
    check_ranges,
)
from selfwise.core.rng import Rng
from selfwise.core.types import Encoder, Labelled, Step
from selfwise.distributed.collectives import gather_rows
from selfwise.losses import triplet_mining as ways
from selfwise.methods.inspection import ImageGrid, show_triplets
from selfwise.methods.method import Method, PaperDefaults, Summary, scale_by_world_size
from selfwise.methods.needs import IMAGE_SIZE
from selfwise.views.image.augment import build_supervised_augment
from selfwise.views.image.pk_sampler import PKSampler


class LabelledTriplets(NamedTuple):
    x: Float[Tensor, "b c s s"]
    identity: Int64[Tensor, "b"]
    draw: Float32[Tensor, "b k"] | None = None  # for random negatives of each partner


class TripletLabelled(Method):
    """Batches of P identities with K images each, a linear embedding, the triplet loss.

    Every pair of images of an identity is an anchor and a positive. The views are those of
    `supervised`, so that a comparison differs only in the objective.

    Args:
        encoder: any image encoder.
        size: side of the views in pixels.
        proj_dim: width of the embedding, on which the loss is computed.
        margin: how much farther a negative must be, in squared distance on the unit sphere.
        mining: how to choose the negative: semihard (the nearest that is farther than the positive
            and within the margin), hard (the nearest), random, or batch_hard (the nearest, with
            only the farthest positive).
        images_per_identity: images of each identity in a batch, K; must divide the batch size.
        min_crop_scale: smallest fraction of the image's area that a crop may show.
        flip_prob: probability of a horizontal flip.
        jitter_strength: strength of the color jitter and its grayscale; 0 for none.
        blur_prob: probability of Gaussian blur.
    """

    modality = "image"
    summary = Summary(
        predicts="that images of a class are nearer than a negative",
        source="images with labels",
        loss="triplet loss with mining",
        reference="Schroff et al. 2015, arXiv:1503.03832",
    )
    needs = MappingProxyType({"size": IMAGE_SIZE})
    labelled = True
    rounded_view = True  # pixels have eight bits
    couples_batch = "the triplet loss takes its negatives from the whole batch"
    paper = PaperDefaults("adamw", lr=1e-3, warmup=0.05)

    @check_ranges
    def __init__(
        self,
        encoder: Encoder[Tensor],
        *,
        size: int,
        proj_dim: PositiveInt = 128,
        margin: PositiveFloat = 0.2,
        mining: str = "semihard",
        images_per_identity: Annotated[int, Ge(2)] = 4,
        min_crop_scale: PositiveShare = 0.2,
        flip_prob: Probability = 0.5,
        jitter_strength: NonNegativeFloat = 0.0,
        blur_prob: Probability = 0.0,
    ):
        super().__init__()
        ways.check_mining(mining, margin, ways.LABEL_RULES)
        self.augment = build_supervised_augment(
            size,
            min_crop_scale=min_crop_scale,
            flip_prob=flip_prob,
            jitter_strength=jitter_strength,
            blur_prob=blur_prob,
        )
        self.encoder, self.margin, self.mining = encoder, margin, mining
        self.images_per_identity = images_per_identity
        self.draw = partial(PKSampler, images_per_identity=images_per_identity)
        self.embedding = nn.Linear(encoder.dim, proj_dim)

    def view(self, batch: Labelled, rng: Rng) -> LabelledTriplets:
        x = self.augment(batch.batch, rng)
        if self.mining != "random":
            return LabelledTriplets(x, batch.label)
        draw = rng.uniform(len(x), self.images_per_identity - 1)
        return LabelledTriplets(x, batch.label, draw.to(x.device, non_blocking=True))

    def counts(self, view: LabelledTriplets) -> dict[str, Tensor]:
        pairs = ways.count_mined_pairs(self.mining, len(view.x), self.images_per_identity - 1)
        return {"triplet_loss": view.x.new_full((), pairs)}

    def forward(self, view: LabelledTriplets) -> Step:
        z, identity, partner, draw = self._embed_images(view)
        step = ways.triplet_step(
            z, identity, partner, mining=self.mining, margin=self.margin, draw=draw
        )
        return scale_by_world_size(step)

    def inspect(self, view: LabelledTriplets) -> ImageGrid:
        """Return the first image of each identity as the anchor, with its first triplet."""
        z, identity, partner, draw = self._embed_images(view)
        distance, triplets = ways.mine_triplets(
            z, identity, partner, mining=self.mining, margin=self.margin, draw=draw
        )
        same, row = view.identity[:, None] == view.identity, torch.arange(len(view.x))
        first = (same.int().argmax(dim=1).cpu() == row).nonzero()[:, 0].to(view.x.device)
        each = len(triplets.anchor) // len(view.x)  # triplets of each row
        triplet = first * each + triplets.chosen.view(-1, each)[first].int().argmax(dim=1)
        anchor, positive, negative, chosen = (part[triplet] for part in triplets)
        columns = show_triplets(view.x, distance, anchor, positive, negative, chosen)
        names = [view.identity[who] for who in (anchor, positive, negative)]
        names[2] = torch.where(chosen, names[2], -1)
        about = (
            "Two images of a class are the anchor and the positive. The negative is of another "
            f"class, {ways.DESCRIPTIONS[self.mining]}. Captions give squared distances (0 to 4); "
            f"the negative should be farther by {self.margin:g}."
        )
        named = [column._replace(labels=own) for column, own in zip(columns, names)]
        return ImageGrid(about, named, first)

    def _embed_images(self, view: LabelledTriplets) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return embeddings, the identity of each, its partners, and a draw for mining."""
        # negatives come from all processes
        z, identity = (
            gather_rows(self.embedding(self.encoder(view.x).pooled)),
            gather_rows(view.identity),
        )
        partner = ways.find_positives_grouped(identity, self.images_per_identity)
        draw = None if view.draw is None else gather_rows(view.draw)
        return z, identity, partner, draw
