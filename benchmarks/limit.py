"""What the machine can do at most: the rate of a matrix product; what a step needs."""

from collections.abc import Callable

from selfwise.core.device import resolve_precision
from selfwise.profiling.flops import build_flop_counter, choose_matrix_side, measure_matmul_rate


def multiplies_bf16() -> bool:
    """Whether this CPU has instructions for products of bf16: without them it is slower by far."""
    return resolve_precision("auto", "cpu") == "bf16"


def matrix_rates(kinds: list[str], device: str = "cpu") -> dict[str, float]:
    """Floating-point operations a second of a product of square matrices, the best of several."""
    return {
        kind: float(f"{measure_matmul_rate(device, kind, choose_matrix_side(device)):.4g}")
        for kind in kinds
    }


def counted(step: Callable[[], object], device: str = "cpu") -> float:
    """Floating-point operations of products, convolutions and attention in one call of `step`."""
    with build_flop_counter(device) as found:
        step()
    return float(found.get_total_flops())
