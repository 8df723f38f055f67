"""How far a share may be from what is expected."""

import math


def near(share: float, of: int, expected: float) -> bool:
    """Within 4.5 standard deviations of a binomial share: once in 150,000 by chance."""
    return abs(share - expected) < 4.5 * math.sqrt(expected * (1 - expected) / of)
