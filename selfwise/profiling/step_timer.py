"""The steps that are measured: time, waiting, how much was read, memory."""

import resource
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any, NamedTuple

import torch

from selfwise.core.memory import kept_memory
from selfwise.core.process import explained_loader_death, threads
from selfwise.core.types import RATE, AudioBatch, Labelled, TextBatch, batch_size
from selfwise.distributed.process_group import DistributedEnv
from selfwise.distributed.sharding import LocalBatch
from selfwise.methods.method import Method
from selfwise.profiling.flops import synchronize
from selfwise.training.config import ResolvedTraining
from selfwise.training.loop import Batches, load
from selfwise.training.step import Parts, assemble, set_lr, train_step

WARMUP_STEPS, MIN_STEPS = 3, 5  # steps
ENDLESS_STEPS = 1_000_000  # more than are done


class StepTiming(NamedTuple):
    """Steps one after the other, and what they took."""

    seconds: float  # of all steps together
    waited: float  # of these, seconds in which the next batch was waited for
    times: list[float]  # seconds of each step, waiting included
    examples: int
    amount: float  # tokens or seconds of sound; of images, as many as examples

    @property
    def rate(self) -> float:
        """Examples a second."""
        return self.examples / self.seconds

    @property
    def waiting(self) -> float:
        """The share of the time that was spent waiting for data."""
        return self.waited / self.seconds

    @property
    def step(self) -> float:
        """Seconds of a step, on average."""
        return self.seconds / len(self.times)

    def spread(self) -> tuple[float, float, float]:
        """Seconds of a step: median, and from where to where the middle 80 % are."""
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
    """Train a method that is thrown away for so many seconds, and at least five steps.

    Before that come three steps, and those that empty what reading had put by. Nothing is
    written. Of several processes the first measures its part of a step, alone.
    """
    with threads(options.threads), kept_memory(), explained_loader_death():
        return _time_steps(
            assemble(method(), options), batches, options, seed=seed, seconds=seconds
        )


def _time_steps(
    parts: Parts, batches: Batches, options: ResolvedTraining, *, seed: int, seconds: float
) -> StepTiming:
    endless, env = options.replace(steps=ENDLESS_STEPS), DistributedEnv(size=options.devices)
    device, before, begun = options.device, WARMUP_STEPS + 2 * options.workers, perf_counter()
    marks: list[Any] = []
    waited, amounts = 0.0, []
    batch_of = iter(load(batches, 0, endless, env))
    while True:
        asked = perf_counter()
        step, batch = next(batch_of)
        if marks:
            waited += perf_counter() - asked
        set_lr(parts.optimizer, endless, step)
        train_step(parts, batch, step, seed=seed, options=options)
        done = perf_counter()
        if marks:
            amounts.append(count_content(batch))
            marks.append(record_moment(device))
            if len(amounts) >= MIN_STEPS and done - begun > seconds:
                break
        elif step + 1 >= before or (step + 1 >= WARMUP_STEPS and done - begun > seconds):
            synchronize(device)
            begun = perf_counter()
            marks.append(record_moment(device))
    synchronize(device)
    taken = perf_counter() - begun
    times = [elapsed_seconds(first, then) for first, then in pairwise(marks)]
    examples, much = (sum(numbers) for numbers in zip(*amounts))
    return StepTiming(taken, waited, times, int(examples), float(much))


def record_moment(device: str) -> Any:
    """A moment on the device, which is not waited for."""
    if not device.startswith("cuda"):
        return perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(device))
    return event


def elapsed_seconds(first: Any, then: Any) -> float:
    """Seconds between two moments, which must be over."""
    if isinstance(first, float):
        return float(then - first)
    return float(first.elapsed_time(then)) / 1000


def count_content(batch: Any) -> tuple[int, float]:
    """Examples of a batch, and what they hold: real tokens, real seconds of sound, or images."""
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


def peak_memory(device: str) -> int:
    """The most bytes that were held so far: by torch on a GPU, or by this process."""
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated(device))
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    for line in (one for one in lines if one.startswith("VmHWM")):
        return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
