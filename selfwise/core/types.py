"""The four types that all modules exchange: Batch -> View -> Features -> Step.

A view is a NamedTuple that each method defines for itself; the other three are here.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar, cast, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn


class ImageBatch(NamedTuple):
    """Images as stored. Values 0..255 as uint8 or 0..1 as float; one or three channels.

    Images of different sizes are in the top left corner of a common canvas; `extent` gives the size
    of each. `None`: every image fills the canvas.
    """

    x: UInt8[Tensor, "b c h w"] | Float[Tensor, "b c h w"]
    index: Int64[Tensor, "b"]  # type: ignore[assignment] # which example of the data set each row is
    extent: Int64[Tensor, "b 2"] | None = None  # real (height, width) in pixels


class TextBatch(NamedTuple):
    """Rows of n token ids. None means the plain case: all real, one document, no segments."""

    ids: Int64[Tensor, "b n"]
    index: Int64[Tensor, "b"]  # type: ignore[assignment] # which example of the epoch each row is
    valid: Bool[Tensor, "b n"] | None = None  # True where a token is real; padding is at the end
    segment: Int64[Tensor, "b n"] | None = None  # 0 or 1: sentence A or B
    # where the documents of each row begin, ascending, padded with n; attention stays inside
    starts: Int64[Tensor, "b s"] | None = None
    pair: Int64[Tensor, "b"] | None = None  # label of the pair of sentences, if rows are pairs
    epoch: Int64[Tensor, "b"] | None = None  # with `index`: the visit of the example


RATE, WINDOW, HOP = 16_000, 400, 320  # of speech: samples per second, in a frame, between frames


def count_frames(samples: int) -> int:
    """Count the frames of 25 ms, 50 per second, in samples at 16 kHz: 190,800 samples have 596."""
    return max(0, (samples - WINDOW) // HOP + 1)


class AudioBatch(NamedTuple):
    """Audio clips: mono, 16 kHz, values about -1..1. Shorter clips end in zeros.

    Frame t of a clip covers its samples 320 t to 320 t + 400.
    """

    x: Float[Tensor, "b s"]
    index: Int64[Tensor, "b"]  # type: ignore[assignment] # which recording each row is from
    extent: Int64[Tensor, "b"] | None = None  # real samples of each row; None: all are
    offset: Int64[Tensor, "b"] | None = None  # first sample in the recording; a multiple of 320
    units: Int64[Tensor, "b t"] | None = None  # of each frame; -1 where a row has no such frame


class Labelled(NamedTuple):
    """A batch with class labels, only for `supervised`, `triplet_labelled` and probes."""

    batch: ImageBatch
    label: Int64[Tensor, "b"]


Batch = ImageBatch | TextBatch | AudioBatch | Labelled


class Vocabulary(NamedTuple):
    """Facts about a tokenizer for a method and an encoder. Missing roles are None."""

    size: int
    starts: Bool[Tensor, "v"]  # True where a token begins a word (all of them, for characters)
    special: tuple[int, ...]  # ids that represent no text, ascending, including `unknown`
    pad: int | None = None
    unknown: int | None = None
    first: int | None = None  # [CLS], <s>: begins a sequence
    last: int | None = None  # [SEP], </s>, <|endoftext|>: ends a sequence
    mask: int | None = None


class EpochPlan(NamedTuple):
    """The examples of an epoch, as spans of one long stream of tokens."""

    pieces: Int64[np.ndarray, "p 2"]  # (start, stop) of each span
    rows: Int64[np.ndarray, "r1"]  # row i has the pieces rows[i] to rows[i + 1]
    pair: Int64[np.ndarray, "r"] | None = None  # label of each row, if rows are pairs
    # whether each piece begins its document, and ends it; for samplers with special tokens
    ends: Bool[np.ndarray, "p 2"] | None = None

    @property
    def size(self) -> int:
        """The number of rows."""
        return len(self.rows) - 1


class EmptyPlan(ValueError):
    """The documents have no row for an epoch."""


class RowSampler(NamedTuple):
    """How a method on text builds rows from documents.

    `plan(documents, sentences, length=n, vocabulary=v, random=r) -> EpochPlan` runs once an epoch.
    `documents` (d, 2) and `sentences` (s, 2) are int64 spans of the stream, ascending; every
    sentence is inside one document. `sentences` is None unless `needs_sentences`. `random` is a
    numpy generator and the only source of chance. Raises EmptyPlan if the documents have no row.

    `collate(tokens, plan, rows, length=n, vocabulary=v) -> TextBatch` reads the rows whose numbers
    are `rows` (b,) from the stream and adds the special tokens; `index` is `rows`.
    """

    plan: Callable[..., EpochPlan]
    collate: Callable[..., TextBatch]
    needs_sentences: bool = False


# Draws images by their labels: `(labels, batch=b, names=classes)`, called once, returns a function
# of a source, `(n, batch, step, seed)` -> int64 rows. Raises ValueError if no batch can be drawn.
LabelSampler = Callable[..., Callable[[int, int, int, int], np.ndarray]]


class Features(NamedTuple):
    """The output of an encoder, in every mode."""

    pooled: Float[Tensor, "b d"]
    tokens: Float[Tensor, "b n d"] | None = None  # if it has positions, in raster order
    grid: tuple[int, ...] | None = None  # layout of the n positions, for example (7, 7)


class Term(NamedTuple):
    """A mean before its division, so that micro-batches and processes can be added first."""

    sum: Float[Tensor, ""]
    count: Float[Tensor, ""]  # type: ignore[assignment]

    @property
    def mean(self) -> Tensor:
        return self.sum / self.count


class Step(NamedTuple):
    """Results of one forward pass: terms of the loss, and metrics that are not trained on."""

    terms: dict[str, Term]
    metrics: dict[str, Term]

    @property
    def loss(self) -> Tensor:
        """The loss of this batch alone: the sum of the terms' means."""
        return torch.stack([term.mean for term in self.terms.values()]).sum()


Input_contra = TypeVar("Input_contra", contravariant=True)


@runtime_checkable
class Encoder(Protocol[Input_contra]):
    """Maps a batch of signals to features. `dim` is the width of `pooled`."""

    dim: int

    def __call__(self, x: Input_contra, /) -> Features: ...

    def hidden(self, x: Input_contra, /) -> list[Features]:
        """Return the features of every layer (stage, block), first to last, for probes."""
        ...


@runtime_checkable
class TokenEncoder(Encoder[Tensor], Protocol):
    """An encoder whose input can be masked between the stem and the trunk."""

    def embed(self, x: Tensor) -> Tensor: ...

    def trunk(self, tokens: Tensor) -> Features: ...


Tree = TypeVar("Tree")


def map_tensors(function: Callable[[Tensor], Tensor], tree: Tree) -> Tree:
    """Apply `function` to every tensor of nested tuples, lists and dicts; keep the rest."""
    return cast(Tree, _map_tensors(function, tree))


def _map_tensors(function: Callable[[Tensor], Tensor], tree: object) -> object:
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, tuple | list):
        parts = [_map_tensors(function, part) for part in tree]
        make = getattr(tree, "_make", type(tree))  # of a NamedTuple
        return make(parts)
    if isinstance(tree, dict):
        return {name: _map_tensors(function, part) for name, part in tree.items()}
    return tree


def cast_floats(tree: Tree, dtype: torch.dtype) -> Tree:
    """Convert every float tensor of a tree to `dtype`; other values stay unchanged."""

    def cast(tensor: Tensor) -> Tensor:
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    return map_tensors(cast, tree)


@runtime_checkable
class HeadShape(Protocol):
    """The settings that masked-LM heads share with their encoder."""

    @property
    def activation(self) -> str: ...

    @property
    def eps(self) -> float: ...


@runtime_checkable
class TextEncoder(Encoder[TextBatch], Protocol):
    """Maps a TextBatch to features: `tokens` (b n d), and `pooled` over the real tokens."""

    vocab: int  # size of the vocabulary
    length: int  # longest row
    causal: bool  # True: a position sees only earlier positions
    segments: int  # number of segment kinds; 0: none
    token: nn.Embedding  # (vocab, e), to which heads tie their output
    pooler: nn.Linear | None  # (d, d); followed by tanh, for [CLS]

    @property
    def shape(self) -> HeadShape: ...

    def forward_at(self, batch: TextBatch, where: Tensor) -> Tensor:
        """Return the last layer at only the positions `where` (b k): (b k d)."""
        ...


class Frames(NamedTuple):
    """The output of a speech encoder's stem."""

    tokens: Float[Tensor, "b t d"]  # input of the trunk
    valid: Bool[Tensor, "b t"]  # True where a frame is real
    power: Term  # mean square of the stem's output over real frames and channels


@runtime_checkable
class SpeechEncoder(Encoder[AudioBatch], Protocol):
    """Maps an AudioBatch to features: `tokens` (b t d), and `pooled` over the real frames.

    It can be masked between `embed` and `trunk`. Real frames do not depend on the padding.
    """

    def embed(self, batch: AudioBatch) -> Frames: ...

    def trunk(self, tokens: Tensor, valid: Tensor) -> Features: ...

    def forward_at(self, tokens: Tensor, valid: Tensor, where: Tensor) -> Tensor:
        """Return the last layer at only the positions `where` (b k): (b k d)."""
        ...


@runtime_checkable
class PatchEncoder(TokenEncoder, Protocol):
    """An encoder of images whose patches can be masked between `embed` and `trunk`.

    `embed(x)` has the patches (b n d) in raster order, without a class token.
    """

    grid: tuple[int, int]  # patches down and across

    def forward_at(self, tokens: Tensor, where: Tensor) -> Tensor:
        """Return the last layer at only the patches `where` (b k): (b k d)."""
        ...


@runtime_checkable
class Units(Protocol):
    """Discrete targets of images: a callable that is not trained."""

    @property
    def size(self) -> int:
        """The number of kinds of units."""
        ...

    def __call__(self, x: Tensor) -> Tensor:
        """Return the unit of each patch (b n), int64 in raster order, of images (b c h w) in
        0..1."""
        ...


def slice_batch(batch: Tree, part: slice) -> Tree:
    """Slice every tensor of a batch to the examples `part`."""
    return map_tensors(lambda t: t[part], batch)


def shard_slice(total: int, index: int, count: int) -> slice:
    """Return the slice of `total` rows for shard `index` of `count`.

    The shards are consecutive, and their sizes differ by at most one row. If there are fewer rows
    than shards, the last shards get the first row as well.
    """
    each, more = divmod(total, count)
    first = index * each + min(index, more)
    return slice(first, first + each + (index < more)) if index < total else slice(0, 1)


def batch_size(batch: tuple[object, ...]) -> int:
    """Count the examples of a batch."""
    first = batch[0]
    if isinstance(first, tuple):
        return batch_size(first)
    assert isinstance(first, Tensor)
    return len(first)


def to_device(batch: Tree, device: torch.device | str) -> Tree:
    """Copy the batch to a device without waiting for the copy."""
    return map_tensors(lambda t: t.to(device, non_blocking=True), batch)
