"""Intervals of accuracies on the same number of test examples, from the accuracies alone."""

from math import sqrt

from selfwise.evaluation.scores.bootstrap import Interval

Z = 1.959963984540054  # of the normal distribution, 95 %


def wilson_interval(share: float, n: int) -> Interval:
    """Return the 95 % interval of a share of n examples (Wilson 1927), 0 to 1.

    A mean over several fits on the same examples counts as one fit, so that its interval is too
    wide rather than too narrow. Raises ValueError without examples, or for a share outside 0 to 1.
    """
    if n < 1 or not 0 <= share <= 1:
        raise ValueError(f"needs a fraction from 0 to 1 of at least 1 example, got {share} of {n}")
    centre = share + Z**2 / (2 * n)
    half = Z * sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    low, high = ((centre + sign * half) / (1 + Z**2 / n) for sign in (-1, 1))
    return max(0.0, low), min(1.0, high)


def compare_shares(share_a: float, share_b: float, *, n: int) -> Interval:
    """Return the 95 % interval of a - b, each a share of n examples (Newcombe 1998, method 10).

    The interval assumes independent examples. On shared examples, where two encoders mostly fail
    together, it is too wide rather than too narrow. Raises ValueError as `wilson_interval`.
    """
    (low_a, high_a), (low_b, high_b) = wilson_interval(share_a, n), wilson_interval(share_b, n)
    difference = share_a - share_b
    low = difference - sqrt((share_a - low_a) ** 2 + (high_b - share_b) ** 2)
    high = difference + sqrt((high_a - share_a) ** 2 + (share_b - low_b) ** 2)
    return low, high
