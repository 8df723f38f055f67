"""Advice from measured numbers: options that are worth trying, and sentences. Measures nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

from selfwise.core.config_class import format_flag
from selfwise.core.progress import format_count

MIN_WAITING = 0.10  # fraction of time waiting for data above which a change is worth trying
MIN_BF16_SPEEDUP = 1.3  # how much faster bf16 must multiply here
MIN_GAIN = 1.05  # ratio above which a trial counts as faster: less is the noise of a few seconds
# utilization and fraction of the memory below which a GPU could do more
LOW_UTILISATION, LOW_MEMORY = 0.5, 0.4


@dataclass(frozen=True, kw_only=True)
class StepProfile:
    """The measurements that lead to advice."""

    waiting: float  # fraction of the time spent waiting for data
    utilisation: float  # fraction of the rate of a matrix product in the same precision
    device: str
    precision: str
    compile: bool
    cpu_threads: int
    num_workers: int
    cores: int  # for each process
    batch_size: int
    examples: int  # in the data
    bf16: float = 0.0  # speed of bf16 matrix products relative to float32; 0: not measured
    memory: float = 1.0  # fraction of the device's memory in use
    budget: str = ""  # the option that sets the batch if --batch-size does not
    couples: str = ""  # why another batch size changes the loss, if it does

    @property
    def on_gpu(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def spare(self) -> int:
        """Idle cores; with a GPU one thread is busy, whatever it may use."""
        return self.cores - self.num_workers - (1 if self.on_gpu else self.cpu_threads)


class OptionTrial(NamedTuple):
    """Other options, and the reason why they may be faster."""

    reason: str
    options: Mapping[str, int | str]  # names and values of options of a training


class TrialOutcome(NamedTuple):
    """The result of a trial: its examples per second relative to those of the user's options."""

    trial: OptionTrial
    ratio: float


def propose_trials(numbers: StepProfile) -> list[OptionTrial]:
    """Return options that are worth trying, the most important first."""
    return [
        *_try_more_workers(numbers),
        *_try_fewer_workers(numbers),
        *_try_bf16(numbers),
        *_try_larger_batch(numbers),
    ]


def _try_more_workers(numbers: StepProfile) -> list[OptionTrial]:
    """Propose more loader processes if training waits for them and a core is left for them."""
    if numbers.waiting <= MIN_WAITING:
        return []
    share, workers = numbers.waiting, numbers.num_workers
    reason = f"{_format_percent(share)} of the time is spent waiting for data"
    # with none, reading takes share / (1 - share) as long as computing, and must run in parallel
    num_needed = ceil(workers / (1 - share)) if workers else ceil(share / (1 - share))
    if numbers.spare > 0:
        idle = "1 core is" if numbers.spare == 1 else f"{numbers.spare} cores are"
        return [
            OptionTrial(
                f"{reason}, and {idle} idle",
                {"num_workers": min(num_needed, workers + numbers.spare)},
            )
        ]
    if numbers.spare == 0 and numbers.cpu_threads > 1 and not numbers.on_gpu:
        options = {"num_workers": workers + 1, "cpu_threads": numbers.cpu_threads - 1}
        return [
            OptionTrial(f"{reason}, and no core is idle, but a computing core could read", options)
        ]
    return []


def _try_fewer_workers(numbers: StepProfile) -> list[OptionTrial]:
    """Propose fewer loader processes and threads if they compete for the cores."""
    if numbers.on_gpu or not numbers.num_workers or numbers.spare >= 0:
        return []
    workers = min(numbers.num_workers, max(1, numbers.cores // 2))
    threads = max(1, numbers.cores - workers)
    workers = workers if numbers.cores > 1 else 0
    reason = (
        f"{format_count(numbers.cpu_threads, 'thread')} and "
        f"{format_count(numbers.num_workers, 'worker')} share {format_count(numbers.cores, 'core')}"
    )
    return [OptionTrial(reason, {"num_workers": workers, "cpu_threads": threads})]


def _try_bf16(numbers: StepProfile) -> list[OptionTrial]:
    if numbers.precision != "float32" or numbers.bf16 <= MIN_BF16_SPEEDUP:
        return []
    reason = f"matrices are multiplied {numbers.bf16:.1f} times as fast in bf16 here"
    return [OptionTrial(reason, {"precision": "bf16"})]


def _try_larger_batch(numbers: StepProfile) -> list[OptionTrial]:
    low = numbers.utilisation < LOW_UTILISATION and numbers.memory < LOW_MEMORY
    if not numbers.on_gpu or not low or numbers.budget or 2 * numbers.batch_size > numbers.examples:
        return []
    reason = (
        f"the GPU is at {_format_percent(numbers.utilisation)} of its matrix product and at "
        f"{_format_percent(numbers.memory)} of its memory"
    )
    also = f" (this changes the loss, since {numbers.couples})" if numbers.couples else ""
    return [OptionTrial(reason + also, {"batch_size": 2 * numbers.batch_size})]


def write_advice(numbers: StepProfile, outcomes: Sequence[TrialOutcome]) -> list[str]:
    """Return sentences on trials that were faster, and on changes that take longer to try."""
    sentences = [_describe_outcome(one) for one in outcomes if one.ratio >= MIN_GAIN]
    return [*sentences, *_describe_untried(numbers)] or ["nothing to change"]


def describe_failed_trials(outcomes: Sequence[TrialOutcome]) -> list[str]:
    """Return sentences on trials that were not faster."""
    return [_describe_outcome(one) for one in outcomes if one.ratio < MIN_GAIN]


def _describe_outcome(one: TrialOutcome) -> str:
    end = "" if one.ratio >= MIN_GAIN else ": leave it"
    times = f"{one.ratio:.2f} times as many examples per second{end}"
    return f"{format_flags(one.trial.options)}: {times} ({one.trial.reason})"


def _describe_untried(numbers: StepProfile) -> list[str]:
    """Return sentences on changes that take minutes to measure, or need more than an option."""
    sentences = []
    if (
        numbers.waiting > MIN_WAITING
        and not _try_more_workers(numbers)
        and not _try_fewer_workers(numbers)
    ):
        sentences.append(
            f"{_format_percent(numbers.waiting)} of the time is spent waiting for data, and no "
            "core is left to read them: use smaller files, or a machine with more cores"
        )
    if numbers.on_gpu and not numbers.compile and numbers.utilisation < LOW_UTILISATION:
        sentences.append(
            f"--compile: not tried, since it compiles for a minute (the GPU is at "
            f"{_format_percent(numbers.utilisation)} of its matrix product)"
        )
    low = numbers.utilisation < LOW_UTILISATION and numbers.memory < LOW_MEMORY
    if numbers.on_gpu and low and numbers.budget:
        sentences.append(
            f"a larger {numbers.budget}: not tried, since it sets the data of a step (the "
            f"GPU is at {_format_percent(numbers.memory)} of its memory)"
        )
    return sentences


def format_flags(options: Mapping[str, object]) -> str:
    """Return options as a user types them."""
    return " ".join(f"{format_flag(name)} {value}" for name, value in options.items())


def _format_percent(share: float) -> str:
    return f"{100 * share:.0f} %"
