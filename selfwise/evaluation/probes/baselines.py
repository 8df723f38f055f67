"""The untrained encoder as a baseline: the worth of the architecture alone."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from selfwise.core.rng import shuffle_indices
from selfwise.core.types import Encoder
from selfwise.data.image.dataset import Images
from selfwise.evaluation.features.image import evaluation_mode, iterate_views
from selfwise.evaluation.probes.matrix import Matrix

Embed = Callable[[Encoder[Tensor], Images], np.ndarray]


class FeatureSplit(NamedTuple):
    """One kind of features of the training and the test examples."""

    train: Matrix
    test: Matrix


def extract_untrained(
    fresh: Callable[[int], Encoder[Tensor]],
    train: Images,
    test: Images,
    *,
    size: int,
    embed: Embed,
    seeds: Sequence[int] = (0, 1, 2),
    device: torch.device | str = "cpu",
) -> list[FeatureSplit]:
    """Return features of fresh initializations, one for each seed, after `estimate_batch_norm`.

    `fresh(seed)` makes the encoder with random weights. `embed` computes features as for the
    trained encoder, for example `partial(extract, size=size, device=device)`.
    """
    encoders = build_untrained_encoders(fresh, train, size=size, seeds=seeds, device=device)
    return [FeatureSplit(embed(encoder, train), embed(encoder, test)) for encoder in encoders]


def build_untrained_encoders(
    fresh: Callable[[int], Encoder[Tensor]],
    train: Images,
    *,
    size: int,
    seeds: Sequence[int] = (0, 1, 2),
    device: torch.device | str = "cpu",
) -> Iterator[Encoder[Tensor]]:
    """Yield fresh initializations, one for each seed, after `estimate_batch_norm`."""
    for seed in seeds:
        encoder = fresh(seed)
        estimate_batch_norm(encoder, train, size=size, seed=seed, device=device)
        yield encoder


def estimate_batch_norm(
    encoder: Encoder[Tensor],
    images: Images,
    *,
    size: int,
    batch: int = 512,
    examples: int = 10_000,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> None:
    """Set the batch-norm statistics to their averages over batches of evaluation views.

    The initial statistics of a network come from no data, which alone would make its features poor.
    At most `examples` images are drawn, in batches of one size with equal weight. Only batch norms
    are in training mode: no dropout, no gradients.
    """
    batch = min(batch, len(images))
    assert batch > 0, "no images to estimate statistics on"
    number = max(1, min(len(images), examples) // batch)
    rows = shuffle_indices(len(images), seed, "batch norm")[: number * batch].reshape(number, batch)
    with evaluation_mode(encoder, device) as module:
        norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
        if not norms:
            return
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the cumulative average
            norm.train()
        for view in iterate_views(images, list(rows), size=size, device=device):
            encoder(view)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
