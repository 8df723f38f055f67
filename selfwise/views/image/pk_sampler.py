"""Batches of P identities with K images each, as a pure function of the seed and the step."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Int64

from selfwise.core.rng import shuffle_indices


class PKSampler:
    """Rows of a step: K different images of each of P = batch / K different identities, in order.

    Identities come in rounds. In each they are shuffled again and all come once, but for those that
    would not fill a batch, which are others each time: so an identity is seen as often as another,
    however many images it has. Of its images those come next that it has not shown for longest:
    each round has its place in a shuffled order of them, and a new order follows where one ends.

    `labels` int64 (n,): whose each image is; `names[label]` for messages. Give the object to a
    source as its `draw`.

    Raises ValueError if the batch is not made of K images of two identities or more, or if there
    are too few identities, or too few images of one.
    """

    def __init__(
        self,
        labels: Int64[np.ndarray, "n"],
        *,
        batch: int,
        images_per_identity: int,
        names: Sequence[str] | None = None,
    ):
        self.images_per_identity, self.identities = (
            images_per_identity,
            batch // images_per_identity,
        )
        self.order = labels.argsort(kind="stable")
        self.label, self.start, self.size = np.unique(
            labels[self.order], return_index=True, return_counts=True
        )
        _check_batch(batch, images_per_identity)
        _check_size(self.label, self.size, images_per_identity, names)
        _check_enough(len(self.label), batch, images_per_identity, int(self.size.min()))
        self._shuffled: dict[int, tuple[tuple[int, int], np.ndarray]] = {}

    def __call__(self, n: int, batch: int, step: int, seed: int) -> Int64[np.ndarray, "batch"]:
        """Return the rows of a step, counted from 0 over all epochs."""
        assert n == len(self.order), "these are the labels of other data"
        assert batch == self.identities * self.images_per_identity, "the batch is another"
        round_, step_of_round = divmod(step, len(self.label) // self.identities)
        first = step_of_round * self.identities
        chosen = _shuffle_identities(len(self.label), seed, round_)[first : first + self.identities]
        return np.concatenate([self._images(int(who), round_, seed) for who in chosen])

    def _images(self, who: int, round_: int, seed: int) -> Int64[np.ndarray, "k"]:
        """Return K images of an identity, in its present order."""
        turn, part = divmod(round_, int(self.size[who]) // self.images_per_identity)
        cached = self._shuffled.get(who)
        if cached is None or cached[0] != (seed, turn):
            own = shuffle_indices(int(self.size[who]), seed, "identity", who, turn)
            cached = self._shuffled[who] = ((seed, turn), self.order[self.start[who] + own])
        return cached[1][part * self.images_per_identity : (part + 1) * self.images_per_identity]


@lru_cache(maxsize=2)
def _shuffle_identities(identities: int, seed: int, round_: int) -> Int64[np.ndarray, "identities"]:
    order = shuffle_indices(identities, seed, "identities", round_)
    order.flags.writeable = False
    return order


def _check_batch(batch: int, images_per_identity: int) -> None:
    if batch < 2 * images_per_identity:
        raise ValueError(
            f"a batch of {batch} with {images_per_identity} images of each identity has fewer than "
            "two identities, so there are no negatives; use --batch-size "
            f"{2 * images_per_identity} or more"
        )
    if batch % images_per_identity:
        low = batch // images_per_identity * images_per_identity
        raise ValueError(
            f"a batch of {batch} is not a multiple of {images_per_identity} images of each "
            f"identity; use --batch-size {low} or {low + images_per_identity}"
        )


def _check_size(
    label: np.ndarray, size: np.ndarray, images_per_identity: int, names: Sequence[str] | None
) -> None:
    class_names = [str(number) if names is None else names[number] for number in label]
    if len(label) < 2:
        raise ValueError(
            f"all images are of one class, {class_names[0]!r}, so there are no negatives; "
            "triplets need two or more"
        )
    few = (size < images_per_identity).nonzero()[0]
    if len(few):
        worst = int(size.argmin())
        rest = f"{len(few) - 1} more class{'es have' if len(few) > 2 else ' has'}"
        more = f" (and {rest} too few)" if len(few) > 1 else ""
        smallest = int(size.min())
        lower = f"use --images-per-identity {smallest} or less, or " if smallest > 1 else ""
        raise ValueError(
            f"class {class_names[worst]!r} has {smallest} image{'s' * (smallest > 1)}, "
            f"but --images-per-identity is {images_per_identity}{more}; {lower}leave out smaller "
            "classes"
        )


def _check_enough(identities: int, batch: int, images_per_identity: int, smallest: int) -> None:
    """Check that a batch finds enough identities; each has at least `smallest` images."""
    if batch // images_per_identity <= identities:
        return
    fitting = [k for k in range(images_per_identity, smallest + 1) if not batch % k]
    fitting = [k for k in fitting if 2 <= batch // k <= identities]
    instead = f"--images-per-identity {fitting[0]} or " if fitting else ""
    raise ValueError(
        f"a batch of {batch} with {images_per_identity} images of each identity needs "
        f"{batch // images_per_identity} identities, but there are {identities}; use {instead}"
        f"--batch-size {identities * images_per_identity}"
    )
