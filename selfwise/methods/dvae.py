"""dVAE (Ramesh et al. 2021, arXiv:2102.12092): an autoencoder with one discrete code per patch."""

from math import log, pi, prod, sqrt
from types import MappingProxyType
from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from jaxtyping import Float, Int64
from torch import Tensor, nn

from selfwise.core.ranges import (
    NonNegativeFloat,
    PositiveInt,
    PositiveShare,
    Probability,
    check_ranges,
)
from selfwise.core.rng import Rng
from selfwise.core.types import Encoder, ImageBatch, Step, Term
from selfwise.methods.inspection import ImageGrid, show_reconstructions
from selfwise.methods.method import Method, PaperDefaults, Summary
from selfwise.methods.needs import IMAGE_SIZE
from selfwise.nn.codec import build_decoder
from selfwise.nn.quantizers import count_distinct_codes, gumbel_noise
from selfwise.views.image.crop import Crop


class NoisyImages(NamedTuple):
    x: Float[Tensor, "b c s s"]
    noise: Float[Tensor, "b n k"]  # uniform, one number for every patch and code


class DVAE(Method):
    """The discrete VAE of DALL-E, which gave BEiT its targets, here with squared errors.

    The encoder scores every code for every patch. In training, the decoder sees a mixture of code
    vectors drawn by Gumbel-softmax; the temperature falls along a cosine until the mixture is
    nearly a single code (appendix A.2). After training, a patch has the code with the highest
    score. A second loss term pulls the scores of each patch towards equal probabilities of all
    codes. The trained model is an image tokenizer for `beit`: its codes are the targets.

    DALL-E uses a logit-Laplace likelihood of the pixels and a KL weight of 6.6. BEiT's own dVAE
    (appendix C, `modeling_discrete_vae.py`) uses squared errors, as this method does.

    The noise is part of the view: 4 bytes for each code of each patch, 17 MB for 128 images of 64
    patches and 512 codes.

    Args:
        encoder: an encoder built for image tokenizers, such as codec-small.
        size: side of the views in pixels.
        codebook_size: number of codes; 8192 suits a million images, 512 about 50,000 small images.
        code_dim: width of the code vectors.
        anneal_steps: steps in which the temperature falls from 1 and the weight of the KL term
            rises.
        temperature: final temperature.
        kl_weight: weight of the KL term, in nats per patch, relative to the mean squared error of
            the pixels.
        min_crop_scale: smallest fraction of the image's area that a crop may show.
        flip_prob: probability of a horizontal flip; 0 for images where left and right matter.
    """

    modality = "image"
    summary = Summary(
        predicts="the pixels of an image",
        source="one discrete code per patch",
        loss="squared error and KL divergence",
        reference="Ramesh et al. 2021, arXiv:2102.12092",
    )
    needs = MappingProxyType({"size": IMAGE_SIZE})
    default_encoder = "codec-small"
    paper = PaperDefaults(lr=5e-3, base_batch=128, batch_size=128, warmup=0.05, grad_clip=1.0)

    step: Tensor

    @check_ranges
    def __init__(
        self,
        encoder: Encoder[Tensor],
        *,
        size: int,
        codebook_size: Annotated[int, Ge(2), Le(2**16)] = 512,
        code_dim: PositiveInt = 128,
        anneal_steps: PositiveInt = 1000,
        temperature: PositiveShare = 1 / 16,
        kl_weight: NonNegativeFloat = 3e-4,
        min_crop_scale: PositiveShare = 0.5,
        flip_prob: Probability = 0.5,
    ):
        super().__init__()
        self.crop = Crop(size, scale=(min_crop_scale, 1.0), flip=flip_prob)
        self.decoder = build_decoder(encoder, code_dim, size=size, name="dvae")
        self.encoder = encoder
        self.scores = _scores(encoder.dim, codebook_size)
        self.table = nn.Embedding(codebook_size, code_dim)
        self.anneal_steps, self.last_temperature, self.kl_weight = (
            anneal_steps,
            temperature,
            kl_weight,
        )
        # number of steps so far; saved with the weights, so that a resumed run continues from it
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    @property
    def units(self) -> int:
        """The number of codes."""
        return self.table.num_embeddings

    @property
    def temperature(self) -> Float[Tensor, ""]:
        """The temperature of the next step, as a tensor, to avoid waiting for the device."""
        falling = 0.5 * (1 + (pi * self._annealed).cos())
        return self.last_temperature + (1 - self.last_temperature) * falling

    def after_step(self) -> None:
        self.step += 1

    def view(self, batch: ImageBatch, rng: Rng) -> NoisyImages:
        x = self.crop(batch, rng)
        noise = rng.uniform(len(x), prod(self.encoder.grid), self.units)
        return NoisyImages(x, noise.to(x.device, non_blocking=True))

    def counts(self, view: NoisyImages) -> dict[str, Tensor]:
        return {name: view.x.new_full((), len(view.x)) for name in ("mse", "kl")}

    def forward(self, view: NoisyImages) -> Step:
        scores = self._scores_of(view.x)
        temperature = self.temperature
        noisy = (scores + gumbel_noise(view.noise)) / temperature
        reconstructed = self._image(noisy.softmax(dim=2).to(scores.dtype) @ self.table.weight)
        error = (reconstructed - view.x).square().mean(dim=(1, 2, 3))
        share = scores.log_softmax(dim=2)
        kl = (share.exp() * share).sum(dim=2).mean(dim=1) + log(self.units)
        count = error.new_full((), len(error))
        terms = {"mse": error, "kl": self.kl_weight * self._annealed * kl}
        kinds = count_distinct_codes(scores.argmax(dim=2)).sum()
        return Step(
            {name: Term(each.sum(), count) for name, each in terms.items()},
            {"codes_an_image": Term(kinds, count), "temperature": Term(temperature * count, count)},
        )

    def codes(self, x: Float[Tensor, "b c h w"]) -> Int64[Tensor, "b n"]:
        """Return the code of each patch, in raster order; `x` is in 0 to 1."""
        return self._scores_of(x).argmax(dim=2)

    def decode(self, codes: Int64[Tensor, "b n"]) -> Float[Tensor, "b c h w"]:
        """Return the images that codes represent, in 0 to 1."""
        return self._image(F.embedding(codes, self.table.weight)).clamp(0, 1)

    def reconstruct(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return each image as decoded from its codes, in 0 to 1."""
        return self.decode(self.codes(x))

    def inspect(self, view: NoisyImages) -> ImageGrid:
        """Return the codes of each view, and the image decoded from them."""
        codes = self.codes(view.x)
        return show_reconstructions(view.x, codes, self.decode(codes), tuple(self.encoder.grid))

    @property
    def _annealed(self) -> Float[Tensor, ""]:
        return (self.step / self.anneal_steps).clamp_max(1)

    def _scores_of(self, x: Tensor) -> Float[Tensor, "b n k"]:
        tokens = self.encoder(x).tokens
        assert tokens is not None, "a codec has tokens"
        scores = self.scores(tokens)
        logits: Tensor = scores.to(torch.promote_types(scores.dtype, torch.float32))
        return logits

    def _image(self, vectors: Float[Tensor, "b n d"]) -> Float[Tensor, "b c h w"]:
        images: Tensor = self.decoder(vectors.mT.unflatten(2, self.encoder.grid))
        return images


def _scores(dim: int, codebook: int) -> nn.Sequential:
    """Build a layer whose initial scores tell patches apart: their deviation is 2, and that of the
    noise 1.3. With small initial scores a few codes win all patches, and the final error was twice
    as large (CIFAR-10, 300 steps)."""
    linear = nn.Linear(dim, codebook)
    nn.init.normal_(linear.weight, std=2 / sqrt(dim))
    nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.LayerNorm(dim, elementwise_affine=False), linear)
