"""What a method may ask of its data: each need makes one keyword argument of its constructor.

A method lists them in `needs`. All other keyword arguments are options of the user. What is
expensive is made once, kept in the run folder and read back when the run is resumed or loaded.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Protocol, TypeVar, runtime_checkable

from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor

from selfwise.core.config_class import AbsolutePath, Config
from selfwise.core.data_info import ImageInfo, TextInfo
from selfwise.core.types import Vocabulary

F_contra = TypeVar("F_contra", contravariant=True)


@runtime_checkable
class HasImageInfo(Protocol):
    """What is known of the images of a run, also when it is loaded without them."""

    @property
    def info(self) -> ImageInfo: ...


@runtime_checkable
class HasVocabulary(Protocol):
    """What is known of the documents of a run, also when it is loaded without them."""

    @property
    def info(self) -> TextInfo: ...

    @property
    def vocabulary(self) -> Vocabulary: ...


@runtime_checkable
class ImageSampler(Protocol):
    """Images that have been opened."""

    @property
    def info(self) -> ImageInfo: ...

    def sample(self, most: int, *, purpose: str) -> Iterator[Float[Tensor, "b c s s"]]:
        """At most that many images at the size of the views, in batches; the same ones each time.

        Which ones is a function of the images and of `purpose`.
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
    """A tensor that a function computes from the opened data; the run folder keeps it.

    `function(data)`, or `function(data, options)` where the need has a config class of its own.
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
    """What is predicted: patches, clusters of normalised patches; or the folder of an earlier run:
    the codes of an image tokenizer, or clusters of what another encoder has learned."""
    num_clusters: Annotated[int, Ge(1)] = 512
    """How many units there are; a tokenizer has its own number."""
    target_layer: int = -1
    """Of the earlier run, whose layer is clustered, counted from 0; negative counts from the
    last."""


class FrameTargetOptions(Config):
    """Discrete targets of the frames of speech."""

    targets: Annotated[str, AbsolutePath("mfcc")] = "mfcc"
    """What is predicted: mfcc, clusters of MFCC; or the folder of an earlier run, clusters of what
    it has learned."""
    num_clusters: Annotated[int, Ge(1)] = 100
    """How many units there are."""
    target_layer: int = -1
    """Of the earlier run, whose layer is clustered, counted from 0; negative counts from the
    last."""


@dataclass(frozen=True)
class PatchTargetNeed:
    """A callable from images to a discrete target for each patch; see core.types.Units."""

    options: type[Config] = PatchTargetOptions


@dataclass(frozen=True)
class FrameTargetNeed:
    """Discrete targets in each AudioBatch; the method gets how many kinds there are."""

    options: type[Config] = FrameTargetOptions


Need = FromFacts[Any] | FromData | PatchTargetNeed | FrameTargetNeed

IMAGE_SIZE = FromFacts[HasImageInfo](lambda facts: facts.info.size)
NUM_CLASSES = FromFacts[HasImageInfo](lambda facts: facts.info.classes)
VOCABULARY = FromFacts[HasVocabulary](lambda facts: facts.vocabulary)
