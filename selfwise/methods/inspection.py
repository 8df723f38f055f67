"""What a report draws of a method's view: plain tensors and a few words, for people to look at.

`Method.inspect` returns one of the classes of `Inspection`; the report that draws them does not
know the method.
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
    """What a model predicts at k positions of each row, and the targets there."""

    positions: Int64[Tensor, "b k"]
    valid: Bool[Tensor, "b k"]  # False at positions without a prediction, which only fill a row
    target: Int64[Tensor, "b k"]
    nats: Float[Tensor, "b k"]  # the loss there: -log of the target's probability
    top_ids: Int64[Tensor, "b k m"]  # the m most likely, most likely first
    top_probs: Float[Tensor, "b k m"]  # their probabilities

    @property
    def correct(self) -> Bool[Tensor, "b k"]:
        """Where there is a prediction, and the most likely one is the target."""
        return self.valid & (self.top_ids[..., 0] == self.target)


def rank_predictions(
    logits: Float[Tensor, "m v"],
    positions: Int64[Tensor, "b k"],
    valid: Bool[Tensor, "b k"],
    target: Int64[Tensor, "b k"],
) -> Predictions:
    """Predictions from the logits of a loss, one row of logits for each position (m = b k)."""
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
    """Predictions from these logits, or None for single texts, which have no target."""
    if target is None:
        return None
    return PairPredictions(class_names, target, logits.float().softmax(dim=1))


class ImageColumn(NamedTuple):
    """An image of each example, and the caption below it."""

    name: str
    images: Float[Tensor, "b c h w"]  # in 0 to 1; a report clips values outside
    captions: Sequence[str] = ()  # one for each example
    correct: Bool[Tensor, "b"] | None = None  # of predictions: whether they are right
    labels: Int64[Tensor, "b"] | None = None  # classes whose names begin the captions; -1 for none


class ImageGrid(NamedTuple):
    """Images of examples: next to each original what the method makes of it."""

    about: str  # what is to be seen, in a sentence or two
    columns: Sequence[ImageColumn]
    rows: Int64[Tensor, "b"] | None = None  # which example of the batch each is; None: in order


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
    """A colour for each number, always the same, and unlike those of its neighbours.

    Hues go round by the golden ratio, which keeps any few numbers in a row apart; lightness takes
    three turns, so that numbers of like hues differ.
    """
    units = units.to(float64_device(units.device))
    turn = (units.double() * 0.6180339887498949) % 1
    light = torch.tensor([0.62, 0.42, 0.8], dtype=torch.float64, device=units.device)[units % 3]
    hue = (turn[..., None] * 6 + torch.tensor([0.0, 4.0, 2.0], device=units.device)) % 6
    pure = ((hue - 3).abs() - 1).clamp(0, 1)
    return (light[..., None] + 0.7 * (pure - 0.5) * (1 - (2 * light[..., None] - 1).abs())).float()


def collect_images(view: object) -> ImageGrid:
    """The images in a view whose method has no `inspect`, by the names of the view's parts."""
    columns = []
    for name, part in getattr(view, "_asdict", dict)().items():
        if not isinstance(part, Tensor) or not part.is_floating_point():
            continue
        if part.ndim == 4 and part.shape[1] in (1, 3):
            columns.append(ImageColumn(name, part))
        elif part.ndim == 5 and part.shape[2] in (1, 3):
            views = part[:, :MAX_COLUMNS].unbind(dim=1)
            columns += [ImageColumn(f"{name} {i}", images) for i, images in enumerate(views, 1)]
    about = "What the method makes of each image, without its answers."
    return ImageGrid(about if columns else "The views of this method are no pictures.", columns)


def show_reconstructions(
    x: Float[Tensor, "b c s s"],
    codes: Int64[Tensor, "b n"],
    reconstructions: Float[Tensor, "b c s s"],
    grid: tuple[int, ...],
) -> ImageGrid:
    """Images, the codes that an image tokenizer gives them, and the images that it decodes."""
    errors = (reconstructions - x).square().mean(dim=(1, 2, 3)).tolist()
    num_codes = [len(row.unique()) for row in codes]
    about = (
        "Each patch becomes one of a fixed set of codes, shown as colours that mean nothing by "
        "themselves; from the codes alone the image is made again. Errors are mean squares "
        "of pixels in 0 to 1."
    )
    return ImageGrid(
        about,
        [
            ImageColumn("view", x),
            ImageColumn(
                "codes", draw_codes(codes, grid), [f"{count} kinds" for count in num_codes]
            ),
            ImageColumn("made again", reconstructions, [f"error {error:.4f}" for error in errors]),
        ],
    )


def draw_codes(units: Int64[Tensor, "b n"], grid: tuple[int, ...]) -> Float[Tensor, "b 3 h w"]:
    """One pixel for each patch in raster order, in the colour of its unit."""
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
    """Anchors, their positives and, where `valid`, their negatives, with the distances.

    `distance` is of all rows of `x`; anchor, positive and negative are rows of it.
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
