"""How fast this machine multiplies matrices, and the matrix products in a step."""

from collections.abc import Sequence
from math import prod
from time import monotonic, perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from selfwise.core.device import DTYPES, device_type, wait_for_device
from selfwise.distributed.process_group import DistributedEnv
from selfwise.distributed.sharding import LocalBatch
from selfwise.training.config import ResolvedTraining
from selfwise.training.loop import Batches, load_batches
from selfwise.training.step import TrainState, make_views

Shape = Sequence[int]

MATRIX_SIDES = {"cpu": 1024, "cuda": 8192}  # of square matrices: larger ones were not faster
MAX_PRODUCTS, MAX_SECONDS = 10, 2.0  # products, of which the best counts; seconds
# steps whose products are counted; seconds after which counting stops
COUNTED_STEPS, MAX_COUNTING_SECONDS = 3, 10.0


def choose_matrix_side(device: str) -> int:
    """Return the side of the matrices to multiply on a device."""
    return MATRIX_SIDES["cpu" if device_type(device) == "cpu" else "cuda"]


def measure_matmul_rate(device: str, precision: str, side: int) -> float:
    """Return operations per second of the best product of two square matrices, on current threads.

    A product counts 2 side**3: an addition for each multiplication.
    """
    dtype = DTYPES[precision]
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    out = torch.empty(side, side, device=device, dtype=dtype)
    best, started = float("inf"), monotonic()
    torch.mm(a, b, out=out)
    for _ in range(MAX_PRODUCTS):
        wait_for_device(device)
        start = perf_counter()
        torch.mm(a, b, out=out)
        wait_for_device(device)
        best = min(best, perf_counter() - start)
        if monotonic() - started > MAX_SECONDS:
            break
    return 2 * side**3 / best


def count_step_flops(
    parts: TrainState, batches: Batches, options: ResolvedTraining, *, seed: int
) -> float:
    """Count operations of the products in a step, forward and backward: the mean of the first
    steps.

    Leaves out views, the optimizer, and operations that are not products: they are not part of the
    model.
    A compiled method cannot be counted.
    """
    options = options.replace(num_workers=0, steps=COUNTED_STEPS)
    counts, started = [], monotonic()
    for step, batch in load_batches(batches, 0, options, DistributedEnv(size=options.devices)):
        local_batch = batch if isinstance(batch, LocalBatch) else LocalBatch(batch)
        views = make_views(parts, local_batch, step, seed=seed, options=options)
        with build_flop_counter(options.device) as flop_counter:
            for view in views:
                step_result = parts.precision.forward(parts.method, view)
                loss = torch.stack([t.sum / t.count for t in step_result.terms.values()]).sum()
                parts.precision.backward(loss)
        parts.method.zero_grad(set_to_none=True)
        counts.append(flop_counter.get_total_flops())
        if monotonic() - started > MAX_COUNTING_SECONDS:
            break
    mean: float = sum(counts) / len(counts)
    return mean


def build_flop_counter(device: str = "cpu") -> FlopCounterMode:
    """Return torch's counter of operations, corrected for our models.

    Adds attention on the CPU and over sequences of any length, which torch leaves out; corrects the
    gradient of a grouped convolution, which torch counts as if all channels were connected. Does
    not count operations that a kernel repeats for the backward pass: they are not part of the
    model.
    """
    aten = torch.ops.aten
    formulas: dict[Any, Any] = {aten.convolution_backward: _count_convolution_backward}
    kinds = ("flash_attention", "efficient_attention", "cudnn_attention")
    for kind in kinds:
        formulas[getattr(aten, f"_scaled_dot_product_{kind}")] = _count_attention
        formulas[getattr(aten, f"_scaled_dot_product_{kind}_backward")] = _count_attention_backward
    formulas[aten._scaled_dot_product_flash_attention_for_cpu] = _count_attention
    formulas[aten._scaled_dot_product_flash_attention_for_cpu_backward] = _count_attention_backward
    if device.startswith("cuda"):
        from torch.nn.attention import varlen  # noqa: F401  # it makes the two operators

        formulas[torch.ops.torch_attn._varlen_attn] = count_packed_attention
        formulas[torch.ops.torch_attn._varlen_attn_backward] = count_packed_attention_backward
    return FlopCounterMode(display=False, custom_mapping=formulas)


def _count_attention(q: Shape, k: Shape, v: Shape, *args: object, **kwargs: object) -> int:
    """Count scores and sums of values, of shapes (b h n c); a causal mask saves nothing here."""
    b, h, n, c = q
    return 2 * b * h * n * k[2] * (c + v[3])


def _count_attention_backward(
    grad: Shape, q: Shape, k: Shape, v: Shape, *args: object, **kwargs: object
) -> int:
    """Count the backward pass: each of the two products has a gradient for both of its factors."""
    return 2 * _count_attention(q, k, v)


def count_packed_attention(
    q: Tensor, k: Tensor, v: Tensor, starts: Tensor, *args: Any, **kwargs: object
) -> int:
    """Count operations of attention inside each of several packed sequences, q (n h c)."""
    pairs = int(starts.diff().long().square().sum())
    return 2 * pairs * q.shape[1] * (q.shape[2] + v.shape[2])


def count_packed_attention_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: object
) -> int:
    """Count operations of the gradients; `args` has the output, its norm, and the starts."""
    return 2 * count_packed_attention(q, k, v, args[2])


for _raw in (count_packed_attention, count_packed_attention_backward):
    _raw._get_raw = True  # type: ignore[union-attr] # the counter then gives tensors, not shapes


def _count_convolution_backward(
    grad: Shape, x: Shape, weight: Shape, *args: object, **kwargs: object
) -> int:
    """Count the forward operations once for each of the two gradients that torch needs.

    Each weight meets each position of the output once, or of the input in a transposed convolution.
    `args` are bias, stride, padding, dilation, transposed, output padding, groups, output mask.
    """
    transposed, output_mask = args[4], args[7]
    assert isinstance(output_mask, Sequence)
    places = prod((x if transposed else grad)[2:])
    return 2 * x[0] * places * prod(weight) * (int(output_mask[0]) + int(output_mask[1]))
