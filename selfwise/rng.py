"""Randomness is an argument: every draw is a pure function of a seed and of what it is for."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

Key = int | str


def hashed(seed: int, *keys: Key) -> int:
    """63 bits that depend on the seed and on every key, and on their order."""
    text = repr((int(seed), *keys)).encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big") >> 1


def generator(seed: int, *keys: Key, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator for one purpose: `generator(seed, "view", step)`."""
    return torch.Generator(device).manual_seed(hashed(seed, *keys))


def shuffled(n: int, seed: int, *keys: Key) -> np.ndarray:
    """A permutation of `range(n)` as int64; numpy's, because a million rows take 15 ms."""
    return np.random.Generator(np.random.Philox(hashed(seed, *keys))).permutation(n)


@contextmanager
def seeded(seed: int, purpose: str) -> Iterator[None]:
    """Initialise modules as a function of the seed; the global random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(hashed(seed, purpose))
        yield


class Rng:
    """Draws for some rows of a global batch.

    Every draw is made for all `total` rows and this slice of it is returned, so that one process
    or four, one micro-batch or eight, give each example the same numbers. Numbers are drawn on
    the CPU: they are few, and they are the same on every device.
    """

    def __init__(
        self, generator: torch.Generator, part: slice | None = None, total: int | None = None
    ):
        self.generator, self.part, self.total = generator, part, total

    def uniform(self, n: int, *shape: int) -> Tensor:
        """(n, *shape) float32 in [0, 1)."""
        return self._slice(torch.rand(self.total or n, *shape, generator=self.generator), n)

    def normal(self, n: int, *shape: int) -> Tensor:
        """(n, *shape) float32, standard normal."""
        return self._slice(torch.randn(self.total or n, *shape, generator=self.generator), n)

    def integers(self, high: int, n: int, *shape: int) -> Tensor:
        """(n, *shape) int64 in [0, high)."""
        shape = (self.total or n, *shape)
        return self._slice(torch.randint(high, shape, generator=self.generator), n)

    def orders(self, k: int, n: int) -> Tensor:
        """(n, k) int64: in each row a random order of `range(k)`."""
        return self.uniform(n, k).argsort(dim=1)

    def _slice(self, drawn: Tensor, n: int) -> Tensor:
        part = drawn if self.part is None else drawn[self.part]
        assert len(part) == n, f"asked for {n} rows, but this slice has {len(part)}"
        return part
