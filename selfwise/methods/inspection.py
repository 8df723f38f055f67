"""What a report shows of a method's view: plain tensors and a few words.

`Method.inspect` returns one of the classes of `Inspection`; the report draws these classes and does
not need to know the method.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from selfwise.core.device import float64_device
from selfwise.core.types import AudioBatch, TextBatch

MAX_COLUMNS = 4  # images of one tensor of a view whose method has no `inspect`
TOP_K = 3  # the most likely predictions that a report lists


class Predictions(NamedTuple):
    """A model's predictions at k positions of each row, and the targets there."""

    positions: Int64[Tensor, "b k"]
    valid: Bool[Tensor, "b k"]  # False at positions without a prediction, which only fill a row
    target: Int64[Tensor, "b k"]
    nats: Float[Tensor, "b k"]  # the loss there: -log of the target's probability
    top_ids: Int64[Tensor, "b k m"]  # the m most likely ids, most likely first
    top_probs: Float[Tensor, "b k m"]  # their probabilities

    @property
    def correct(self) -> Bool[Tensor, "b k"]:
        """Where a prediction is valid and its most likely id is the target."""
        return self.valid & (self.top_ids[..., 0] == self.target)


def rank_predictions(
    logits: Float[Tensor, "m v"],
    positions: Int64[Tensor, "b k"],
    valid: Bool[Tensor, "b k"],
    target: Int64[Tensor, "b k"],
) -> Predictions:
    """Return predictions from the logits of a loss, one row of logits per position (m = b k)."""
    log_probs = logits.float().log_softmax(dim=1)
    nats = -log_probs.gather(1, target.reshape(-1, 1)).view(target.shape)
    top_log_probs, top_ids = log_probs.topk(min(TOP_K, log_probs.shape[1]), dim=1)
    b, k = target.shape
    top_probs = top_log_probs.exp().view(b, k, -1)
    return Predictions(positions, valid, target, nats, top_ids.view(b, k, -1), top_probs)


class PairPredictions(NamedTuple):
    """The predicted class of each pair of texts, such as whether one text follows the other."""

    class_names: Sequence[str]
    target: Int64[Tensor, "b"]
    probs: Float[Tensor, "b o"]  # of each class


def predict_pairs(
    class_names: Sequence[str], target: Int64[Tensor, "b"] | None, logits: Float[Tensor, "b o"]
) -> PairPredictions | None:
    """Return predictions from these logits, or None for single texts, which have no target."""
    if target is None:
        return None
    return PairPredictions(class_names, target, logits.float().softmax(dim=1))


class ImageColumn(NamedTuple):
    """An image of each example, and the caption below it."""

    name: str
    images: Float[Tensor, "b c h w"]  # in 0 to 1; a report clips values outside
    captions: Sequence[str] = ()  # one for each example
    correct: Bool[Tensor, "b"] | None = None  # of predictions: whether they are correct
    labels: Int64[Tensor, "b"] | None = None  # classes whose names begin the captions; -1 for none


class ImageGrid(NamedTuple):
    """Images of examples: each original next to the images that the method makes of it."""

    about: str  # what the images show, in a sentence or two
    columns: Sequence[ImageColumn]
    rows: Int64[Tensor, "b"] | None = None  # each example's row in the batch; None: in order


class MaskedTextExamples(NamedTuple):
    """Texts with masked tokens, as the encoder sees them, and its predictions for these tokens."""

    about: str
    batch: TextBatch
    predictions: Predictions
    pairs: PairPredictions | None = None


class NextTokenExamples(NamedTuple):
    """Texts with a prediction of each token from the tokens before it."""

    about: str
    batch: TextBatch  # the first token of a row, and those up to the last but one
    predictions: Predictions  # at each position, of the token that follows


class MaskedAudioExamples(NamedTuple):
    """Recordings with masked frames, and the predicted units of these frames."""

    about: str
    batch: AudioBatch  # with the units of its frames
    mask: Bool[Tensor, "b t"]  # True where a frame is masked
    predictions: Predictions


Inspection = ImageGrid | MaskedTextExamples | NextTokenExamples | MaskedAudioExamples


def color_units(units: Int64[Tensor, "*n"]) -> Float[Tensor, "*n 3"]:
    """Return a color for each number, which never changes and differs from its neighbors' colors.

    Hues advance by the golden ratio, which keeps consecutive numbers apart; lightness cycles
    through three values, so that numbers with similar hues differ.
    """
    units = units.to(float64_device(units.device))
    turn = (units.double() * 0.6180339887498949) % 1
    light = torch.tensor([0.62, 0.42, 0.8], dtype=torch.float64, device=units.device)[units % 3]
    hue = (turn[..., None] * 6 + torch.tensor([0.0, 4.0, 2.0], device=units.device)) % 6
    pure = ((hue - 3).abs() - 1).clamp(0, 1)
    return (light[..., None] + 0.7 * (pure - 0.5) * (1 - (2 * light[..., None] - 1).abs())).float()


def collect_images(view: object) -> ImageGrid:
    """Return the images in a view whose method has no `inspect`, named by the view's fields."""
    columns = []
    for name, part in getattr(view, "_asdict", dict)().items():
        if not isinstance(part, Tensor) or not part.is_floating_point():
            continue
        if part.ndim == 4 and part.shape[1] in (1, 3):
            columns.append(ImageColumn(name, part))
        elif part.ndim == 5 and part.shape[2] in (1, 3):
            views = part[:, :MAX_COLUMNS].unbind(dim=1)
            columns += [ImageColumn(f"{name} {i}", images) for i, images in enumerate(views, 1)]
    about = "The views that the method makes of each image, without predictions."
    return ImageGrid(about if columns else "The views of this method are not images.", columns)


def show_reconstructions(
    x: Float[Tensor, "b c s s"],
    codes: Int64[Tensor, "b n"],
    reconstructions: Float[Tensor, "b c s s"],
    grid: tuple[int, ...],
) -> ImageGrid:
    """Return images, the codes that an image tokenizer gives them, and the decoded images."""
    errors = (reconstructions - x).square().mean(dim=(1, 2, 3)).tolist()
    num_codes = [len(row.unique()) for row in codes]
    about = (
        "Each patch becomes one of a fixed set of codes, shown in arbitrary colors. The image is "
        "reconstructed from the codes alone. Errors are mean squares of pixels in 0 to 1."
    )
    return ImageGrid(
        about,
        [
            ImageColumn("view", x),
            ImageColumn(
                "codes", draw_codes(codes, grid), [f"{count} kinds" for count in num_codes]
            ),
            ImageColumn(
                "reconstructed", reconstructions, [f"error {error:.4f}" for error in errors]
            ),
        ],
    )


def draw_codes(units: Int64[Tensor, "b n"], grid: tuple[int, ...]) -> Float[Tensor, "b 3 h w"]:
    """Return one pixel for each patch in raster order, in the color of its unit."""
    colors: Tensor = color_units(units).mT.unflatten(2, grid)
    return colors


def show_triplets(
    x: Float[Tensor, "n c s s"],
    distance: Float[Tensor, "n n"],
    anchor: Int64[Tensor, "t"],
    positive: Int64[Tensor, "t"],
    negative: Int64[Tensor, "t"],
    valid: Bool[Tensor, "t"],
) -> list[ImageColumn]:
    """Return anchors, their positives and, where `valid`, their negatives, with the distances.

    `distance` covers all rows of `x`; anchor, positive and negative are row numbers.
    """
    near, far = distance[anchor, positive], distance[anchor, negative]
    blank = torch.full_like(x[negative], 0.5)
    negatives = torch.where(valid[:, None, None, None], x[negative], blank)
    captions = [f"at {d:.2f}" if chosen else "none" for d, chosen in zip(far.tolist(), valid)]
    return [
        ImageColumn("anchor", x[anchor]),
        ImageColumn("positive", x[positive], [f"at {d:.2f}" for d in near.tolist()]),
        ImageColumn("negative", negatives, captions),
    ]
