"""Options of the training loop."""

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

DECAY_FRACTION = 0.2  # of wsd


class TrainingConfig(Config):
    """Options of the training loop. None means the method's default, or a value chosen from the
    data."""

    steps: Annotated[int, Ge(1)] | None = None
    """Number of optimizer steps. Without steps, epochs or minutes: the method's number of epochs,
    100 for most methods."""
    epochs: Annotated[float, Gt(0)] | None = None
    """Instead of steps: passes over the data."""
    minutes: Annotated[float, Gt(0)] | None = None
    """Instead of steps: wall time. The run times its first steps on a copy, then fixes and records
    the number of steps."""
    batch_size: Annotated[int, Ge(1)] | None = None
    """Examples in a step, over all micro-batches and processes."""
    grad_accum_steps: Annotated[int, Ge(1)] = 1
    """Micro-batches per step, to save memory. The loss remains the loss of the whole batch. Methods
    that compare examples with each other reject a value above 1."""
    optimizer: OptimizerName | None = None
    """By default the paper's optimizer."""
    lr: Annotated[float, Ge(0)] | None = None
    """Peak learning rate; by default the paper's, scaled to the batch size as in the paper."""
    weight_decay: Annotated[float, Ge(0)] | None = None
    """Weight decay; applied to matrices only."""
    warmup: Annotated[float, Ge(0)] | None = None
    """Warm-up: fraction of the steps in which the rate rises; a number of steps if 1 or more."""
    schedule: ScheduleName | None = None
    """Schedule of the learning rate after the warm-up. wsd (warm-up, stable, decay) keeps the rate
    constant until the last steps. resume --steps can lengthen a run with wsd or constant."""
    decay_fraction: Annotated[float, Gt(0), Le(1)] | None = None
    """Fraction of the steps at the end in which wsd lowers the rate to 0; by default 0.2. MiniCPM
    (arXiv:2404.06395) and Hägele et al. (arXiv:2405.18392) use 0.1 to 0.2."""
    adam_beta2: Annotated[float, Ge(0), Lt(1)] | None = None
    """Decay of the average of squared gradients in adamw and lamb; small batches need it near 1. By
    default the method's value."""
    grad_clip: Annotated[float, Ge(0)] | None = None
    """Largest norm of the gradient; 0 for no limit. By default the paper's."""
    precision: PrecisionName = "auto"
    """bf16 or fp16 (autocast), float32, or auto: bf16 where the hardware supports it."""
    compile: bool = False
    """Compile the encoder with torch.compile, each block of a transformer separately. The first
    step then takes a minute."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps (Apple, not tested), or auto."""
    devices: Annotated[int, Ge(1)] = 1
    """Processes on this machine that train together, each on its own GPU or its own part of the
    cores. torchrun and SLURM set this number themselves."""
    cpu_threads: Annotated[int, Ge(0)] = 0
    """CPU threads of each process; 0 for torch's default, divided among the processes."""
    num_workers: Annotated[int, Ge(0)] | None = None
    """Data-loading processes of each process; by default 0 if the data are in memory."""
    log_every: Annotated[int, Ge(1)] = 20
    """Steps between two lines of metrics.jsonl."""
    save_every: Annotated[int, Ge(1)] = 200
    """Steps between two checkpoints."""
    keep_last: Annotated[int, Ge(1)] = 2
    """Number of most recent checkpoints to keep."""
    keep_best: str = ""
    """A logged value, such as knn_top1, whose best checkpoint the run keeps too. A leading minus,
    as in -nt_xent, means that smaller is better."""
    knn_every: Annotated[int, Ge(0)] = 0
    """Steps between two online kNN probes, if the data have labels; 0 for none."""
    monitor_every: Annotated[int, Ge(0)] = 200
    """Steps between two monitor measurements: for images the representation (alignment, uniformity,
    effective rank), with a warning when it collapses; for text and speech the held-out loss. 0 for
    none."""
    logger: Annotated[str | list[str], AfterValidator(join_names)] = ""
    """Services that receive the logged values, the options and pictures of the first batch:
    tensorboard, wandb, mlflow, trackio, or several separated by commas. Each needs its extra."""
    logger_project: Annotated[str, MinLen(1)] = "selfwise"
    """Project (in MLflow: experiment) of the services. The run is named after its folder."""


class ResolvedTraining(TrainingConfig):
    """The options with every value set. `steps` is 0 until an epoch or a minute is measured."""

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
        """The number of steps in which the rate rises."""
        return round(self.warmup * self.steps) if self.warmup < 1 else round(self.warmup)

    @property
    def decay_start(self) -> int:
        """The step at which wsd begins to lower the rate; with other schedules the last step."""
        if self.schedule != "wsd":
            return self.steps
        share = DECAY_FRACTION if self.decay_fraction is None else self.decay_fraction
        return self.steps - max(1, round(share * self.steps))

    def lr_at(self, step: int) -> float:
        """Return the learning rate of the step with this number, counted from 0."""
        decay = self.steps - self.decay_start
        return self.lr * compute_factor(
            self.schedule, step, steps=self.steps, warmup=self.warmup_steps, decay=decay
        )

    def fix_warmup(self) -> "ResolvedTraining":
        """Return the options with a fixed number of warm-up steps if the schedule can be
        lengthened.

        Raises ValueError if warm-up and decay take more steps than the run has.
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
    paper: PaperDefaults | None = None,
) -> ResolvedTraining:
    """Fill in options that the user left open, from the method's paper and from the machine.

    `num_workers` is the number that suits the data. `batch_size` is the mean number of examples in
    a step if the data decide, as seconds of audio do; micro-batches may then differ in size.
    `paper` is how the paper trains the method with the options of this run.
    Without a number of steps, `steps` stays 0 until an epoch or a minute is measured.

    Raises ValueError for incompatible values, naming the option.
    """
    check_training(options, method)
    from_data = batch_size is not None
    options = options.model_copy(update={"batch_size": batch_size or options.batch_size})
    device = resolve_device(options.device)
    processes = count_local_processes(options.devices) if options.devices > 1 else 1
    values = options.model_dump() | _fill_from_paper(options, paper or method.paper)
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
        values["epochs"] = method.paper.epochs
    resolved = make_config(ResolvedTraining, values)
    check_training(resolved, method)
    _check_batch(resolved, from_data=from_data)
    return resolved


def name_sources(config: TrainingConfig, resolved: ResolvedTraining) -> dict[str, str]:
    """Return the source of each value: user, paper, data, budget, machine, or default."""
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
    """Raise ValueError unless micro-batches and processes divide a step evenly."""
    if from_data and resolved.batch_size < resolved.devices:
        raise ValueError(
            f"--devices {resolved.devices} is more than the {resolved.batch_size} examples that a "
            "step has on average: use larger steps or fewer processes"
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
    """Raise ValueError unless every process gets an equal number of examples."""
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
        f"each process computes an equal number of examples; {near} would be right"
    )


PAPER = ("batch_size", "optimizer", "weight_decay", "warmup", "schedule", "grad_clip")
MACHINE = ("device", "precision", "cpu_threads")


def _fill_from_paper(options: TrainingConfig, paper: PaperDefaults) -> dict[str, object]:
    chosen = {name: getattr(paper, name) for name in PAPER if getattr(options, name) is None}
    if options.lr is None:
        # the paper's rate belongs to the paper's optimizer; another optimizer needs its own
        if options.optimizer not in (None, paper.optimizer):
            raise ValueError(
                f"--lr is needed with --optimizer {options.optimizer}: "
                f"the default rate is for {paper.optimizer}"
            )
        chosen["lr"] = scale_lr(paper, options.batch_size or paper.batch_size)
    return chosen


def check_training(options: TrainingConfig, method: type[Method]) -> None:
    """Raise ValueError for incompatible options."""
    lengths = [f"--{n}" for n in ("steps", "epochs", "minutes") if getattr(options, n)]
    if len(lengths) > 1:
        raise ValueError(f"{' and '.join(lengths)} exclude each other: give exactly one")
    if not isinstance(options, ResolvedTraining):
        _check_divides(options)  # and again when the batch is resolved, after opening data
    if options.devices > 1 and ":" in options.device:
        raise ValueError(
            f"--device {options.device} is a single device, but --devices {options.devices} needs "
            f"several: give --device {options.device.partition(':')[0]}"
        )
    optimizer = options.optimizer or method.paper.optimizer
    if options.adam_beta2 is not None and optimizer not in ("adamw", "lamb"):
        raise ValueError(
            f"--adam-beta2 is for adamw and lamb, and this run has --optimizer {optimizer}"
        )
    _check_sparse(options, method, optimizer)
    _check_decay(options, options.schedule or method.paper.schedule)
    if options.compile:
        check_compiler()
    check_installed(options.logger)  # before the run folder is created
    _check_coupling(options, method.couples_batch)


def _check_sparse(options: TrainingConfig, method: type[Method], optimizer: str) -> None:
    """Raise ValueError for options that sparse gradients do not go with."""
    name = method.__name__.lower()
    if (optimizer == "sparse_sgd") != method.sparse_gradients:
        right = method.paper.optimizer
        kind = "sparse" if method.sparse_gradients else "no sparse"
        raise ValueError(
            f"--optimizer {optimizer} is not possible: {name} has {kind} gradients; "
            f"--optimizer {right} would be right"
        )
    if not method.sparse_gradients:
        return
    for option in ("weight_decay", "grad_clip"):
        if value := getattr(options, option):
            flag = option.replace("_", "-")
            raise ValueError(
                f"--{flag} {value:g} is not possible: the gradients of {name} are sparse, and a "
                f"step changes only the words that it reads; leave out --{flag}"
            )
    if options.compile or options.precision == "fp16":
        flag = "--compile" if options.compile else "--precision fp16"
        raise ValueError(f"{flag} does not work with the sparse gradients of {name}: leave it out")


def _check_decay(options: TrainingConfig, schedule: str) -> None:
    """Raise ValueError for a decay fraction with a schedule that has no decay."""
    if options.decay_fraction is not None and schedule != "wsd":
        raise ValueError(
            f"--decay-fraction is for --schedule wsd, and this run has --schedule {schedule}"
        )


def _check_coupling(options: TrainingConfig, why: str) -> None:
    """Raise ValueError for batches that are unusable if the method compares their examples."""
    if why and options.batch_size is not None and options.batch_size < 2:
        raise ValueError(
            f"--batch-size {options.batch_size} is not possible: {why}, so the loss would be "
            "constant; give a --batch-size of 2 or more"
        )
    if why and options.grad_accum_steps > 1:
        raise ValueError(
            f"--grad-accum-steps {options.grad_accum_steps} is not possible: {why}, so "
            "micro-batches would change the loss; use a smaller --batch-size instead"
        )
