"""The four nouns that every module speaks: Batch -> View -> Features -> Step.

A view is a NamedTuple that each method defines for itself; the other three are here.
"""

from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor


class ImageBatch(NamedTuple):
    """Images as they are stored. Values 0..255 as uint8 or 0..1 as float; one or three channels.

    Images of different sizes lie in the top left corner of a common canvas; `extent` says where
    each ends. `None`: every image fills the canvas.
    """

    x: UInt8[Tensor, "b c h w"] | Float[Tensor, "b c h w"]
    index: Int64[Tensor, "b"]  # type: ignore[assignment] # which example of the data set each row is
    extent: Int64[Tensor, "b 2"] | None = None  # real (height, width) in pixels


class Labelled(NamedTuple):
    """A batch with class labels: for `supervised`, labelled `triplet` and probes, nothing else."""

    batch: ImageBatch
    label: Int64[Tensor, "b"]


Batch = ImageBatch | Labelled


class Features(NamedTuple):
    """What an encoder returns, in every mode."""

    pooled: Float[Tensor, "b d"]
    tokens: Float[Tensor, "b n d"] | None = None  # where there are positions, in raster order
    grid: tuple[int, ...] | None = None  # how the n positions are laid out, for example (7, 7)


class Term(NamedTuple):
    """A mean that is not divided yet, so that micro-batches and processes can be added first."""

    sum: Float[Tensor, ""]
    count: Float[Tensor, ""]  # type: ignore[assignment]

    @property
    def mean(self) -> Tensor:
        return self.sum / self.count


class Step(NamedTuple):
    """What one forward pass found: terms of the loss, and metrics that nothing is trained on."""

    terms: dict[str, Term]
    metrics: dict[str, Term]

    @property
    def loss(self) -> Tensor:
        """The loss of this batch alone: the sum of the terms' means."""
        return torch.stack([term.mean for term in self.terms.values()]).sum()


@runtime_checkable
class Encoder(Protocol):
    """Maps a batch of signals to features. `dim` is the width of `pooled`."""

    dim: int

    def __call__(self, x: Tensor) -> Features: ...

    def hidden(self, x: Tensor) -> list[Features]:
        """The features of every layer (stage, block), first to last, for probes."""
        ...


@runtime_checkable
class TokenEncoder(Encoder, Protocol):
    """An encoder whose input can be masked between the stem and the trunk."""

    def embed(self, x: Tensor) -> Tensor: ...

    def trunk(self, tokens: Tensor) -> Features: ...


Tree = TypeVar("Tree")


def map_tensors(function: Any, tree: Tree) -> Tree:
    """Apply `function` to every tensor of nested NamedTuples; everything else stays as it is."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, tuple):
        parts = [map_tensors(function, part) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)  # type: ignore
    return tree


def rows(batch: Tree, part: slice) -> Tree:
    """The examples `part` of a batch."""
    return map_tensors(lambda t: t[part], batch)


def to(batch: Tree, device: torch.device | str) -> Tree:
    """The batch on another device, without waiting for the copy."""
    return map_tensors(lambda t: t.to(device, non_blocking=True), batch)
