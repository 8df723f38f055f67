"""FSQ (Mentzer et al. 2023, arXiv:2309.15505): an autoencoder whose codes are rounded numbers."""

from collections.abc import Sequence
from types import MappingProxyType
from typing import NamedTuple

from jaxtyping import Float, Int64
from torch import Tensor, nn

from selfwise.core.ranges import PositiveShare, Probability, check_ranges
from selfwise.core.rng import Rng
from selfwise.core.types import Encoder, ImageBatch, Step, Term
from selfwise.methods.inspection import ImageGrid, show_reconstructions
from selfwise.methods.method import Method, PaperDefaults, Summary
from selfwise.methods.needs import IMAGE_SIZE
from selfwise.nn.codec import build_decoder
from selfwise.nn.quantizers import FiniteScalarQuantizer, count_distinct_codes
from selfwise.views.image.crop import Crop


class CroppedImages(NamedTuple):
    x: Float[Tensor, "b c s s"]


class FSQ(Method):
    """Finite scalar quantization: every patch becomes one of a fixed set of codes.

    The encoder's vector of a patch is brought to a few numbers, each of which is rounded to one of
    its levels; a decoder makes the image of them. There is no codebook that could fall out of
    use, and one loss: the squared error of the pixels (section 3). It trains a tokenizer for
    `beit`: `codes` are the units.

    Args:
        encoder: one that is made for it, such as codec-small.
        size: side of the views in pixels.
        levels: of each number, with commas between; their product is the number of codes. The
            paper has 8,6,5 for 240 and 8,5,5,5 for 1000 codes.
        min_crop_scale: smallest share of the image's area that a crop may show.
        flip_prob: probability of a horizontal flip; 0 for images where left and right matter.
    """

    modality = "image"
    summary = Summary(
        predicts="the pixels of an image",
        source="one discrete code per patch",
        loss="squared error",
        reference="Mentzer et al. 2023, arXiv:2309.15505",
    )
    needs = MappingProxyType({"size": IMAGE_SIZE})
    default_encoder = "codec-small"
    paper = PaperDefaults(lr=5e-3, base_batch=128, batch_size=128, warmup=0.05, grad_clip=1.0)

    @check_ranges
    def __init__(
        self,
        encoder: Encoder[Tensor],
        *,
        size: int,
        levels: str | Sequence[int] = "8,8,8",
        min_crop_scale: PositiveShare = 0.5,
        flip_prob: Probability = 0.5,
    ):
        super().__init__()
        self.crop = Crop(size, scale=(min_crop_scale, 1.0), flip=flip_prob)
        self.levels = FiniteScalarQuantizer(_parse_levels(levels))
        self.decoder = build_decoder(encoder, self.levels.dim, size=size, name="fsq")
        self.encoder = encoder
        self.inward = nn.Linear(encoder.dim, self.levels.dim)

    @property
    def units(self) -> int:
        """How many codes there are."""
        return self.levels.size

    def view(self, batch: ImageBatch, rng: Rng) -> CroppedImages:
        return CroppedImages(self.crop(batch, rng))

    def counts(self, view: CroppedImages) -> dict[str, Tensor]:
        return {"mse": view.x.new_full((), len(view.x))}

    def forward(self, view: CroppedImages) -> Step:
        z = self._numbers_of(view.x)
        error = (self._image(self.levels(z)) - view.x).square().mean(dim=(1, 2, 3))
        count = error.new_full((), len(error))
        kinds = Term(count_distinct_codes(self.levels.codes(z)).sum(), count)
        return Step({"mse": Term(error.sum(), count)}, {"codes_an_image": kinds})

    def codes(self, x: Float[Tensor, "b c h w"]) -> Int64[Tensor, "b n"]:
        """The code of each patch, in raster order; `x` is in 0 to 1."""
        return self.levels.codes(self._numbers_of(x))

    def decode(self, codes: Int64[Tensor, "b n"]) -> Float[Tensor, "b c h w"]:
        """The images that codes stand for, in 0 to 1."""
        return self._image(self.levels.vectors(codes)).clamp(0, 1)

    def reconstruct(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """What the codes keep of each image, in 0 to 1."""
        return self.decode(self.codes(x))

    def inspect(self, view: CroppedImages) -> ImageGrid:
        """The codes of each view, and what they keep of it."""
        codes = self.codes(view.x)
        return show_reconstructions(view.x, codes, self.decode(codes), tuple(self.encoder.grid))

    def _numbers_of(self, x: Tensor) -> Float[Tensor, "b n k"]:
        tokens = self.encoder(x).tokens
        assert tokens is not None, "a codec has tokens"
        coordinates: Tensor = self.inward(tokens)
        return coordinates

    def _image(self, z: Float[Tensor, "b n k"]) -> Float[Tensor, "b c h w"]:
        images: Tensor = self.decoder(z.mT.unflatten(2, self.encoder.grid))
        return images


def _parse_levels(levels: str | Sequence[int]) -> list[int]:
    """The levels as whole numbers; text is 8,8,8 or [8, 8, 8]."""
    parts = levels.strip(" []()").split(",") if isinstance(levels, str) else list(levels)
    try:
        return [int(part) for part in parts]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"levels must be whole numbers with commas between, such as 8,8,8; got {levels!r}"
        ) from error
