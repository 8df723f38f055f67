"""Learning-rate schedules: the factor on the base rate, a pure function of the step."""

from math import cos, pi


def constant(done: float) -> float:
    return 1.0


def cosine(done: float) -> float:
    """From 1 to 0 along half a cosine, without restarts (Loshchilov & Hutter 2017)."""
    return 0.5 * (1 + cos(pi * done))


def linear(done: float) -> float:
    return 1 - done


SHAPES = {shape.__name__: shape for shape in (constant, cosine, linear)}


def compute_factor(name: str, step: int, *, steps: int, warmup: int) -> float:
    """The factor at `step` (from 0): a linear rise over `warmup` steps, then the shape.

    The first step already moves: at step i of the warm-up the factor is (i + 1) / warmup.
    """
    if step < warmup:
        return (step + 1) / warmup
    return SHAPES[name]((step - warmup) / max(steps - warmup, 1))
