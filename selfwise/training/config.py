"""How to train: every option of the loop, in one place."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from math import inf
from typing import Any

import torch

from selfwise.distributed.process_group import count_local_processes
from selfwise.methods.method import Defaults, Method
from selfwise.training.compile import check_compiler
from selfwise.training.metrics_log import check_wandb
from selfwise.training.optimizers import check_optimizer, scaled_lr
from selfwise.training.schedules import check_schedule

# the smallest value of each number; 1e-9: above 0
LEAST = {"steps": 1, "epochs": 1e-9, "minutes": 1e-9, "batch": 1, "accumulate": 1, "lr": 0}
LEAST |= {"weight_decay": 0, "warmup": 0, "clip": 0, "threads": 0, "workers": 0, "log_every": 1}
LEAST |= {"save_every": 1, "keep": 1, "probe_every": 0, "health_every": 0, "devices": 1}
DEFAULT_EPOCHS = 100


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the training loop. What is None is the method's default, or chosen by data.

    Args:
        steps: number of optimiser steps. Without steps, epochs or minutes: 100 epochs.
        epochs: instead of steps: passes over the data.
        minutes: instead of steps: wall time; the first steps are measured on a copy, then the
            number of steps is fixed and recorded.
        batch: examples in a step, over all micro-batches and processes.
        accumulate: micro-batches in which a step is computed, to save memory. The loss is still
            that of the whole batch; methods that compare examples with each other refuse it.
        optimizer: adamw, lamb, lars or sgd.
        lr: peak learning rate; by default the paper's, scaled to the batch as in the paper.
        weight_decay: on matrices only.
        warmup: share of the steps in which the rate rises, or a number of steps if 1 or more.
        schedule: of the learning rate after the warm-up: cosine, linear or constant.
        beta2: of adamw and lamb, how long they remember squares of gradients; small batches want it
            near 1. By default the method's.
        clip: largest norm of the gradient; 0 for no limit. By default the paper's.
        precision: bf16 or fp16 (autocast), float32, or auto: bf16 where the hardware multiplies it.
        compile: compile the encoder with torch.compile, each block of a transformer; the first step
            then takes a minute.
        device: cpu, cuda, cuda:1, or auto.
        devices: processes on this machine that train together, each on a GPU of its own or on its
            share of the cores; torchrun and SLURM say themselves how many there are.
        threads: of the CPU, of each process; 0 for as many as torch takes, or its share of them.
        workers: processes that read the data, of each process; by default 0 where they lie in
            memory.
        log_every: steps between two lines of metrics.jsonl.
        save_every: steps between two checkpoints.
        keep: number of checkpoints kept, the last ones.
        best: a logged value, such as online_knn, whose best checkpoint is kept too; with a minus
            in front, such as -nt_xent, smaller is better.
        probe_every: steps between two online kNN probes, where labels are at hand; 0 for none.
        health_every: steps between two looks at the representation of images (alignment,
            uniformity, effective rank), with a warning when it collapses, or at the loss on what is
            held out of text and speech; 0 for none.
        wandb: project of Weights & Biases to log to; needs the extra.
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
    beta2: float | None = None
    clip: float | None = None
    precision: str = "auto"
    compile: bool = False
    device: str = "auto"
    devices: int = 1
    threads: int = 0
    workers: int | None = None
    log_every: int = 20
    save_every: int = 200
    keep: int = 2
    best: str = ""
    probe_every: int = 0
    health_every: int = 200
    wandb: str = ""


@dataclass(frozen=True, kw_only=True)
class Resolved(Options):
    """The options with nothing left open."""

    steps: int  # set last, when the length of an epoch or of a step is known
    batch: int
    optimizer: str
    lr: float
    weight_decay: float
    warmup: float
    schedule: str
    clip: float
    workers: int


def resolve(
    options: Options, method: type[Method], *, workers: int, batch: int | None = None
) -> Resolved:
    """Fill in what was left open, from the method's paper and from the machine.

    `workers` is the number that suits the data. `batch` is how many examples are in a step on
    average where the data decide, as seconds of sound do; micro-batches may then differ in size.
    Without a number of steps it stays 0 until an epoch or a minute is measured.

    Raises ValueError for values that cannot be, naming the option.
    """
    check(options, method)
    decided, options = batch is not None, replace(options, batch=batch or options.batch)
    told = asdict(options) | _from_paper(options, method.defaults)
    told["device"] = resolve_device(options.device)
    told["precision"] = resolve_precision(options.precision, told["device"])
    beside = count_local_processes(options.devices) if options.devices > 1 else 1
    told["threads"] = options.threads or max(1, torch.get_num_threads() // beside)
    told["workers"] = -(-workers // beside) if options.workers is None else options.workers
    told["steps"] = options.steps or 0
    if not any((options.steps, options.epochs, options.minutes)):
        told["epochs"] = DEFAULT_EPOCHS
    resolved = Resolved(**told)
    check(resolved, method)
    if resolved.batch % resolved.accumulate and not decided:
        raise ValueError(
            f"--accumulate {resolved.accumulate} does not divide --batch {resolved.batch}"
        )
    if decided and resolved.batch < resolved.devices:
        raise ValueError(
            f"--devices {resolved.devices} is more than the {resolved.batch} examples that a step "
            "has on average: let a step have more of them, or take fewer processes"
        )
    if not decided:
        _check_divides(resolved)
    return resolved


def _check_divides(options: Options) -> None:
    """Raises ValueError unless every process gets as many examples as the others."""
    pieces = options.devices * options.accumulate
    if options.devices == 1 or options.batch is None or options.batch % pieces == 0:
        return
    near = max(1, round(options.batch / pieces)) * pieces
    times = f" times --accumulate {options.accumulate}" if options.accumulate > 1 else ""
    raise ValueError(
        f"--devices {options.devices}{times} does not divide --batch {options.batch}: each process "
        f"computes as many examples as the others; {near} would be right"
    )


def _from_paper(options: Options, paper: Defaults) -> dict[str, Any]:
    names = ("batch", "optimizer", "weight_decay", "warmup", "schedule", "clip")
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
    if options.optimizer is not None:
        check_optimizer(options.optimizer)
    if options.schedule is not None:
        check_schedule(options.schedule)
    for name, low in LEAST.items():
        value = getattr(options, name)
        unset = value is None or (name == "steps" and isinstance(options, Resolved))
        if not unset and not low <= value < inf:
            bound = "above 0" if 0 < low < 1 else f"at least {low}"
            raise ValueError(f"--{name.replace('_', '-')} must be {bound}, got {value}")
    if options.beta2 is not None and not 0 <= options.beta2 < 1:
        raise ValueError(f"--beta2 must be at least 0 and below 1, got {options.beta2:g}")
    given = [f"--{n}" for n in ("steps", "epochs", "minutes") if getattr(options, n)]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} exclude each other: give exactly one")
    if not isinstance(options, Resolved):
        _check_divides(options)  # again when the batch is known, but then data are open
    if options.devices > 1 and ":" in options.device:
        raise ValueError(
            f"--device {options.device} is one device, and --devices {options.devices} wants "
            f"several: give --device {options.device.partition(':')[0]}"
        )
    optimizer = options.optimizer or method.defaults.optimizer
    if options.beta2 is not None and optimizer not in ("adamw", "lamb"):
        raise ValueError(f"--beta2 is of adamw and lamb, and this run has --optimizer {optimizer}")
    if options.compile:
        check_compiler()
    if options.wandb:
        check_wandb()  # before a folder is made
    if options.batch is not None and options.batch < 2 and method.couples_batch:
        raise ValueError(
            f"--batch {options.batch} is not possible: {method.couples_batch}, so the loss would "
            "be a constant; give a --batch of 2 or more"
        )
    if options.accumulate > 1 and method.couples_batch:
        raise ValueError(
            f"--accumulate {options.accumulate} is not possible: {method.couples_batch}, "
            "so micro-batches would be another loss; use a smaller --batch instead"
        )


def resolve_device(name: str) -> str:
    """`auto` becomes cuda where there is one, else cpu.

    Raises ValueError for a device that torch does not see here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    there = ["cpu"]
    if torch.cuda.is_available():
        there += ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if name not in there:
        raise ValueError(f"--device {name} is not there; this machine has: {', '.join(there)}")
    return name


def resolve_precision(name: str, device: str) -> str:
    """`auto` becomes bf16 where the hardware multiplies it, else float32."""
    if name not in ("auto", "bf16", "fp16", "float32"):
        raise ValueError(f"--precision must be auto, bf16, fp16 or float32, not {name!r}")
    if name == "fp16" and not device.startswith("cuda"):
        raise ValueError("--precision fp16 needs a GPU; on a CPU use bf16 or float32")
    if name != "auto":
        return name
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported() else "float32"
    return "bf16" if _cpu_multiplies_bf16() else "float32"


def _cpu_multiplies_bf16() -> bool:
    """Without the instructions bf16 is emulated, and slower than float32."""
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


def recorded(options: Mapping[str, Any]) -> Resolved:
    """The options of training in a run.yaml; those that it does not know yet have defaults."""
    return Resolved(**{name: options[name] for name in names() if name in options})


def names() -> list[str]:
    """Of all options, in their order."""
    return [field.name for field in fields(Options)]
