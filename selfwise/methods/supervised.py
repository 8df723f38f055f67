"""The supervised baseline: minimize the mean cross-entropy over labeled examples."""

from types import MappingProxyType
from typing import NamedTuple

import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from selfwise.core.ranges import NonNegativeFloat, PositiveShare, Probability, check_ranges
from selfwise.core.rng import Rng
from selfwise.core.types import Encoder, Labelled, Step, Term
from selfwise.methods.inspection import ImageColumn, ImageGrid
from selfwise.methods.method import Method, PaperDefaults, Summary
from selfwise.methods.needs import IMAGE_SIZE, NUM_CLASSES
from selfwise.views.image.augment import build_supervised_augment


class LabelledImages(NamedTuple):
    x: Float[Tensor, "b c s s"]
    label: Int64[Tensor, "b"]


class Supervised(Method):
    """One augmentation of each image, the encoder and a linear layer, cross-entropy.

    The views are SimCLR's, with the same option names, so that a comparison differs only in the
    objective.

    Args:
        encoder: any image encoder.
        size: side of the views in pixels.
        classes: number of classes.
        min_crop_scale: smallest fraction of the image's area that a crop may show.
        flip_prob: probability of a horizontal flip.
        jitter_strength: strength of the color jitter and its grayscale; 0 for none.
        blur_prob: probability of Gaussian blur.
    """

    modality = "image"
    summary = Summary(
        predicts="the class",
        source="one augmented view of an image",
        loss="cross-entropy on labels, a baseline",
        reference="-",
    )
    needs = MappingProxyType({"size": IMAGE_SIZE, "classes": NUM_CLASSES})
    rounded_view = True  # pixels have eight bits; measured in docs/results.md
    labelled = True
    # the ImageNet recipe of ResNet (He et al. 2015) with linear scaling (Goyal et al. 2017)
    paper = PaperDefaults(
        "sgd", lr=0.1, base_batch=256, scaling="linear", weight_decay=1e-4, warmup=0.05
    )

    @check_ranges
    def __init__(
        self,
        encoder: Encoder[Tensor],
        *,
        size: int,
        classes: int,
        min_crop_scale: PositiveShare = 0.2,
        flip_prob: Probability = 0.5,
        jitter_strength: NonNegativeFloat = 0.0,
        blur_prob: Probability = 0.0,
    ):
        super().__init__()
        if classes < 2:
            raise ValueError(
                f"supervised needs two classes or more, got {classes}: with one class the loss is "
                "0 and the accuracy 100 % for any encoder"
            )
        self.augment = build_supervised_augment(
            size,
            min_crop_scale=min_crop_scale,
            flip_prob=flip_prob,
            jitter_strength=jitter_strength,
            blur_prob=blur_prob,
        )
        self.encoder, self.head = encoder, nn.Linear(encoder.dim, classes)

    def view(self, batch: Labelled, rng: Rng) -> LabelledImages:
        return LabelledImages(self.augment(batch.batch, rng), batch.label)

    def predict(self, x: Float[Tensor, "b c s s"]) -> Float[Tensor, "b classes"]:
        """Return the logits of each class."""
        logits: Tensor = self.head(self.encoder(x).pooled).float()
        return logits

    def counts(self, view: LabelledImages) -> dict[str, Tensor]:
        return {"cross_entropy": view.x.new_full((), len(view.x))}

    def forward(self, view: LabelledImages) -> Step:
        logits = self.predict(view.x)
        loss = F.cross_entropy(logits, view.label, reduction="sum")
        right = (logits.argmax(dim=1) == view.label).float().sum()
        count = self.counts(view)["cross_entropy"]
        return Step({"cross_entropy": Term(loss, count)}, {"accuracy": Term(right, count)})

    def inspect(self, view: LabelledImages) -> ImageGrid:
        """Return the view of each image, and its predicted class."""
        chance, answer = self.predict(view.x).softmax(dim=1).max(dim=1)
        captions = [f"{100 * share:.0f} %" for share in chance.tolist()]
        column = ImageColumn("view", view.x, captions, answer == view.label, answer)
        return ImageGrid("The method predicts the class of each image from one view.", [column])
