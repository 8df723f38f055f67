"""Whether a difference in accuracy is more than noise."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Float

from selfwise.core.rng import hash_keys

ABOVE, WITHIN, WORSE = "above the noise", "within the noise", "worse, beyond the noise"
MAX_COUNTS = 2**22  # counts held at once: 32 MB

Correct = Bool[np.ndarray, "m"] | Float[np.ndarray, "m"]
Interval = tuple[float, float]


def paired_bootstrap(
    correct_a: Correct, correct_b: Correct, *, seed: int, draws: int = 10_000
) -> Interval:
    """Return the 95 % percentile interval of accuracy(a) - accuracy(b) over resampled test
    examples.

    `correct_a` and `correct_b` (m,) hold for each test example whether it was right, or how often
    (0 to 1) over several fits. Both are resampled together, so hard examples favor neither.

    Raises ValueError if there are no test examples.
    """
    if not len(correct_a):
        raise ValueError("a paired bootstrap needs test examples, and there are none")
    assert len(correct_a) == len(correct_b), (correct_a.shape, correct_b.shape)
    difference = correct_a.astype(np.float64) - correct_b.astype(np.float64)
    random = np.random.Generator(np.random.Philox(hash_keys(seed, "bootstrap")))
    low, high = np.quantile(_resample_means(difference, draws, random), [0.025, 0.975])
    return float(low), float(high)


def _resample_means(
    difference: Float[np.ndarray, "m"], draws: int, random: np.random.Generator
) -> Float[np.ndarray, "draws"]:
    """Return means of the difference over test examples that are drawn with replacement."""
    # a resample is known by how often it has each value: for two single fits, -1, 0 and 1
    values, counts = np.unique(difference, return_counts=True)
    n, at_once = len(difference), max(1, MAX_COUNTS // len(values))
    sizes = [min(at_once, draws - done) for done in range(0, draws, at_once)]
    if 2 * len(values) > n:  # hardly any is there twice: 0.5 s for 10,000, and counts take 4 s
        means = [difference[random.integers(n, size=(size, n))].mean(axis=1) for size in sizes]
    else:
        means = [random.multinomial(n, counts / n, size=size) @ values / n for size in sizes]
    return np.concatenate(means)


def judge_interval(interval: Interval) -> str:
    """Return whether a difference with this interval is above the noise."""
    low, high = interval
    if low > 0:
        return ABOVE
    return WORSE if high < 0 else WITHIN


def describe_difference(competitor: str, difference: float, interval: Interval) -> str:
    """Return the difference to a competitor in points, its interval, and what that says."""
    low, high = (100 * end for end in interval)
    points = f"{competitor}: {100 * difference:+.1f} points"
    return f"{points} (95 % interval {low:+.1f} to {high:+.1f}), {judge_interval(interval)}"


def standard_error(values: Float[np.ndarray, "n"]) -> float:
    """Standard error of the mean of n independent values. Raises ValueError for fewer than two."""
    if len(values) < 2:
        raise ValueError(f"a standard error needs at least 2 values, got {len(values)}")
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def is_above_noise(intervals: Iterable[Interval]) -> bool:
    """Return whether every interval is above zero. One interval for each pre-training seed.

    Raises ValueError if there is none.
    """
    lows = [low for low, _ in intervals]
    if not lows:
        raise ValueError("a comparison needs at least one interval")
    return min(lows) > 0
