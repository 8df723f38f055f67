"""`selfwise bench`: time a training for a few seconds, and throw the result away."""

import json
from copy import deepcopy
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Gt, Le

from selfwise.core.data_sources import SEVERAL
from selfwise.core.files import write_file
from selfwise.core.memory_limit import takes_memory_limit
from selfwise.core.parallel import count_cpus
from selfwise.core.process import limit_threads
from selfwise.core.progress import print_progress
from selfwise.profiling.advice import (
    OptionTrial,
    StepProfile,
    TrialOutcome,
    describe_failed_trials,
    format_flags,
    propose_trials,
    write_advice,
)
from selfwise.profiling.bench_report import BenchReport, FlopRates, StepSeconds, TriedOptions
from selfwise.profiling.flops import choose_matrix_side, count_step_flops, measure_matmul_rate
from selfwise.profiling.step_timer import StepTiming, read_peak_memory, time_steps
from selfwise.runs.create import check_processes, request_run
from selfwise.runs.environment import describe_environment
from selfwise.runs.prepare import PreparedRun, prepare_run
from selfwise.training.config import ResolvedTraining
from selfwise.training.step import build_state

MAX_TRIAL_SECONDS = 5.0  # seconds for each of the two sides of a trial, at most
BUDGETS = {"text": "--batch-tokens", "audio": "--batch-seconds"}


@takes_memory_limit
def bench(
    method: str,
    *,
    data: Annotated[object, SEVERAL],
    measure: Annotated[float, Gt(0), Le(3600)] = 20.0,
    out: str | Path = "",
    max_memory: str = "",
    quiet: bool = False,
    **options: Any,
) -> BenchReport:
    """Measure how fast a training would run here, and what would make it faster.

    Prepare everything as `pretrain` does with the same options, run some steps, and discard them.
    There is no run folder, and only the caches that a training would write stay on disk. Leave the
    machine idle otherwise. The report shows examples a second, the time of a step, the fraction of
    it spent waiting for data, the model's FLOP rate compared with the fastest matrix product here,
    memory, and advice. Each piece of advice is tried for a few seconds, right after the training as
    requested.

    Args:
        method: name of a method, as `selfwise methods` lists it.
        data: as for `pretrain`: a folder, a file or a name; in Python also the examples.
        measure: seconds to measure steps for; at least five steps.
        out: also write all numbers, with machine, versions and options, to this .json file, which
            must not exist yet.
        max_memory: most memory for reading one file, as in 4G; by default half of what is free.
        quiet: print no progress.
        options: options of `pretrain`: of the method, training and reading. Options for the length
            of the training, logging and checkpoints have no effect here.

    Raises ValueError with one sentence for an invalid request.
    """
    if out:
        _check_out(Path(out))
    encoder, start = options.pop("encoder", ""), options.pop("init_from", "")
    request = request_run(method, data, encoder, start, int(options.pop("seed", 0)), options)
    check_processes(request, data)
    prepared = prepare_run(request, data, quiet=quiet)
    prepared.data.probes(
        prepared.method, prepared.training, seed=prepared.seed
    )  # refuses the same options as a run
    report = _measure_training(prepared, measure, quiet=quiet)
    if out:
        _check_out(Path(out))  # again, after the measurements
        write_file(Path(out), json.dumps(report.to_dict(), indent=1, default=str) + "\n")
    return report


def _check_out(out: Path) -> None:
    if out.suffix != ".json":
        raise ValueError(f"--out {out} must end in .json")
    if out.exists():
        raise ValueError(f"--out {out} exists already; choose another name")
    if not out.parent.is_dir():
        raise ValueError(f"--out {out} cannot be written: there is no folder {out.parent}")


def _measure_training(prepared: PreparedRun, seconds: float, *, quiet: bool) -> BenchReport:
    """Measure everything; memory first, before anything else is built."""
    options, device = prepared.training, prepared.training.device
    name = prepared.record.method
    print_progress(f"measuring the steps of {name} for {seconds:g} s", quiet=quiet)
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    baseline = _time_training(prepared, options, seconds)
    memory = read_peak_memory(device)
    flops = _measure_flops(prepared)
    utilisation = flops.flops / baseline.step / flops.products
    profile = _make_profile(prepared, baseline, memory, utilisation, flops)
    outcomes = [
        _try_options(prepared, trial, seconds, quiet=quiet) for trial in propose_trials(profile)
    ]
    middle, low, high = baseline.spread()
    return BenchReport(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        method=name,
        modality=prepared.record.modality,
        options=prepared.record.options | dict(options),
        found=prepared.data.info.model_dump(),
        environment=dict(describe_environment(options.cpu_threads, device)),
        cores=count_cpus(),
        steps=len(baseline.times),
        seconds=baseline.seconds,
        examples_per_second=baseline.rate,
        amount_per_second=baseline.amount / baseline.seconds,
        step_seconds=StepSeconds(median=middle, p10=low, p90=high, mean=baseline.step),
        waiting=baseline.waiting,
        flops=flops,
        utilisation=utilisation,
        memory=memory,
        tried=[
            TriedOptions(options=dict(outcome.trial.options), ratio=outcome.ratio)
            for outcome in outcomes
        ],
        no_gain=describe_failed_trials(outcomes),
        advice=write_advice(profile, outcomes),
    )


def _time_training(prepared: PreparedRun, options: ResolvedTraining, seconds: float) -> StepTiming:
    source = prepared.source
    if options.batch_size != prepared.training.batch_size:
        source = prepared.data.source(
            prepared.method, batch_size=options.batch_size, seed=prepared.seed
        )
    return time_steps(
        partial(deepcopy, prepared.method),
        source,
        options,
        seed=prepared.seed,
        seconds=seconds,
    )


def _measure_flops(prepared: PreparedRun) -> FlopRates:
    """Return the operations of a step, and the rate of the fastest matrix product here."""
    options, side = prepared.training, choose_matrix_side(prepared.training.device)
    with limit_threads(options.cpu_threads):
        parts = build_state(deepcopy(prepared.method), options.replace(compile=False))
        in_float32 = options.precision == "float32"
        return FlopRates(
            flops=count_step_flops(parts, prepared.source, options, seed=prepared.seed),
            products=measure_matmul_rate(options.device, options.precision, side),
            side=side,
            products_bf16=measure_matmul_rate(options.device, "bf16", side) if in_float32 else None,
        )


def _make_profile(
    prepared: PreparedRun, baseline: StepTiming, memory: int, utilisation: float, flops: FlopRates
) -> StepProfile:
    options, method_class = prepared.training, type(prepared.method)
    share = 1.0
    if options.device.startswith("cuda"):
        share = memory / torch.cuda.get_device_properties(options.device).total_memory
    return StepProfile(
        waiting=baseline.waiting,
        utilisation=utilisation,
        device=options.device,
        precision=options.precision,
        compile=options.compile,
        cpu_threads=options.cpu_threads,
        num_workers=options.num_workers,
        cores=max(1, count_cpus() // options.devices),
        batch_size=options.batch_size,
        examples=prepared.data.info.examples,
        bf16=(flops.products_bf16 or 0.0) / flops.products,
        memory=share,
        budget="" if prepared.data.batch is None else BUDGETS.get(method_class.modality, ""),
        couples=method_class.couples_batch or "",
    )


def _try_options(
    prepared: PreparedRun, trial: OptionTrial, seconds: float, *, quiet: bool
) -> TrialOutcome:
    """Time the training as requested and then with other options, one after the other."""
    trial_seconds = min(MAX_TRIAL_SECONDS, seconds / 4)
    print_progress(f"trying {format_flags(trial.options)} for {trial_seconds:.3g} s", quiet=quiet)
    before = _time_training(prepared, prepared.training, trial_seconds)
    after = _time_training(
        prepared, prepared.training.model_copy(update=dict(trial.options)), trial_seconds
    )
    return TrialOutcome(trial, after.rate / before.rate)
