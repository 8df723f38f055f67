"""What the machine can do at most: the rate of a matrix product; what a step needs."""

from collections.abc import Callable

from selfwise.profiling.flops import counter, product_rate, side_of
from selfwise.training.config import resolve_precision


def multiplies_bf16() -> bool:
    """Whether this CPU has instructions for products of bf16: without them it is slower by far."""
    return resolve_precision("auto", "cpu") == "bf16"


def matrix_rates(kinds: list[str], device: str = "cpu") -> dict[str, float]:
    """Floating-point operations a second of a product of square matrices, the best of several."""
    return {kind: float(f"{product_rate(device, kind, side_of(device)):.4g}") for kind in kinds}


def counted(step: Callable[[], object], device: str = "cpu") -> float:
    """Floating-point operations of products, convolutions and attention in one call of `step`."""
    with counter(device) as found:
        step()
    return float(found.get_total_flops())
