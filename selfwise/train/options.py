"""How to train: every option of the loop, in one place."""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from selfwise.methods.method import Defaults, Method
from selfwise.train.optim import check_optimizer, scaled_lr
from selfwise.train.schedule import check_schedule

# the smallest value of each number; 1e-9: above 0
LEAST = {"steps": 1, "epochs": 1e-9, "minutes": 1e-9, "batch": 1, "accumulate": 1, "lr": 0}
LEAST |= {"weight_decay": 0, "warmup": 0, "clip": 0, "threads": 0, "workers": 0, "log_every": 1}
LEAST |= {"save_every": 1, "keep": 1, "probe_every": 0}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the training loop. What is None is the method's default, or chosen by data.

    Args:
        steps: number of optimiser steps.
        epochs: instead of steps: passes over the data.
        minutes: instead of steps: wall time; the first steps are measured on a copy, then the
            number of steps is fixed and recorded.
        batch: examples in a step, over all micro-batches.
        accumulate: micro-batches in which a step is computed, to save memory. The loss is still
            that of the whole batch; methods that compare examples with each other refuse it.
        optimizer: adamw, lars or sgd.
        lr: peak learning rate; by default the paper's, scaled to the batch as in the paper.
        weight_decay: on matrices only.
        warmup: share of the steps in which the rate rises, or a number of steps if 1 or more.
        schedule: of the learning rate after the warm-up: cosine, linear or constant.
        clip: largest norm of the gradient; 0 for no limit.
        precision: bf16 (autocast), float32, or auto: bf16 where the hardware multiplies it.
        device: cpu, cuda, mps, or auto.
        threads: of the CPU; 0 for as many as torch takes.
        workers: processes that read the data; by default 0 where they lie in memory.
        log_every: steps between two lines of metrics.jsonl.
        save_every: steps between two checkpoints.
        keep: number of checkpoints kept.
        probe_every: steps between two online probes, where labels are at hand; 0 for none.
    """

    steps: int | None = None
    epochs: float | None = None
    minutes: float | None = None
    batch: int | None = None
    accumulate: int = 1
    optimizer: str | None = None
    lr: float | None = None
    weight_decay: float | None = None
    warmup: float | None = None
    schedule: str | None = None
    clip: float = 0.0
    precision: str = "auto"
    device: str = "auto"
    threads: int = 0
    workers: int | None = None
    log_every: int = 20
    save_every: int = 200
    keep: int = 2
    probe_every: int = 0


def resolve(options: Options, method: type[Method], *, workers: int) -> Options:
    """Fill in what was left open, from the method's paper and from the machine.

    `workers` is the number that suits the data.

    Raises ValueError for values that cannot be, naming the option.
    """
    device = resolve_device(options.device)
    options = replace(
        options,
        **_from_paper(options, method.defaults),
        device=device,
        precision=resolve_precision(options.precision, device),
        threads=options.threads or torch.get_num_threads(),
        workers=workers if options.workers is None else options.workers,
    )
    check(options, method)
    return options


def _from_paper(options: Options, paper: Defaults) -> dict[str, Any]:
    names = ("batch", "optimizer", "weight_decay", "warmup", "schedule")
    chosen = {n: getattr(paper, n) for n in names if getattr(options, n) is None}
    if options.lr is None:
        # the paper's rate belongs to the paper's optimiser; another one needs its own
        if options.optimizer not in (None, paper.optimizer):
            raise ValueError(
                f"--lr is needed with --optimizer {options.optimizer}: "
                f"the default rate is that of {paper.optimizer}"
            )
        chosen["lr"] = scaled_lr(paper, options.batch or paper.batch)
    return chosen


def check(options: Options, method: type[Method]) -> None:
    """Raises ValueError if an option has a value that cannot be."""
    check_optimizer(options.optimizer or "")
    check_schedule(options.schedule or "")
    for name, low in LEAST.items():
        value = getattr(options, name)
        if value is not None and not value >= low:
            bound = "above 0" if 0 < low < 1 else f"at least {low}"
            raise ValueError(f"--{name.replace('_', '-')} must be {bound}, got {value}")
    given = [n for n in ("steps", "epochs", "minutes") if getattr(options, n) is not None]
    if len(given) != 1:
        raise ValueError(
            f"give exactly one of --steps, --epochs and --minutes (got {len(given)} of them)"
        )
    if options.accumulate > 1 and method.couples_batch:
        raise ValueError(
            f"--accumulate {options.accumulate} is not possible: {method.couples_batch}, "
            "so micro-batches would be another loss; use a smaller --batch instead"
        )
    if options.batch is not None and options.batch % options.accumulate:
        raise ValueError(
            f"--accumulate {options.accumulate} does not divide --batch {options.batch}"
        )


def resolve_device(name: str) -> str:
    """`auto` becomes cuda where there is one, else cpu.

    Raises ValueError for a device that torch does not see here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind = name.partition(":")[0]
    seen = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not seen.get(kind, False):
        there = ", ".join(k for k, is_there in seen.items() if is_there)
        raise ValueError(f"--device {name} is not there; this machine has: {there}")
    return name


def resolve_precision(name: str, device: str) -> str:
    """`auto` becomes bf16 where the hardware multiplies it, else float32."""
    if name not in ("auto", "bf16", "float32"):
        raise ValueError(f"--precision must be auto, bf16 or float32, not {name!r}")
    if name != "auto":
        return name
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported() else "float32"
    return "bf16" if device == "cpu" and _cpu_multiplies_bf16() else "float32"


def _cpu_multiplies_bf16() -> bool:
    """Without the instructions bf16 is emulated, and slower than float32."""
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


def names() -> list[str]:
    """Of all options, in their order."""
    return [field.name for field in fields(Options)]
