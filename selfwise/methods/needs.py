"""What a method may request from its data: each need is one keyword argument of its constructor.

A method lists them in `needs`. All other keyword arguments are options of the user. An expensive
need is computed once and stored in the run folder; a resumed or loaded run reads it from there.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Protocol, TypeVar, runtime_checkable

from annotated_types import Ge
from jaxtyping import Float, Int64
from torch import Tensor

from selfwise.core.config_class import AbsolutePath, Config
from selfwise.core.data_info import ImageInfo, TextInfo
from selfwise.core.types import Vocabulary

F_contra = TypeVar("F_contra", contravariant=True)


@runtime_checkable
class HasImageInfo(Protocol):
    """Facts about the images of a run, available without the images."""

    @property
    def info(self) -> ImageInfo: ...


@runtime_checkable
class HasVocabulary(Protocol):
    """Facts about the documents of a run, available without the documents."""

    @property
    def info(self) -> TextInfo: ...

    @property
    def vocabulary(self) -> Vocabulary: ...


@runtime_checkable
class HasTokenCounts(Protocol):
    """The number of times that each token occurs in the training documents of a run."""

    @property
    def token_counts(self) -> Int64[Tensor, "v"]: ...


@runtime_checkable
class ImageSampler(Protocol):
    """Images that have been opened."""

    @property
    def info(self) -> ImageInfo: ...

    def sample(self, most: int, *, purpose: str) -> Iterator[Float[Tensor, "b c s s"]]:
        """Yield at most `most` images at the size of the views, in batches.

        The choice of images is a function of the images and of `purpose`.
        """
        ...


@dataclass(frozen=True)
class FromFacts(Generic[F_contra]):
    """A fact about the data, such as the size of images or the tokenizer's vocabulary."""

    function: Callable[[F_contra], object]
    options: None = None


@dataclass(frozen=True)
class Computed:
    """A tensor that was computed from the data, and what to record about it."""

    value: Tensor
    about: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class FromData:
    """A tensor that a function computes from the opened data; the run folder stores it.

    The call is `function(data)`, or `function(data, options)` if the need has a config class.
    """

    function: Callable[..., Computed | Tensor]
    options: type[Config] | None = None

    def compute(self, data: ImageSampler, options: Config | None) -> Computed:
        """Call the function."""
        computed = self.function(data) if options is None else self.function(data, options)
        return computed if isinstance(computed, Computed) else Computed(computed)


class PatchTargetOptions(Config):
    """Discrete targets of images."""

    targets: Annotated[str, AbsolutePath("patches")] = "patches"
    """What the method predicts: patches for clusters of normalized patches; or the folder of an
    earlier run, for the codes of an image tokenizer or clusters of an encoder's features."""
    num_clusters: Annotated[int, Ge(1)] = 512
    """Number of clusters; an image tokenizer has its own number of codes."""
    target_layer: int = -1
    """Layer of the earlier run whose features are clustered, counted from 0; negative counts from
    the last."""


class FrameTargetOptions(Config):
    """Discrete targets of the frames of speech."""

    targets: Annotated[str, AbsolutePath("mfcc")] = "mfcc"
    """What the method predicts: mfcc for clusters of MFCC; or the folder of an earlier run, for
    clusters of its features."""
    num_clusters: Annotated[int, Ge(1)] = 100
    """Number of clusters."""
    target_layer: int = -1
    """Layer of the earlier run whose features are clustered, counted from 0; negative counts from
    the last."""


@dataclass(frozen=True)
class PatchTargetNeed:
    """A callable from images to a discrete target for each patch; see core.types.Units."""

    options: type[Config] = PatchTargetOptions


@dataclass(frozen=True)
class FrameTargetNeed:
    """Discrete targets in each AudioBatch; the method receives the number of clusters."""

    options: type[Config] = FrameTargetOptions


Need = FromFacts[Any] | FromData | PatchTargetNeed | FrameTargetNeed

IMAGE_SIZE = FromFacts[HasImageInfo](lambda facts: facts.info.size)
NUM_CLASSES = FromFacts[HasImageInfo](lambda facts: facts.info.classes)
TOKEN_COUNTS = FromFacts[HasTokenCounts](lambda facts: facts.token_counts)
VOCABULARY = FromFacts[HasVocabulary](lambda facts: facts.vocabulary)
