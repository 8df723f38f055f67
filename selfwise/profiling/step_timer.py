"""Measured steps: time, waiting, data read, and memory."""

import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import NamedTuple

import torch

from selfwise.core.device import wait_for_device
from selfwise.core.memory import keep_freed_memory
from selfwise.core.process import explain_loader_death, limit_threads
from selfwise.core.types import RATE, AudioBatch, Batch, Labelled, TextBatch, batch_size
from selfwise.distributed.process_group import DistributedEnv
from selfwise.distributed.sharding import LocalBatch
from selfwise.methods.method import Method
from selfwise.training.config import ResolvedTraining
from selfwise.training.loop import Batches, load_batches
from selfwise.training.step import TrainState, build_state, set_lr, train_step

Moment = float | torch.cuda.Event

WARMUP_STEPS, MIN_STEPS = 3, 5  # steps
ENDLESS_STEPS = 1_000_000  # more than will run


class StepTiming(NamedTuple):
    """Consecutive steps and their times."""

    seconds: float  # of all steps together
    waited: float  # of these, seconds spent waiting for the next batch
    times: list[float]  # seconds of each step, waiting included
    examples: int
    amount: float  # tokens or seconds of audio; for images, the number of examples

    @property
    def rate(self) -> float:
        """Examples per second."""
        return self.examples / self.seconds

    @property
    def waiting(self) -> float:
        """The fraction of the time spent waiting for data."""
        return self.waited / self.seconds

    @property
    def step(self) -> float:
        """Mean seconds per step."""
        return self.seconds / len(self.times)

    def spread(self) -> tuple[float, float, float]:
        """Seconds per step: the median and the range of the middle 80 %."""
        tenths = quantiles(self.times, n=10, method="inclusive")
        return median(self.times), tenths[0], tenths[-1]


def time_steps(
    method: Callable[[], Method],
    batches: Batches,
    options: ResolvedTraining,
    *,
    seed: int,
    seconds: float,
) -> StepTiming:
    """Train a method that is discarded for this many seconds, and at least five steps.

    Three warm-up steps run before, and steps that use up batches read ahead. Nothing is written.
    With several processes, the first measures its part of a step alone.
    """
    with limit_threads(options.cpu_threads), keep_freed_memory(), explain_loader_death():
        return _time_steps(
            build_state(method(), options), batches, options, seed=seed, seconds=seconds
        )


def _time_steps(
    parts: TrainState, batches: Batches, options: ResolvedTraining, *, seed: int, seconds: float
) -> StepTiming:
    endless, env = options.replace(steps=ENDLESS_STEPS), DistributedEnv(size=options.devices)
    device, warmup_steps, started = (
        options.device,
        WARMUP_STEPS + 2 * options.num_workers,
        perf_counter(),
    )
    marks: list[Moment] = []
    waited, amounts = 0.0, []
    loaded = iter(load_batches(batches, 0, endless, env))
    while True:
        wait_started = perf_counter()
        step, batch = next(loaded)
        if marks:
            waited += perf_counter() - wait_started
        set_lr(parts.optimizer, endless, step)
        train_step(parts, batch, step, seed=seed, options=options)
        step_ended = perf_counter()
        if marks:
            amounts.append(count_content(batch))
            marks.append(record_moment(device))
            if len(amounts) >= MIN_STEPS and step_ended - started > seconds:
                break
        elif step + 1 >= warmup_steps or (
            step + 1 >= WARMUP_STEPS and step_ended - started > seconds
        ):
            wait_for_device(device)
            started = perf_counter()
            marks.append(record_moment(device))
    wait_for_device(device)
    seconds_taken = perf_counter() - started
    times = [elapsed_seconds(first, then) for first, then in pairwise(marks)]
    examples, content = (sum(numbers) for numbers in zip(*amounts))
    return StepTiming(seconds_taken, waited, times, int(examples), float(content))


def record_moment(device: str) -> Moment:
    """Record the present moment on the device, without waiting for the device."""
    if not device.startswith("cuda"):
        return perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(device))
    return event


def elapsed_seconds(first: Moment, last: Moment) -> float:
    """Return the seconds between two moments of one device, both in the past."""
    if isinstance(first, torch.cuda.Event):
        assert isinstance(last, torch.cuda.Event)
        return float(first.elapsed_time(last)) / 1000
    assert isinstance(last, float)
    return last - first


def count_content(batch: Batch | LocalBatch) -> tuple[int, float]:
    """Count examples of a batch, and their content: real tokens, real seconds of audio, or
    images."""
    batch = batch.batch if isinstance(batch, LocalBatch) else batch
    batch = batch.batch if isinstance(batch, Labelled) else batch
    n = batch_size(batch)
    if isinstance(batch, TextBatch):
        real = batch.ids.numel() if batch.valid is None else int(batch.valid.sum())
        return n, float(real)
    if isinstance(batch, AudioBatch):
        samples = batch.x.numel() if batch.extent is None else int(batch.extent.sum())
        return n, samples / RATE
    return n, float(n)


def read_peak_memory(device: str) -> int:
    """Return the peak bytes so far: torch's on a GPU, otherwise this process's."""
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated(device))
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    for line in (one for one in lines if one.startswith("VmHWM")):
        return int(line.split()[1]) * 1024
    return _read_peak_of_process()


def _read_peak_of_process() -> int:
    """Return the system's count; 0 on Windows, where Python has none."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
