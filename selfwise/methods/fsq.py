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

    The encoder's vector of a patch is projected to a few numbers, and each number is rounded to one
    of its levels. A decoder reconstructs the image from them. There is no codebook whose entries
    could fall out of use, and the only loss is the squared error of the pixels (section 3). The
    trained model is an image tokenizer for `beit`: its codes are the targets.

    Args:
        encoder: an encoder built for image tokenizers, such as codec-small.
        size: side of the views in pixels.
        levels: levels of each number, separated by commas; their product is the number of codes.
            The paper has 8,6,5 for 240 and 8,5,5,5 for 1000 codes.
        min_crop_scale: smallest fraction of the image's area that a crop may show.
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
        """The number of codes."""
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
        """Return the code of each patch, in raster order; `x` is in 0 to 1."""
        return self.levels.codes(self._numbers_of(x))

    def decode(self, codes: Int64[Tensor, "b n"]) -> Float[Tensor, "b c h w"]:
        """Return the images that codes represent, in 0 to 1."""
        return self._image(self.levels.vectors(codes)).clamp(0, 1)

    def reconstruct(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return each image as decoded from its codes, in 0 to 1."""
        return self.decode(self.codes(x))

    def inspect(self, view: CroppedImages) -> ImageGrid:
        """Return the codes of each view, and the image decoded from them."""
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
    """Return the levels as whole numbers; text has the form 8,8,8 or [8, 8, 8]."""
    parts = levels.strip(" []()").split(",") if isinstance(levels, str) else list(levels)
    try:
        return [int(part) for part in parts]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"levels must be whole numbers separated by commas, such as 8,8,8; got {levels!r}"
        ) from error
