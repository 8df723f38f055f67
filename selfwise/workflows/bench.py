"""`selfwise bench`: what a training would do, measured for seconds and thrown away."""

import json
import sys
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import torch

from selfwise.core.parallel import count_cpus
from selfwise.core.process import limit_threads
from selfwise.profiling.advice import (
    OptionTrial,
    StepProfile,
    TrialOutcome,
    describe_failed_trials,
    format_flags,
    propose_trials,
    write_advice,
)
from selfwise.profiling.flops import count_step_flops, matrix_side, measure_matmul_rate
from selfwise.profiling.step_timer import StepTiming, peak_memory, time_steps
from selfwise.profiling.table import format_table
from selfwise.runs.create import check_processes, request_run
from selfwise.runs.environment import describe_environment
from selfwise.runs.prepare import PreparedRun, prepare_run
from selfwise.training.config import ResolvedTraining
from selfwise.training.step import build_state

MOST = 3600.0  # seconds that may be asked for
TURN = 5.0  # seconds of each of the two sides of a trial, at the most
BUDGETS = {"text": "--batch-tokens", "audio": "--seconds"}


@dataclass(frozen=True)
class Report:
    """What was measured, as plain data, and as a table with advice."""

    data: dict[str, Any]

    @property
    def advice(self) -> list[str]:
        """What to change, a sentence each, or that there is nothing to change."""
        return list(self.data["advice"])

    def text(self) -> str:
        """The table and the advice."""
        return format_table(self.data)


def bench(
    method: str,
    *,
    data: Any,
    measure: float = 20.0,
    out: str | Path = "",
    quiet: bool = False,
    **options: Any,
) -> Report:
    """Measure how fast a training would run here, and what would make it faster.

    Everything is prepared as `pretrain` does when it is told the same. Then the steps run, and are
    thrown away: there is no run folder, and of what is read only the caches stay that a training
    would make. The machine should do nothing else meanwhile. Shown are examples a second, the time
    of a step, the share of it that is spent waiting for data, the products of the model against the
    fastest product of two matrices here, memory, and advice. What the advice would change is tried
    for some seconds more, right after what was asked for.

    Args:
        method: name of a method, as `selfwise methods` lists them.
        data: as for `pretrain`: a folder, a file, a name; in Python also the examples.
        measure: seconds in which the steps are measured; five steps at least.
        out: also write all numbers, with machine, versions and options, to this .json, which must
            not exist yet.
        quiet: print no progress.
        options: of `pretrain`: of the method, of training and of reading. Those that say how long
            to train, and what to log and save, change nothing here.

    Raises ValueError with one sentence for anything that cannot be.
    """
    _check(measure, Path(out) if out else None)
    encoder, start = options.pop("encoder", ""), options.pop("start", "")
    request = request_run(method, data, encoder, start, int(options.pop("seed", 0)), options)
    check_processes(request, data)
    ready = prepare_run(request, data, quiet=quiet)
    ready.data.probes(ready.method, ready.training, seed=ready.seed)  # refuses, as in a run
    report = Report(_found(ready, measure, quiet=quiet))
    if out:
        with Path(out).open("x") as file:
            file.write(json.dumps(report.data, indent=1, default=str) + "\n")
    return report


def _check(seconds: float, out: Path | None) -> None:
    if not (isfinite(seconds) and 0 < seconds <= MOST):
        raise ValueError(f"--measure must be above 0 and at most {MOST:g} seconds, got {seconds:g}")
    if out is None:
        return
    if out.suffix != ".json":
        raise ValueError(f"--out {out} must end in .json")
    if out.exists():
        raise ValueError(f"--out {out} exists already; give another name")
    if not out.parent.is_dir():
        raise ValueError(f"--out {out} cannot be written: there is no folder {out.parent}")


def _found(ready: PreparedRun, seconds: float, *, quiet: bool) -> dict[str, Any]:
    """All that is measured, in the order in which it is: memory before anything else is made."""
    options, device = ready.training, ready.training.device
    name = ready.record.method
    _say(f"{name}: its steps are measured for {seconds:g} s", quiet=quiet)
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    base = _measured(ready, options, seconds)
    memory = peak_memory(device)
    limits = _limits(ready)
    used = limits["flops"] / base.step / limits["products"]
    numbers = _numbers(ready, base, memory, used, limits)
    tried = [_tried(ready, trial, seconds, quiet=quiet) for trial in propose_trials(numbers)]
    middle, low, high = base.spread()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "method": name,
        "modality": ready.record.modality,
        "options": ready.record.options | dict(options),
        "found": ready.data.info.model_dump(),
        "environment": describe_environment(options.threads, device),
        "cores": count_cpus(),
        "steps": len(base.times),
        "seconds": base.seconds,
        "examples_per_second": base.rate,
        "amount_per_second": base.amount / base.seconds,
        "step_seconds": {"median": middle, "p10": low, "p90": high, "mean": base.step},
        "waiting": base.waiting,
        "flops": limits,
        "utilisation": used,
        "memory": memory,
        "tried": [{"options": t.trial.options, "ratio": t.ratio} for t in tried],
        "no_gain": describe_failed_trials(tried),
        "advice": write_advice(numbers, tried),
    }


def _measured(ready: PreparedRun, options: ResolvedTraining, seconds: float) -> StepTiming:
    source = ready.source
    if options.batch != ready.training.batch:
        source = ready.data.source(ready.method, batch=options.batch, seed=ready.seed)
    return time_steps(
        partial(deepcopy, ready.method),
        source,
        options,
        seed=ready.seed,
        seconds=seconds,
    )


def _limits(ready: PreparedRun) -> dict[str, Any]:
    """Operations of a step, and how many a second two matrices would take."""
    options, side = ready.training, matrix_side(ready.training.device)
    with limit_threads(options.threads):
        parts = build_state(deepcopy(ready.method), options.replace(compile=False))
        found: dict[str, Any] = {
            "flops": count_step_flops(parts, ready.source, options, seed=ready.seed),
            "products": measure_matmul_rate(options.device, options.precision, side),
            "side": side,
        }
        if options.precision == "float32":
            found["products_bf16"] = measure_matmul_rate(options.device, "bf16", side)
    return found


def _numbers(
    ready: PreparedRun, base: StepTiming, memory: int, used: float, limits: Mapping[str, Any]
) -> StepProfile:
    options, kind = ready.training, type(ready.method)
    share = 1.0
    if options.device.startswith("cuda"):
        share = memory / torch.cuda.get_device_properties(options.device).total_memory
    decided = ready.data.batch is not None
    names = ("device", "precision", "compile", "threads", "workers", "batch")
    return StepProfile(
        waiting=base.waiting,
        utilisation=used,
        cores=max(1, count_cpus() // options.devices),
        examples=ready.data.info.examples,
        bf16=limits.get("products_bf16", 0.0) / limits["products"],
        memory=share,
        budget=BUDGETS.get(kind.modality, "") if decided else "",
        couples=kind.couples_batch or "",
        **{name: getattr(options, name) for name in names},
    )


def _tried(ready: PreparedRun, trial: OptionTrial, seconds: float, *, quiet: bool) -> TrialOutcome:
    """What was asked for and what is tried, one right after the other."""
    turn = min(TURN, seconds / 4)
    _say(f"{format_flags(trial.options)} is tried for {turn:.3g} s", quiet=quiet)
    before = _measured(ready, ready.training, turn)
    after = _measured(ready, ready.training.replace(**trial.options), turn)
    return TrialOutcome(trial, after.rate / before.rate)


def _say(text: str, *, quiet: bool) -> None:
    if not quiet:
        print(text, file=sys.stderr, flush=True)
