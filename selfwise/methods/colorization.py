"""Colorization (Zhang, Isola, Efros 2016, arXiv:1603.08511): predict colors from lightness."""

from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from selfwise.core.config_class import AbsolutePath, Config
from selfwise.core.progress import format_all
from selfwise.core.ranges import PositiveInt, PositiveShare, Probability, check_ranges
from selfwise.core.rng import Rng
from selfwise.core.types import Encoder, Features, ImageBatch, Step, Term
from selfwise.losses.cross_entropy import count_correct, soft_cross_entropy
from selfwise.methods.default_rules import Conditions, DefaultRule, short_run_lars
from selfwise.methods.inspection import ImageColumn, ImageGrid
from selfwise.methods.method import Method, PaperDefaults, Summary
from selfwise.methods.needs import IMAGE_SIZE, Computed, FromData, ImageSampler
from selfwise.nn.dense_head import DenseHead
from selfwise.views.image.color_bins import (
    BINS,
    TEMPERATURE,
    annealed_mean,
    has_color,
    rarity_weights,
    smooth_prior,
    soft_encode,
    subsample_pixels,
)
from selfwise.views.image.color_counts import count_colors, read_prior
from selfwise.views.image.color_space import lab_to_rgb, lightness, rgb_to_lab
from selfwise.views.image.crop import Crop

FROM_IMAGES = "images"
SAMPLE = 2_000  # images counted: 128,000 pixels of CIFAR, 6 million of photos of 224 px
MIN_COUNT = 1e-6  # count of a batch without colors, so that its loss is 0 and not 0 / 0


class ColorizationView(NamedTuple):
    """Crops, and the colors to predict at one of 4 x 4 pixels."""

    x: Float[Tensor, "b 3 s s"]  # the encoder sees only its lightness
    bins: Int64[Tensor, "b h w k"]  # the nearest bins, nearest first
    share: Float[Tensor, "b h w k"]  # weight of each bin; they add up to 1
    weight: Float[Tensor, "b h w"]  # of each pixel: how rare its nearest bin is
    chosen: Bool[Tensor, "b"]  # True where the image has colors


class PriorOptions(Config):
    """Where the color frequencies come from."""

    prior: Annotated[str, AbsolutePath(FROM_IMAGES)] = FROM_IMAGES
    """Frequencies of the 313 colors: images counts them on a sample of the images; or an npy file
    with 313 numbers in the order of the authors' prior_probs.npy, ascending by a, then by b."""


def color_prior(data: ImageSampler, options: PriorOptions) -> Computed:
    """Return the frequencies of the 313 bins, smoothed as in the paper if counted on the images.

    Raises ValueError for gray images, or if the file does not hold 313 frequencies.
    """
    if data.info.channels != 3:
        raise ValueError(
            f"colorization learns from the colors of images, and these have {data.info.channels} "
            "channel: give it color images, without --channels 1"
        )
    if options.prior != FROM_IMAGES:
        file = Path(options.prior)
        return Computed(read_prior(file), {"of": file.name})
    counted = count_colors(data.sample(SAMPLE, purpose="colors"))
    if not counted.colored:
        raise ValueError(
            f"{format_all(counted.read, 'image', 'are')} gray (every |a| and |b| in Lab is "
            "at most 5), so there are no colors to learn from; give color images"
        )
    about = {"of": FROM_IMAGES, "read": counted.read, "gray": counted.read - counted.colored}
    return Computed(smooth_prior(counted.counts).float(), about)


LOG = "settings for six objectives on CIFAR-10"
SMALL = 64  # px


def _choose_crop(about: Conditions) -> float | None:
    return 0.47 if 0 < about.side <= SMALL else None


RULES = (
    *short_run_lars(4.0, base_batch=128, evidence=LOG),
    DefaultRule("min_crop_scale", "data", _choose_crop, "0.47 up to 64 px", LOG),
)


class Colorization(Method):
    """Cross-entropy over 313 bins of color, from the lightness alone; rare colors count more.

    The representation is the encoder's output for the lightness; probes do not show the encoder
    colors either. The loss leaves out gray images.

    Coarse feature maps give coarse predictions. `--stages` makes the head read finer maps of a
    network too, and ResNets take `--encoder.output_stride 8`, the dilation of the paper.

    Args:
        encoder: any image encoder that sees lightness and has a map of positions.
        size: side of the views in pixels.
        prior: frequency of each bin, 313 numbers; not trained.
        num_neighbors: bins among which a color is divided; 5 in the paper, 10 in the authors' code.
        uniform_weight: weight of the uniform distribution in the prior that defines rarity; 1 turns
            rebalancing off.
        stages: number of the encoder's last feature maps that the head reads.
        head_dim: channels of the head.
        min_crop_scale: smallest fraction of the image's area that a crop may show; 0.47 (176 of 256
            px) in the authors' code.
        flip_prob: probability of a horizontal flip; 0 for images where left and right matter.
    """

    modality = "image"
    rules = RULES
    summary = Summary(
        predicts="the color of each pixel, as one of 313 bins",
        source="the lightness of an image",
        loss="cross-entropy, rare colors weighted more",
        reference="Zhang et al. 2016, arXiv:1603.08511",
    )
    needs = MappingProxyType({"size": IMAGE_SIZE, "prior": FromData(color_prior, PriorOptions)})
    encoder_options = MappingProxyType({"color_space": "lightness"})
    # The authors' solver: Adam with 0.9 and 0.99, weight decay 1e-3 (in the gradient), 3e-5 at 40
    # images for half a million steps of a network without residuals. Our rate is 1e-3 at 256
    # images, which is usual for AdamW on small ResNets in runs of thousands of steps.
    paper = PaperDefaults(lr=1e-3, base_batch=256, weight_decay=1e-3, betas=(0.9, 0.99))

    @check_ranges
    def __init__(
        self,
        encoder: Encoder[Tensor],
        *,
        size: int,
        prior: Float[Tensor, "q"],
        num_neighbors: Annotated[int, Ge(1), Le(BINS)] = 5,
        uniform_weight: Probability = 0.5,
        stages: PositiveInt = 1,
        head_dim: PositiveInt = 256,
        min_crop_scale: PositiveShare = 0.08,
        flip_prob: Probability = 0.5,
    ):
        super().__init__()
        self.crop = Crop(size, scale=(min_crop_scale, 1.0), flip=flip_prob)
        self.encoder, self.num_neighbors, self.stages = encoder, num_neighbors, stages
        self.register_buffer("rarity", rarity_weights(prior, uniform_weight), persistent=False)
        blank = torch.zeros(1, 3, size, size)
        rows, columns = subsample_pixels(blank).shape[2:]
        maps = self._check_maps(blank)
        widths = [part.tokens.shape[2] for part in maps if part.tokens is not None]
        self.head = DenseHead(widths, BINS, grid=(rows, columns), width=head_dim)

    rarity: Tensor

    def view(self, batch: ImageBatch, rng: Rng) -> ColorizationView:
        if batch.x.shape[1] != 3:
            raise ValueError(
                f"colorization needs color images with 3 channels, not {batch.x.shape[1]}"
            )
        x = self.crop(batch, rng)
        ab = rgb_to_lab(subsample_pixels(x))[:, 1:]
        bins, share = soft_encode(ab.permute(0, 2, 3, 1), self.num_neighbors)
        weight = self.rarity.index_select(0, bins[..., 0].flatten()).view(bins.shape[:3])
        return ColorizationView(x, bins, share, weight, has_color(ab))

    def counts(self, view: ColorizationView) -> dict[str, Tensor]:
        return {"colorization_loss": self._count(view)}

    def forward(self, view: ColorizationView) -> Step:
        logits = self.head(self._maps(view.x)).flatten(0, 2)
        bins, share = view.bins.flatten(0, 2), view.share.flatten(0, 2)
        chosen = view.chosen[:, None, None].expand(view.weight.shape).flatten()
        nats = torch.where(chosen, soft_cross_entropy(logits, bins, share), 0.0)
        count = self._count(view)
        # The authors' layer multiplies the gradient and reports the loss without weights, which is
        # the metric here. Their gradient is the gradient of this loss.
        loss = (nats * view.weight.flatten()).sum()
        hits = count_correct(logits, bins[:, 0], chosen)
        metrics = {
            "color_nats": Term(nats.detach().sum(), count),
            "color_accuracy": Term(hits, count),
        }
        return Step({"colorization_loss": Term(loss, count)}, metrics)

    def colors(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """Return the images with their lightness and the predicted colors (section 2.3)."""
        ab = annealed_mean(self.head(self._maps(x)), TEMPERATURE).permute(0, 3, 1, 2)
        ab = F.interpolate(ab, x.shape[2:], mode="bilinear", align_corners=False)
        return lab_to_rgb(torch.cat([lightness(x), ab], dim=1))

    def inspect(self, view: ColorizationView) -> ImageGrid:
        """Return the lightness, the predicted colors, and the true colors."""
        light = lightness(view.x)
        gray = lab_to_rgb(torch.cat([light, torch.zeros_like(view.x[:, 1:])], dim=1))
        about = "The encoder sees the lightness of each pixel and predicts its color."
        guess = self.colors(view.x)
        return ImageGrid(
            about,
            [
                ImageColumn("seen", gray),
                ImageColumn("predicted colors", guess),
                ImageColumn("true colors", view.x),
            ],
        )

    def _count(self, view: ColorizationView) -> Float[Tensor, ""]:
        """Return the number of pixels whose color is predicted."""
        pixels = view.weight.shape[1] * view.weight.shape[2]
        return (view.chosen.sum() * pixels).float().clamp_min(MIN_COUNT)

    def _maps(self, x: Float[Tensor, "b 3 h w"]) -> Sequence[Features]:
        return [self.encoder(x)] if self.stages == 1 else self.encoder.hidden(x)[-self.stages :]

    @torch.no_grad()
    def _check_maps(self, blank: Float[Tensor, "1 3 h w"]) -> Sequence[Features]:
        """Return the maps of an image. Raises ValueError for an unsuitable encoder."""
        if getattr(self.encoder, "color_space", "color") != "lightness":
            raise ValueError(
                "colorization needs an encoder that sees only lightness, and this encoder sees the "
                "colors that it should predict: --encoder.color-space lightness"
            )
        modes = [(part, part.training) for part in self.encoder.modules()]
        self.encoder.eval()
        maps = self._maps(blank)
        for part, training in modes:
            part.training = training
        if len(maps) < self.stages:
            raise ValueError(
                f"stages must be at most {len(maps)}, the maps of this encoder, got {self.stages}"
            )
        if any(part.tokens is None or part.grid is None for part in maps):
            raise ValueError(
                "colorization needs an encoder with a map of positions, and this encoder has none; "
                "resnet18, a ConvNeXt or a ViT would be right"
            )
        return maps
