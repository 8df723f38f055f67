"""How to train: every option of the loop, in one place."""

from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import AfterValidator

from selfwise.core.config_class import Config, make_config
from selfwise.core.device import PrecisionName, resolve_device, resolve_precision
from selfwise.distributed.process_group import count_local_processes
from selfwise.methods.method import Method, OptimizerName, PaperDefaults, ScheduleName
from selfwise.training.compile import check_compiler
from selfwise.training.loggers import check_installed, join_names
from selfwise.training.optimizers import scale_lr
from selfwise.training.schedules import LENGTHENABLE, compute_factor

DEFAULT_EPOCHS = 100
DECAY_FRACTION = 0.2  # of wsd


class TrainingConfig(Config):
    """Options of the training loop. What is None is the method's default, or chosen by data."""

    steps: Annotated[int, Ge(1)] | None = None
    """Number of optimiser steps. Without steps, epochs or minutes: 100 epochs."""
    epochs: Annotated[float, Gt(0)] | None = None
    """Instead of steps: passes over the data."""
    minutes: Annotated[float, Gt(0)] | None = None
    """Instead of steps: wall time. The first steps are measured on a copy, then the number of steps
    is fixed and recorded."""
    batch_size: Annotated[int, Ge(1)] | None = None
    """Examples in a step, over all micro-batches and processes."""
    grad_accum_steps: Annotated[int, Ge(1)] = 1
    """Micro-batches in which a step is computed, to save memory. The loss is still that of the
    whole batch; methods that compare examples with each other refuse it."""
    optimizer: OptimizerName | None = None
    """By default the paper's."""
    lr: Annotated[float, Ge(0)] | None = None
    """Peak learning rate; by default the paper's, scaled to the batch as in the paper."""
    weight_decay: Annotated[float, Ge(0)] | None = None
    """On matrices only."""
    warmup: Annotated[float, Ge(0)] | None = None
    """Share of the steps in which the rate rises, or a number of steps if 1 or more."""
    schedule: ScheduleName | None = None
    """Of the learning rate after the warm-up. wsd (warm-up, stable, decay) keeps the rate constant
    until the last steps; a run of wsd or constant can be lengthened by resume --steps."""
    decay_fraction: Annotated[float, Gt(0), Le(1)] | None = None
    """Of wsd: share of the steps in which the rate falls to 0, at the end; by default 0.2. MiniCPM
    (arXiv:2404.06395) and Hägele et al. (arXiv:2405.18392) take 0.1 to 0.2."""
    adam_beta2: Annotated[float, Ge(0), Lt(1)] | None = None
    """Of adamw and lamb: how long they remember squares of gradients; small batches want it near 1.
    By default the method's."""
    grad_clip: Annotated[float, Ge(0)] | None = None
    """Largest norm of the gradient; 0 for no limit. By default the paper's."""
    precision: PrecisionName = "auto"
    """bf16 or fp16 (autocast), float32, or auto: bf16 where the hardware multiplies it."""
    compile: bool = False
    """Compile the encoder with torch.compile, each block of a transformer. The first step then
    takes a minute."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps (Apple, not tested), or auto."""
    devices: Annotated[int, Ge(1)] = 1
    """Processes on this machine that train together, each on a GPU of its own or on its share of
    the cores. torchrun and SLURM set the number themselves."""
    cpu_threads: Annotated[int, Ge(0)] = 0
    """CPU threads of each process; 0 for as many as torch takes, or its share of them."""
    num_workers: Annotated[int, Ge(0)] | None = None
    """Processes that read the data, of each process; by default 0 where the data are in memory."""
    log_every: Annotated[int, Ge(1)] = 20
    """Steps between two lines of metrics.jsonl."""
    save_every: Annotated[int, Ge(1)] = 200
    """Steps between two checkpoints."""
    keep_last: Annotated[int, Ge(1)] = 2
    """Number of checkpoints kept, the last ones."""
    keep_best: str = ""
    """A logged value, such as knn_top1, whose best checkpoint is kept too. With a minus in front,
    such as -nt_xent, smaller is better."""
    knn_every: Annotated[int, Ge(0)] = 0
    """Steps between two online kNN probes, where the data have labels; 0 for none."""
    monitor_every: Annotated[int, Ge(0)] = 200
    """Steps between two looks at the representation of images (alignment, uniformity, effective
    rank), with a warning when it collapses, or at the held-out loss of text and speech; 0 for
    none."""
    logger: Annotated[str | list[str], AfterValidator(join_names)] = ""
    """Services that get the logged values, the options and pictures of the first batch:
    tensorboard, wandb, mlflow, trackio, or several with commas between. Each needs its extra."""
    logger_project: Annotated[str, MinLen(1)] = "selfwise"
    """Project (of MLflow: experiment) of the services. The run has the name of its folder there."""


class ResolvedTraining(TrainingConfig):
    """The options with nothing left open. `steps` is 0 until an epoch or a minute is measured."""

    steps: Annotated[int, Ge(0)]
    batch_size: Annotated[int, Ge(1)]
    optimizer: OptimizerName
    lr: Annotated[float, Ge(0)]
    weight_decay: Annotated[float, Ge(0)]
    warmup: Annotated[float, Ge(0)]
    schedule: ScheduleName
    grad_clip: Annotated[float, Ge(0)]
    num_workers: Annotated[int, Ge(0)]

    @property
    def warmup_steps(self) -> int:
        """Steps in which the rate rises."""
        return round(self.warmup * self.steps) if self.warmup < 1 else round(self.warmup)

    @property
    def decay_start(self) -> int:
        """Steps that are done when the rate of wsd begins to fall; otherwise those of the run."""
        if self.schedule != "wsd":
            return self.steps
        share = DECAY_FRACTION if self.decay_fraction is None else self.decay_fraction
        return self.steps - max(1, round(share * self.steps))

    def lr_at(self, step: int) -> float:
        """The learning rate of the step with this number, from 0."""
        decay = self.steps - self.decay_start
        return self.lr * compute_factor(
            self.schedule, step, steps=self.steps, warmup=self.warmup_steps, decay=decay
        )

    def fix_warmup(self) -> "ResolvedTraining":
        """With a schedule that can be lengthened: the warm-up as a number of steps, which stays.

        Raises ValueError if warm-up and decay take more steps than there are.
        """
        if self.schedule not in LENGTHENABLE:
            return self
        if self.schedule == "wsd" and self.warmup_steps > self.decay_start:
            raise ValueError(
                f"--warmup {self.warmup:g} and --decay-fraction {self.decay_fraction} take more "
                f"than the {self.steps} steps of the run: lower one of them"
            )
        return self.replace(warmup=float(self.warmup_steps))


def resolve_training(
    options: TrainingConfig,
    method: type[Method],
    *,
    num_workers: int,
    batch_size: int | None = None,
) -> ResolvedTraining:
    """Fill in what was left open, from the method's paper and from the machine.

    `num_workers` is the number that suits the data. `batch_size` is how many examples are in a step
    on average where the data decide, as seconds of sound do; micro-batches may then differ in size.
    Without a number of steps, `steps` stays 0 until an epoch or a minute is measured.

    Raises ValueError for values that do not go together, naming the option.
    """
    check_training(options, method)
    from_data = batch_size is not None
    options = options.model_copy(update={"batch_size": batch_size or options.batch_size})
    device = resolve_device(options.device)
    processes = count_local_processes(options.devices) if options.devices > 1 else 1
    values = options.model_dump() | _fill_from_paper(options, method.paper)
    values |= {
        "device": device,
        "precision": resolve_precision(options.precision, device),
        "cpu_threads": options.cpu_threads or max(1, torch.get_num_threads() // processes),
        "num_workers": -(-num_workers // processes)
        if options.num_workers is None
        else options.num_workers,
        "steps": options.steps or 0,
    }
    if values["schedule"] == "wsd" and options.decay_fraction is None:
        values["decay_fraction"] = DECAY_FRACTION
    if not any((options.steps, options.epochs, options.minutes)):
        values["epochs"] = DEFAULT_EPOCHS
    resolved = make_config(ResolvedTraining, values)
    check_training(resolved, method)
    _check_batch(resolved, from_data=from_data)
    return resolved


def name_sources(config: TrainingConfig, resolved: ResolvedTraining) -> dict[str, str]:
    """Where the value of each option is from: user, paper, data, budget, machine, or default."""
    set_by_user = {
        name for name, value in config if name in config.model_fields_set and value is not None
    }
    sources = dict.fromkeys(type(resolved).model_fields, "default")
    sources |= dict.fromkeys((*PAPER, "lr"), "paper") | dict.fromkeys(MACHINE, "machine")
    sources |= {"num_workers": "data", "steps": "budget"}
    if resolved.batch_size != (config.batch_size or resolved.batch_size):
        sources["batch_size"] = "data"
    return sources | dict.fromkeys(set_by_user, "user")


def _check_batch(resolved: ResolvedTraining, *, from_data: bool) -> None:
    """Raises ValueError unless micro-batches and processes share a step evenly."""
    if from_data and resolved.batch_size < resolved.devices:
        raise ValueError(
            f"--devices {resolved.devices} is more than the {resolved.batch_size} examples that a "
            "step has on average: let a step have more of them, or take fewer processes"
        )
    if from_data:
        return
    if resolved.batch_size % resolved.grad_accum_steps:
        raise ValueError(
            f"--grad-accum-steps {resolved.grad_accum_steps} does not divide --batch-size "
            f"{resolved.batch_size}"
        )
    _check_divides(resolved)


def _check_divides(options: TrainingConfig) -> None:
    """Raises ValueError unless every process gets as many examples as the others."""
    pieces = options.devices * options.grad_accum_steps
    if options.devices == 1 or options.batch_size is None or options.batch_size % pieces == 0:
        return
    near = max(1, round(options.batch_size / pieces)) * pieces
    times = (
        f" times --grad-accum-steps {options.grad_accum_steps}"
        if options.grad_accum_steps > 1
        else ""
    )
    raise ValueError(
        f"--devices {options.devices}{times} does not divide --batch-size {options.batch_size}: "
        f"each process computes as many examples as the others; {near} would be right"
    )


PAPER = ("batch_size", "optimizer", "weight_decay", "warmup", "schedule", "grad_clip")
MACHINE = ("device", "precision", "cpu_threads")


def _fill_from_paper(options: TrainingConfig, paper: PaperDefaults) -> dict[str, object]:
    chosen = {name: getattr(paper, name) for name in PAPER if getattr(options, name) is None}
    if options.lr is None:
        # the paper's rate belongs to the paper's optimiser; another one needs its own
        if options.optimizer not in (None, paper.optimizer):
            raise ValueError(
                f"--lr is needed with --optimizer {options.optimizer}: "
                f"the default rate is that of {paper.optimizer}"
            )
        chosen["lr"] = scale_lr(paper, options.batch_size or paper.batch_size)
    return chosen


def check_training(options: TrainingConfig, method: type[Method]) -> None:
    """Raises ValueError for options that do not go together."""
    lengths = [f"--{n}" for n in ("steps", "epochs", "minutes") if getattr(options, n)]
    if len(lengths) > 1:
        raise ValueError(f"{' and '.join(lengths)} exclude each other: give exactly one")
    if not isinstance(options, ResolvedTraining):
        _check_divides(options)  # again when the batch is known, but then data are open
    if options.devices > 1 and ":" in options.device:
        raise ValueError(
            f"--device {options.device} is one device, and --devices {options.devices} wants "
            f"several: give --device {options.device.partition(':')[0]}"
        )
    optimizer = options.optimizer or method.paper.optimizer
    if options.adam_beta2 is not None and optimizer not in ("adamw", "lamb"):
        raise ValueError(
            f"--adam-beta2 is of adamw and lamb, and this run has --optimizer {optimizer}"
        )
    _check_decay(options, options.schedule or method.paper.schedule)
    if options.compile:
        check_compiler()
    check_installed(options.logger)  # before a folder is made
    _check_coupling(options, method.couples_batch)


def _check_decay(options: TrainingConfig, schedule: str) -> None:
    """Raises ValueError for a decay that the schedule does not have."""
    if options.decay_fraction is not None and schedule != "wsd":
        raise ValueError(
            f"--decay-fraction is of --schedule wsd, and this run has --schedule {schedule}"
        )


def _check_coupling(options: TrainingConfig, why: str) -> None:
    """Raises ValueError for batches that a method cannot take that compares their examples."""
    if why and options.batch_size is not None and options.batch_size < 2:
        raise ValueError(
            f"--batch-size {options.batch_size} is not possible: {why}, so the loss would be a "
            "constant; give a --batch-size of 2 or more"
        )
    if why and options.grad_accum_steps > 1:
        raise ValueError(
            f"--grad-accum-steps {options.grad_accum_steps} is not possible: {why}, so "
            "micro-batches would be another loss; use a smaller --batch-size instead"
        )
