"""Which features of an encoder to compute: the layer, the pooling, and several of them at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from selfwise.distributed.process_group import SINGLE_PROCESS, DistributedEnv

MAX_PLACES = 12  # the cost of a choice: each place has a search of its own


@dataclass(frozen=True)
class FeatureOptions:
    """Which features to compute, and where."""

    layer: int | None = None
    """A layer instead of the encoder's output; negative counts from the last."""
    pooling: str = ""
    window: str = ""
    device: str = "auto"
    env: DistributedEnv = SINGLE_PROCESS
    precision: str = ""
    """float32 or bf16; by default training's, as `core.device.choose_evaluation` chooses it."""


Embed = Callable[[Any, Any], Shaped[np.ndarray, "n *d"]]  # (encoder, examples) -> features


class FeaturePlace(NamedTuple):
    """A layer of an encoder, and the pooling of its output."""

    layer: int | None = None  # None is the encoder's output
    pooling: str = ""  # "" is the encoder's own

    def __str__(self) -> str:
        layer = "output" if self.layer is None else f"layer {self.layer}"
        return f"{layer} with {self.pooling}" if self.pooling else layer


# (encoder, examples) -> features of each place
EmbedPlaces = Callable[[Any, Any], list[np.ndarray]]


def list_places(
    depth: int, poolings: Sequence[str], more: Sequence[FeaturePlace] = ()
) -> list[FeaturePlace]:
    """Return at most twelve places: the encoder's output, then layers from the last to the first.

    Of more layers than that, the list has evenly spaced ones, the last among them.

    Args:
        depth: number of layers.
        poolings: poolings of each layer, the default first.
        more: places besides layers and output.
    """
    room = max(1, (MAX_PLACES - len(more)) // len(poolings) - 1)
    count = min(depth, room)
    layers = [depth - 1 - number * depth // count for number in range(count)]
    outputs = [FeaturePlace(None, pooling) for pooling in poolings]
    return [*outputs, *more, *(FeaturePlace(n, pooling) for n in layers for pooling in poolings)]
