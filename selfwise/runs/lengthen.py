"""More steps for a run: whether that is the longer run, and from which checkpoint.

`constant` and `wsd` have a rate that does not depend on the number of steps (wsd: until its decay
begins), so that a run of them continues exactly. With any other schedule the rate jumps.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from shutil import rmtree

from selfwise.core.config_class import spell_option
from selfwise.core.files import publish
from selfwise.runs.run_yaml import RunRecord
from selfwise.training import checkpoint
from selfwise.training.config import ResolvedTraining
from selfwise.training.loggers import IDS
from selfwise.training.schedules import LENGTHENABLE

DECAYED = "decayed"  # in a run folder: checkpoints that a lengthened run has left behind


@dataclass(frozen=True)
class Continuation:
    """A change of the number of steps of a run."""

    step: int
    """Steps done where the run continues."""
    steps_before: int
    steps: int
    exact: bool
    """Whether the result is that of a run with `steps` steps from the start."""
    about: str
    """A sentence for the user."""


def plan_continuation(folder: Path, record: RunRecord, steps: int) -> Continuation | None:
    """How a run continues to `steps` steps in total; None if it has as many already.

    Raises ValueError if the run has done as many steps or more.
    """
    training = record.training
    if steps == training.steps:
        return None
    newest = checkpoint.find_latest(folder / "checkpoints")[0]
    done = 0 if newest is None else newest.step
    longer = training.replace(steps=steps)
    start = _find_exact_start(folder, training, longer, done)
    if steps <= (done if start is None else start):
        raise ValueError(
            f"{folder} has done {done} steps: {spell_option('steps')} {steps} is the total number, "
            "and has to be higher"
        )
    longer.fix_warmup()  # a run that is too short for its warm-up and decay is refused
    if start is None:
        about = _describe_jump(training, longer, done)
        return Continuation(done, training.steps, steps, exact=False, about=about)
    about = _describe_exact(training, longer, start, done)
    return Continuation(start, training.steps, steps, exact=True, about=about)


def apply_continuation(folder: Path, record: RunRecord, plan: Continuation) -> RunRecord:
    """The record of the longer run; checkpoints after the step where it continues are moved.

    The caller writes the record. A process that is killed in between leaves the shorter run at
    that step.
    """
    for path in checkpoint.list_checkpoints(folder / "checkpoints"):
        if int(path.name.removeprefix(checkpoint.PREFIX)) > plan.step:
            (folder / DECAYED).mkdir(exist_ok=True)
            rmtree(folder / DECAYED / path.name, ignore_errors=True)
            publish(path, folder / DECAYED / path.name)
            (folder / IDS).unlink(missing_ok=True)  # services have later steps already
    changed = record.with_options({"steps": plan.steps, "warmup": record.training.warmup})
    config = {n: v for n, v in changed.config.items() if n not in ("epochs", "minutes")}
    return replace(changed, config=config, continuations=[*record.continuations, dict(vars(plan))])


def _find_exact_start(
    folder: Path, training: ResolvedTraining, longer: ResolvedTraining, done: int
) -> int | None:
    """The last saved step whose state is also that of the longer run, or None."""
    if not done:
        return 0
    if training.schedule not in LENGTHENABLE:
        return None
    last = min(training.decay_start, longer.decay_start)
    if done <= last:
        return done
    for path in reversed(checkpoint.list_checkpoints(folder / "checkpoints")):
        if int(path.name.removeprefix(checkpoint.PREFIX)) <= last:
            try:
                return checkpoint.verify_checkpoint(path).step
            except checkpoint.TornCheckpoint:
                continue
    return None


def _describe_exact(
    training: ResolvedTraining, longer: ResolvedTraining, start: int, done: int
) -> str:
    text = f"{longer.steps} steps in total instead of {training.steps}"
    if start < done:
        text += (
            f", from step {start}, before the rate fell (later checkpoints are moved to {DECAYED}/)"
        )
    return f"{text}: the result is that of a run of {longer.steps} steps from the start"


def _describe_jump(training: ResolvedTraining, longer: ResolvedTraining, done: int) -> str:
    before, after = training.lr_at(done - 1), longer.lr_at(done)
    why = (
        "the rate has begun to fall, and no checkpoint from before is left"
        if training.schedule in LENGTHENABLE
        else f"--schedule {training.schedule} depends on the number of steps"
    )
    return (
        f"{longer.steps} steps in total instead of {training.steps}: from step {done} on this is "
        f"another run than one of {longer.steps} steps from the start, since {why}; the learning "
        f"rate jumps from {before:.3g} to {after:.3g}"
    )
