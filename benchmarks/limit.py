"""What the machine can do at most: the rate of a large matrix product; what a step needs."""

import time
from collections.abc import Callable
from pathlib import Path

import torch

SIDE = 1024
KINDS = {"float32": torch.float32, "bf16": torch.bfloat16}


def multiplies_bf16() -> bool:
    """Whether this CPU has instructions for products of bf16: without them it is slower by far."""
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    return any(flag in flags.split() for flag in ("avx512_bf16", "amx_bf16", "bf16"))


def matrix_rates(kinds: list[str], device: str = "cpu", tries: int = 20) -> dict[str, float]:
    """Floating-point operations a second of a product of square matrices, the best of `tries`."""
    found = {}
    for name in kinds:
        dtype = KINDS[name]
        a = torch.randn(SIDE, SIDE, device=device).to(dtype)
        b = torch.randn(SIDE, SIDE, device=device).to(dtype)
        took = []
        for _ in range(tries):
            begun = time.perf_counter()
            a @ b
            if device != "cpu":
                torch.cuda.synchronize()
            took.append(time.perf_counter() - begun)
        found[name] = float(f"{2 * SIDE**3 / min(took):.4g}")
    return found


def counted(step: Callable[[], object]) -> float:
    """Floating-point operations of products, convolutions and attention in one call of `step`."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops())
