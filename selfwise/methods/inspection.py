"""What a method has to show of a view: plain tensors and a few words, for people to look at.

A method that says so (`Method.shown`) returns one of the classes at the end; whoever draws them
knows no method.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from selfwise.core.types import AudioBatch, TextBatch

TOP = 3  # the likeliest ones that are told


class Guesses(NamedTuple):
    """What was guessed at k places of each row, and what was right."""

    where: Int64[Tensor, "b k"]
    chosen: Bool[Tensor, "b k"]  # False where there was nothing to guess
    target: Int64[Tensor, "b k"]
    nats: Float[Tensor, "b k"]  # the loss there: -log of the target's probability
    best: Int64[Tensor, "b k m"]  # the likeliest, most likely first
    chance: Float[Tensor, "b k m"]  # their probabilities

    @property
    def right(self) -> Bool[Tensor, "b k"]:
        """Where something was guessed, and the likeliest is the target."""
        return self.chosen & (self.best[..., 0] == self.target)


def guesses(
    logits: Float[Tensor, "m v"],
    where: Int64[Tensor, "b k"],
    chosen: Bool[Tensor, "b k"],
    target: Int64[Tensor, "b k"],
) -> Guesses:
    """Guesses from the scores (m = b k) that a loss is taken of."""
    shares = logits.float().log_softmax(dim=1)
    nats = -shares.gather(1, target.reshape(-1, 1)).view(target.shape)
    chance, best = shares.topk(min(TOP, shares.shape[1]), dim=1)
    b, k = target.shape
    return Guesses(where, chosen, target, nats, best.view(b, k, -1), chance.exp().view(b, k, -1))


class Answers(NamedTuple):
    """A question about each row, such as whether one text follows the other."""

    options: Sequence[str]
    truth: Int64[Tensor, "b"]
    chance: Float[Tensor, "b o"]  # that the model gives each option


def answered(
    options: Sequence[str], truth: Int64[Tensor, "b"] | None, scores: Float[Tensor, "b o"]
) -> Answers | None:
    """The answers with these scores, or None where there is no question, as for single texts."""
    if truth is None:
        return None
    return Answers(options, truth, scores.float().softmax(dim=1))


class Column(NamedTuple):
    """A picture of each example, and what is said below it."""

    name: str
    x: Float[Tensor, "b c h w"]  # in 0 to 1; what is outside is cut off
    said: Sequence[str] = ()  # of each example
    right: Bool[Tensor, "b"] | None = None  # of answers: whether they are
    classes: Int64[Tensor, "b"] | None = None  # whose names are said first; -1 for none


class Sheet(NamedTuple):
    """Pictures of examples: beside each original what the method makes of it."""

    about: str  # what is to be seen, in a sentence or two
    columns: Sequence[Column]
    rows: Int64[Tensor, "b"] | None = None  # which example of the batch each is; None: in order


class Filled(NamedTuple):
    """Texts with hidden tokens, as the encoder sees them, and what it fills in."""

    about: str
    batch: TextBatch
    guesses: Guesses
    answers: Answers | None = None


class Followed(NamedTuple):
    """Texts, of which each token was guessed from those before it."""

    about: str
    batch: TextBatch  # the first token of a row, and those up to the last but one
    guesses: Guesses  # at each place, of the token that follows


class Heard(NamedTuple):
    """Recordings with hidden frames, and the units that are guessed there."""

    about: str
    batch: AudioBatch  # with the units of its frames
    mask: Bool[Tensor, "b t"]  # True where a frame is hidden
    guesses: Guesses


Shown = Sheet | Filled | Followed | Heard


def colors_of(units: Int64[Tensor, "*n"]) -> Float[Tensor, "*n 3"]:
    """A colour for each number, always the same, and unlike those of its neighbours.

    Hues go round by the golden ratio, which keeps any few numbers in a row apart; lightness takes
    three turns, so that numbers of like hues differ.
    """
    turn = (units.double() * 0.6180339887498949) % 1
    light = torch.tensor([0.62, 0.42, 0.8], dtype=torch.float64, device=units.device)[units % 3]
    hue = (turn[..., None] * 6 + torch.tensor([0.0, 4.0, 2.0], device=units.device)) % 6
    pure = ((hue - 3).abs() - 1).clamp(0, 1)
    return (light[..., None] + 0.7 * (pure - 0.5) * (1 - (2 * light[..., None] - 1).abs())).float()


def tokenized(
    x: Float[Tensor, "b c s s"],
    codes: Int64[Tensor, "b n"],
    again: Float[Tensor, "b c s s"],
    grid: tuple[int, ...],
) -> Sheet:
    """What an image tokenizer makes of images: their codes, and the images that these stand for."""
    error = (again - x).square().mean(dim=(1, 2, 3)).tolist()
    kinds = [len(row.unique()) for row in codes]
    about = (
        "Each patch becomes one of a fixed set of codes, shown as colours that mean nothing by "
        "themselves; from the codes alone the image is made again. Errors are mean squares "
        "of pixels in 0 to 1."
    )
    return Sheet(
        about,
        [
            Column("view", x),
            Column("codes", mosaic(codes, grid), [f"{kind} kinds" for kind in kinds]),
            Column("made again", again, [f"error {one:.4f}" for one in error]),
        ],
    )


def mosaic(units: Int64[Tensor, "b n"], grid: tuple[int, ...]) -> Float[Tensor, "b 3 h w"]:
    """A pixel for each patch in raster order, in the colour of its unit."""
    return colors_of(units).mT.unflatten(2, grid)


def triples(
    x: Float[Tensor, "n c s s"],
    distance: Float[Tensor, "n n"],
    anchor: Int64[Tensor, "t"],
    positive: Int64[Tensor, "t"],
    negative: Int64[Tensor, "t"],
    chosen: Bool[Tensor, "t"],
) -> list[Column]:
    """Anchors, their positives and, where one was chosen, their negatives, with the distances.

    `distance` is of all rows of `x`; the others are rows of it.
    """
    near, far = distance[anchor, positive], distance[anchor, negative]
    blank = torch.full_like(x[negative], 0.5)
    other = torch.where(chosen[:, None, None, None], x[negative], blank)
    said = [f"at {one:.2f}" if there else "none" for one, there in zip(far.tolist(), chosen)]
    return [
        Column("anchor", x[anchor]),
        Column("positive", x[positive], [f"at {one:.2f}" for one in near.tolist()]),
        Column("negative", other, said),
    ]
