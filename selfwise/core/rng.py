"""Randomness as an argument: every draw is a pure function of a seed and of its purpose."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import blake2b
from math import prod

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

Key = int | str

# SplitMix64 (Steele, Lea, Flood 2014): a counter in steps of the golden ratio, mixed. The constants
# are the published unsigned ones in signed 64-bit arithmetic, which wraps around.
STRIDE, MIX_A, MIX_B = (
    number - 2**64 for number in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


def hash_keys(seed: int, *keys: Key) -> int:
    """Hash the seed and the keys, in their order, to a number of 63 bits."""
    text = repr((int(seed), *keys)).encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big") >> 1


def generator(seed: int, *keys: Key, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a torch generator for one purpose: `generator(seed, "view", step)`."""
    return torch.Generator(device).manual_seed(hash_keys(seed, *keys))


def shuffle_indices(n: int, seed: int, *keys: Key) -> np.ndarray:
    """Return a permutation of `range(n)` as int64; numpy's, since a million rows take only 15
    ms."""
    return np.random.Generator(np.random.Philox(hash_keys(seed, *keys))).permutation(n)


@contextmanager
def init_seed(seed: int, purpose: str) -> Iterator[None]:
    """Seed torch for the initialization of modules, and restore the global random state after."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(hash_keys(seed, purpose))
        yield


_SHARED_KEYS: ContextVar[tuple[int, *tuple[Key, ...]] | None] = ContextVar(
    "shared_keys", default=None
)


@contextmanager
def shared_across_ranks(seed: int, *keys: Key) -> Iterator[None]:
    """Make every call of `draw_shared` inside return the numbers of these keys, on every rank."""
    token = _SHARED_KEYS.set((seed, *keys))
    try:
        yield
    finally:
        _SHARED_KEYS.reset(token)


def seed_global(device: torch.device, seed: int, *keys: Key) -> None:
    """Set torch's global state, from which dropout draws, to a function of the keys.

    `torch.manual_seed` seeds every kind of device, which takes 0.8 ms even on a machine without
    any; where the CPU computes, its generator is sufficient.
    """
    number = hash_keys(seed, *keys)
    if device.type == "cpu":
        torch.default_generator.manual_seed(number)
    else:
        torch.manual_seed(number)


def draw_shared(n: int) -> Float32[Tensor, "n"]:
    """Draw (n,) float32 in [0, 1) for the whole batch, such as which layers to skip.

    From torch's global state, like dropout, except inside `shared_across_ranks`.
    """
    keys = _SHARED_KEYS.get()
    return torch.rand(n) if keys is None else torch.rand(n, generator=generator(*keys))


def _mix(bits: Int64[Tensor, "..."]) -> Int64[Tensor, "..."]:
    """Mix bits one to one: every bit of the result depends on every input bit."""
    bits = (bits ^ _shift_right(bits, 30)) * MIX_A
    bits = (bits ^ _shift_right(bits, 27)) * MIX_B
    return bits ^ _shift_right(bits, 31)


def _shift_right(bits: Int64[Tensor, "..."], by: int) -> Int64[Tensor, "..."]:
    """Shift to the right and fill up with zeros; torch's shift fills up with the sign."""
    return bits >> by & (1 << 64 - by) - 1


class Rng:
    """Draws for some rows of a global batch.

    Every draw is made for all `total` rows, and this slice of it is returned, so that the number of
    processes and micro-batches does not change an example's numbers. Numbers are drawn on the CPU:
    they are few, and equal on every device.

    `keyed` draws are functions of the run's `seed` and of keys that each row brings along: they
    depend on the example and not on its place in a batch.

    `progress` is the fraction of the run's steps before this one, for views that change during a
    run. Outside training it is 1, so that held-out losses do not depend on the step.
    """

    def __init__(
        self,
        generator: torch.Generator,
        part: slice | None = None,
        total: int | None = None,
        *,
        seed: int | None = None,
        progress: float = 1.0,
    ):
        self.generator, self.part, self.total, self.seed = generator, part, total, seed
        self.progress = progress

    def uniform(self, n: int, *shape: int) -> Tensor:
        """Return (n, *shape) float32 in [0, 1)."""
        return self._slice(torch.rand(self.total or n, *shape, generator=self.generator), n)

    def normal(self, n: int, *shape: int) -> Tensor:
        """Return (n, *shape) float32, standard normal."""
        return self._slice(torch.randn(self.total or n, *shape, generator=self.generator), n)

    def integers(self, high: int, n: int, *shape: int) -> Tensor:
        """Return (n, *shape) int64 in [0, high)."""
        shape = (self.total or n, *shape)
        return self._slice(torch.randint(high, shape, generator=self.generator), n)

    def orders(self, k: int, n: int) -> Tensor:
        """Return (n, k) int64: in each row a random order of `range(k)`."""
        return self.uniform(n, k).argsort(dim=1)

    def keyed(self, keys: Int64[Tensor, "b k"], *shape: int) -> Float32[Tensor, "b ..."]:
        """Return (b, *shape) float32 in [0, 1), each row a pure function of the run's seed and its
        keys.

        Mixes whole numbers instead of drawing, so it works on the keys' own device, waits for none,
        and is equal on all devices. Equal keys give equal numbers: draw all numbers for a row at
        once. A longer `shape` begins with the numbers of a shorter one if only its first size
        differs.
        """
        assert self.seed is not None, "keyed draws need the run's seed: Rng(..., seed=seed)"
        state = torch.full_like(keys[:, 0], hash_keys(self.seed, "keyed"))
        for key in keys.unbind(dim=1):
            state = _mix(state ^ key)
        counter = torch.arange(1, 1 + prod(shape), device=keys.device)
        bits = _mix(state[:, None] + counter * STRIDE)
        # the upper 24 bits, which a float32 holds
        return (bits >> 40 & 0xFFFFFF).float().mul_(2.0**-24).view(len(keys), *shape)

    def _slice(self, numbers: Tensor, n: int) -> Tensor:
        part = numbers if self.part is None else numbers[self.part]
        assert len(part) == n, f"expected {n} rows, but this slice has {len(part)}"
        return part
