"""Learning-rate schedules: the factor on the base rate, a pure function of the step."""

from math import cos, pi, sqrt

# schedules whose factor at a step does not depend on the number of steps until the decay begins
LENGTHENABLE = ("constant", "wsd")


def constant(done: float) -> float:
    return 1.0


def cosine(done: float) -> float:
    """Fall from 1 to 0 along half a cosine, without restarts (Loshchilov & Hutter 2017)."""
    return 0.5 * (1 + cos(pi * done))


def linear(done: float) -> float:
    return 1 - done


def one_minus_sqrt(done: float) -> float:
    """Fall from 1 to 0 as wsd's decay; better than linear in Hägele et al. 2024, section 3."""
    return 1 - sqrt(done)


SHAPES = {shape.__name__: shape for shape in (constant, cosine, linear)}


def compute_factor(name: str, step: int, *, steps: int, warmup: int, decay: int = 0) -> float:
    """Return the factor at `step` (from 0): a linear rise over `warmup` steps, then the schedule.

    The first step already moves: at step i of the warm-up the factor is (i + 1) / warmup. With
    `wsd` (warm-up, stable, decay: MiniCPM, arXiv:2404.06395, section 4.2; Hägele et al. 2024,
    arXiv:2405.18392) the factor is 1 until the last `decay` steps, in which it falls towards 0.
    """
    if step < warmup:
        return (step + 1) / warmup
    if name == "wsd":
        decayed = step - (steps - decay)
        return one_minus_sqrt(decayed / decay) if decayed > 0 else 1.0
    return SHAPES[name]((step - warmup) / max(steps - warmup, 1))
