"""RotNet (Gidaris et al. 2018, arXiv:1803.07728): predict the rotation of an image."""

from types import MappingProxyType
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from selfwise.core.ranges import PositiveShare, Probability, check_ranges
from selfwise.core.rng import Rng
from selfwise.core.types import Encoder, ImageBatch, Step
from selfwise.methods.default_rules import short_run_lars
from selfwise.methods.inspection import ImageColumn, ImageGrid
from selfwise.methods.method import Method, PaperDefaults, Summary, cross_entropy_step
from selfwise.methods.needs import IMAGE_SIZE
from selfwise.views.image.crop import Crop
from selfwise.views.image.tiles import TURNS, rotate_four_ways
from selfwise.views.image.window import Shift

MAX_SHIFTED_SIZE = 64  # pixels: images up to this size are shifted, not cropped


class RotatedImages(NamedTuple):
    """All four rotations of each image, and the label of each rotation."""

    x: Float[Tensor, "b 4 c s s"]
    label: Int64[Tensor, "b 4"]


RULES = short_run_lars(4.0, base_batch=128, evidence="settings for six objectives on CIFAR-10")


class Rotation(Method):
    """All four exact rotations of each image in one batch, and a linear layer that predicts them.

    A batch of 128 images is a batch of 512 for the encoder.

    Args:
        encoder: any image encoder.
        size: side of the views in pixels.
        min_crop_scale: smallest fraction of the image's area that a random crop may show. By
            default 0.08; images up to 64 px are not cropped but shifted by up to an eighth of the
            side, as in the authors' code for CIFAR.
        flip_prob: probability of a horizontal flip before the rotation.
    """

    modality = "image"
    rules = RULES
    summary = Summary(
        predicts="the rotation of an image",
        source="the rotated image",
        loss="cross-entropy over four rotations",
        reference="Gidaris et al. 2018, arXiv:1803.07728",
    )
    needs = MappingProxyType({"size": IMAGE_SIZE})
    rounded_view = True  # pixels have eight bits
    # The authors' code for CIFAR-10: 0.1 at 128 images (512 with rotations). It lowers the rate in
    # four steps without warm-up. Here it falls along a cosine, after the warm-up that later code
    # has
    # (VISSL, google/revisiting-self-supervised: 5 epochs of 105, of 35).
    paper = PaperDefaults(
        "sgd",
        lr=0.1,
        base_batch=128,
        scaling="linear",
        batch_size=128,
        weight_decay=5e-4,
        warmup=0.05,
    )

    @check_ranges
    def __init__(
        self,
        encoder: Encoder[Tensor],
        *,
        size: int,
        min_crop_scale: PositiveShare | None = None,
        flip_prob: Probability = 0.5,
    ):
        super().__init__()
        self.upright: Shift | Crop = (
            Shift(size, size // 8, flip_prob)
            if min_crop_scale is None and size <= MAX_SHIFTED_SIZE
            else Crop(
                size,
                scale=(0.08 if min_crop_scale is None else min_crop_scale, 1.0),
                flip=flip_prob,
            )
        )
        self.encoder, self.head = encoder, nn.Linear(encoder.dim, TURNS)

    def view(self, batch: ImageBatch, rng: Rng) -> RotatedImages:
        # rotated last, at the final square size: no black corners, and no resampling afterwards
        return RotatedImages(*rotate_four_ways(self.upright(batch, rng)))

    def counts(self, view: RotatedImages) -> dict[str, Tensor]:
        return {"rotation_loss": view.x.new_full((), view.label.numel())}

    def forward(self, view: RotatedImages) -> Step:
        logits = self.head(self.encoder(view.x.flatten(0, 1)).pooled)
        return cross_entropy_step("rotation", logits, view.label.flatten())

    def inspect(self, view: RotatedImages) -> ImageGrid:
        """Return one rotation of each image, cycling through the four rotations."""
        row = torch.arange(len(view.x), device=view.x.device)
        turn = row % TURNS
        x = view.x[row, turn]
        chance, answer = self.head(self.encoder(x).pooled).float().softmax(dim=1).max(dim=1)
        back = torch.stack([torch.rot90(x[i], -int(a), (1, 2)) for i, a in enumerate(answer)])
        captions = [
            f"predicted {90 * a}°, {100 * c:.0f} %"
            for a, c in zip(answer.tolist(), chance.tolist())
        ]
        about = "Each image is rotated, and the encoder predicts by how much."
        return ImageGrid(
            about,
            [
                ImageColumn("rotated", x, [f"by {90 * quarters}°" for quarters in turn.tolist()]),
                ImageColumn("rotated back", back, captions, answer == turn),
            ],
        )
