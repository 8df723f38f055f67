"""Estimate whether a step fits into memory from two small forward passes, before trying it."""

from collections.abc import Callable

import torch
from torch import Tensor

from selfwise.core.free_memory import measure_free_memory
from selfwise.core.process import limit_threads
from selfwise.core.rng import Rng, generator, seed_global
from selfwise.core.types import Batch, batch_size, slice_batch, to_device
from selfwise.distributed.collectives import local_only
from selfwise.methods.method import Method
from selfwise.training.config import ResolvedTraining
from selfwise.training.loop import Batches
from selfwise.training.step import TrainState, build_state

SMALL_DIVISOR = 16  # the small passes use a sixteenth and an eighth of a micro-batch
SPARE_FACTOR = 2.0  # times the bound of one pass: a loss that compares pairs grows quadratically
TEMPORARY_FACTOR = 1.1  # temporary tensors: the backward pass holds a few at a time
# numbers that an optimizer stores per weight
STATES = {"sgd": 1, "lars": 1, "adamw": 2, "lamb": 2, "sparse_sgd": 0}


def check_memory(
    method: Callable[[], Method], batches: Batches, options: ResolvedTraining, *, seed: int
) -> None:
    """Run small forward passes on a copy, and compare the estimate for a whole step with free
    memory.

    Memory that a forward pass saves for the backward pass grows linearly with the examples. One
    pass gives a bound; only if this bound is close to the free memory, a second pass measures the
    constant part. Raises ValueError that names a batch size that fits.
    """
    with limit_threads(options.cpu_threads), local_only():
        state = build_state(method(), options)
        batch = to_device(batches[0], state.device)
        n = -(-batch_size(batch) // options.grad_accum_steps)
        processes = 1 if options.device.startswith("cuda") else options.devices
        n = -(-n // options.devices)
        unit = getattr(state.method, "images_per_identity", 2)  # rows that must stay together
        few = max(1, n // SMALL_DIVISOR // unit) * unit
        if n <= 2 * few:
            return  # too few examples for an estimate
        saved_by_few, free = (
            measure_saved_bytes(state, batch, few, seed=seed),
            available_memory(options.device),
        )
        weights = _count_optimizer_bytes(state.method, options)
        if SPARE_FACTOR * processes * (weights + n * TEMPORARY_FACTOR * saved_by_few / few) <= free:
            return
        saved_by_twice = measure_saved_bytes(state, batch, 2 * few, seed=seed)
        fixed = weights + max(0, 2 * saved_by_few - saved_by_twice)
    each = max(1.0, TEMPORARY_FACTOR * (saved_by_twice - saved_by_few) / few)
    needed = processes * (fixed + n * each)
    if needed <= free:
        return
    fits = (
        int(max(0.0, free / processes - fixed) / each) * options.devices * options.grad_accum_steps
    )
    raise ValueError(_describe_shortage(options, needed, free, min(fits, options.batch_size - 1)))


def _describe_shortage(options: ResolvedTraining, needed: float, free: float, fits: int) -> str:
    have = f"{free / 2**30:.1f} GiB are free on {options.device}"
    text = (
        f"a step of {options.batch_size} examples needs about {needed / 2**30:.1f} GiB, and {have}"
    )
    if fits < 1:
        return f"{text}: use a smaller encoder or smaller inputs; no batch size fits"
    return (
        f"{text}: about {fits} examples would fit (--batch-size, or for text and speech their size)"
    )


def measure_saved_bytes(state: TrainState, batch: Batch, examples: int, *, seed: int) -> int:
    """Return the bytes that the forward pass of the first `examples` saves for its backward pass,
    including the view but not the weights; the most there is where views change during a run.
    """
    return max(
        _measure_at(state, batch, examples, seed, progress)
        for progress in ((0.0, 1.0) if state.method.views_change else (0.0,))
    )


def _measure_at(state: TrainState, batch: Batch, examples: int, seed: int, progress: float) -> int:
    seen: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    seed_global(state.device, seed, "forward", 0)
    part, total = slice(0, examples), batch_size(batch)
    draws = Rng(generator(seed, "view", 0), part, total, seed=seed, progress=progress)
    view = state.method.view(slice_batch(batch, part), draws)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        step = state.precision.forward(state.method, view)
    for tensor in (t for t in view if isinstance(t, Tensor)):
        count(tensor)
    for tensor in state.method.state_dict().values():
        seen.pop(tensor.untyped_storage().data_ptr(), None)
    del step
    return sum(seen.values())


def _count_optimizer_bytes(method: Method, options: ResolvedTraining) -> int:
    """Return the bytes of gradients and optimizer states; the weights are allocated already."""
    trained = sum(p.numel() * p.element_size() for p in method.parameters() if p.requires_grad)
    return trained * (1 + STATES.get(options.optimizer, 2))


def available_memory(device: str) -> int:
    """Return the bytes that a process can still allocate: free memory on a GPU; on a CPU what the
    system has without swapping, within the limit of a container.
    """
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    return measure_free_memory()
