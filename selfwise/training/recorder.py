"""Recording a run on disk: checkpoints and logs, and restoring a run from them."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfwise.core.own_files import make_folder
from selfwise.core.progress import print_progress
from selfwise.training import checkpoint
from selfwise.training.config import ResolvedTraining
from selfwise.training.listeners import NO_LISTENERS, Listeners
from selfwise.training.loggers import Loggers, RunFacts, open_loggers
from selfwise.training.metrics_log import (
    Meter,
    MetricsLog,
    check_values_finite,
    find_last_step,
)
from selfwise.training.step import TrainState


@dataclass
class RunRecorder:
    """The place where a run is recorded, and the loop's state that changes from step to step."""

    options: ResolvedTraining
    out: Path | None  # None: write nothing
    meter: Meter = field(default_factory=Meter)
    step: int = 0  # steps done when the run was opened
    newest: dict[str, float] = field(default_factory=dict)  # the last logged values
    best: dict[str, float] = field(default_factory=dict)  # step and value of the best checkpoint
    log: MetricsLog | None = None
    loggers: Loggers | None = None
    listeners: Listeners = NO_LISTENERS
    extra_state: Mapping[str, Any] = field(
        default_factory=dict
    )  # plain JSON, added to the state of each checkpoint

    @property
    def folder(self) -> Path:
        assert self.out is not None
        return self.out / "checkpoints"

    def write_values(self, step: int, values: dict[str, float], times: dict[str, float]) -> None:
        """Write a line of the logs and send it to all listeners.

        Raises FloatingPointError if a value is NaN or infinite, ValueError if a logger or a
        callback fails.
        """
        self._check(step, values)
        self.meter.reset()
        self.newest |= values
        if self.log is not None:
            self.log.write_values(step, values)
            self.log.write_times(step, times)
        if self.loggers is not None:
            named = {f"time/{name}": value for name, value in times.items()}
            self.loggers.log_values(step, values | named)
        self.listeners.call(step, values, times, self.out)

    def save_checkpoint(self, step: int, train_state: TrainState) -> None:
        """Save a checkpoint. Raises FloatingPointError if a value is NaN or infinite."""
        if self.log is None:
            return
        self._check(step, self.meter.compute_means())
        self._check(
            step,
            {
                "a weight": float(
                    checkpoint.find_largest_value(train_state.method, train_state.optimizer)
                )
            },
        )
        self._rank(step)
        state = {"meter": self.meter.to_dict(), "offset": self.log.flush()}
        state |= {"newest": self.newest, "best": self.best, "log": self.log.checksum()}
        state |= self.extra_state
        if train_state.precision.scaler is not None:
            state["scaler"] = train_state.precision.scaler.state_dict()
        checkpoint.save_checkpoint(
            self.folder, step, train_state.method, train_state.optimizer, state
        )
        # a longer run can start here, where the rate has not begun to fall
        kept = {int(self.best["step"])} if self.best else set()
        kept |= {self.options.decay_start}
        checkpoint.remove_old_checkpoints(self.folder, self.options.keep_last, also=kept)

    def _rank(self, step: int) -> None:
        """Record the step if the chosen value is the best so far; "-loss": smaller is better."""
        name = self.options.keep_best.lstrip("-")
        if not name:
            return
        if name not in self.newest and step < self.options.steps:
            return  # logged less often than checkpoints are saved
        if name not in self.newest:
            logged = ", ".join(self.newest) or "nothing yet"
            raise ValueError(
                f"--keep-best {name}: this value is not logged; logged values: {logged}"
            )
        value = self.newest[name] * (-1 if self.options.keep_best.startswith("-") else 1)
        if not self.best or value > self.best["value"]:
            self.best = {"step": step, "value": value}

    def _check(self, step: int, values: dict[str, float]) -> None:
        try:
            check_values_finite(step, values)
        except FloatingPointError as error:
            checkpoints = checkpoint.list_checkpoints(self.folder) if self.out is not None else []
            good = f" The last good checkpoint is {checkpoints[-1]}." if checkpoints else ""
            raise FloatingPointError(f"{error}{good}") from error


@contextmanager
def open_recorder(
    train_state: TrainState,
    options: ResolvedTraining,
    out: Path | None,
    extra_state: Mapping[str, Any],
    *,
    listeners: Listeners,
    quiet: bool,
) -> Iterator[RunRecorder]:
    """Open the run in `out`, restored from its last whole checkpoint if one exists.

    With several processes, all read the checkpoint, and the first process writes.
    """
    first = train_state.env.rank == 0  # the only process that writes
    recorder = RunRecorder(options, out, extra_state=extra_state)
    recorder.listeners = listeners if first else NO_LISTENERS
    if out is None:
        yield recorder
        return
    make_folder(recorder.folder)
    newest, torn = checkpoint.find_latest(recorder.folder)
    for sentence in torn if first and not quiet else ():
        where = f"resuming from step {newest.step}" if newest else "restarting from step 0"
        print_progress(f"warning: {sentence}; {where}")
    saved: Mapping[str, Any] = newest.state if newest else {"offset": 0}
    if newest is not None:
        _restore(recorder, train_state, newest)
    with ExitStack() as stack:
        if first and recorder.step < options.steps:
            _open_logs(recorder, out, saved, stack, quiet=quiet)
        yield recorder


def _open_logs(
    recorder: RunRecorder, out: Path, saved: Mapping[str, Any], stack: ExitStack, *, quiet: bool
) -> None:
    """Open the files and the services that the run appends to; the stack closes them."""
    logged = find_last_step(out)  # before the file is truncated
    recorder.log = MetricsLog(out, step=recorder.step, offset=saved["offset"])
    stack.callback(recorder.log.close)
    recorder.log.check_unchanged(saved.get("log"))
    if not recorder.options.logger:
        return
    options, listeners = recorder.options, recorder.listeners
    run = RunFacts(
        out, options.logger_project, recorder.step, logged, listeners.options, quiet=quiet
    )
    recorder.loggers = stack.enter_context(open_loggers(run, options.logger))
    if not recorder.step:
        recorder.loggers.log_pictures(listeners.draw_pictures())


def _restore(recorder: RunRecorder, train_state: TrainState, saved: checkpoint.Checkpoint) -> None:
    checkpoint.load_weights(saved, train_state.method)
    checkpoint.load_optimizer(saved, train_state.optimizer)
    recorder.meter.restore(saved.state["meter"], train_state.device)
    recorder.step = saved.step
    recorder.newest, recorder.best = dict(saved.state["newest"]), dict(saved.state["best"])
    if train_state.precision.scaler is not None:
        train_state.precision.scaler.load_state_dict(saved.state["scaler"])
