"""Whether a difference in accuracy is more than noise."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Float

from selfwise.rng import hashed

CELLS = 2**22  # counts held at once: 32 MB

Correct = Bool[np.ndarray, "m"] | Float[np.ndarray, "m"]
Interval = tuple[float, float]


def paired_bootstrap(
    correct_a: Correct, correct_b: Correct, *, seed: int, draws: int = 10_000
) -> Interval:
    """The 95 % percentile interval of accuracy(a) - accuracy(b) over resampled test examples.

    `correct_a` and `correct_b` (m,) say for each test example whether it was right, or how often
    (0 to 1) over several fits. Resampled together, so that hard examples count for neither.

    Raises ValueError if there are no test examples.
    """
    if not len(correct_a):
        raise ValueError("a paired bootstrap needs test examples, and there are none")
    assert len(correct_a) == len(correct_b), (correct_a.shape, correct_b.shape)
    difference = correct_a.astype(np.float64) - correct_b.astype(np.float64)
    # a resample is known by how often it has each value: for two single fits, -1, 0 and 1
    values, counts = np.unique(difference, return_counts=True)
    random = np.random.Generator(np.random.Philox(hashed(seed, "bootstrap")))
    n, at_once = len(difference), max(1, CELLS // len(values))
    means = [
        random.multinomial(n, counts / n, size=min(at_once, draws - done)) @ values / n
        for done in range(0, draws, at_once)
    ]
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return float(low), float(high)


def standard_error(values: Float[np.ndarray, "n"]) -> float:
    """Of the mean of n independent values. Raises ValueError for fewer than two."""
    if len(values) < 2:
        raise ValueError(f"a standard error needs at least 2 values, got {len(values)}")
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def above_noise(intervals: Iterable[Interval]) -> bool:
    """True if every interval lies above zero. One interval for each pre-training seed.

    Raises ValueError if there is none.
    """
    lows = [low for low, _ in intervals]
    if not lows:
        raise ValueError("nothing was compared: at least one interval is needed")
    return min(lows) > 0
