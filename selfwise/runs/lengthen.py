"""More steps for a run: whether the result is exact, and from which checkpoint it continues.

The rate of `constant` and `wsd` does not depend on the number of steps (wsd: until its decay
begins), so that such a run continues exactly. With any other schedule the rate jumps.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from selfwise.core.config_class import spell_option
from selfwise.core.files import publish
from selfwise.core.own_files import check_folder, make_folder, remove_own
from selfwise.core.progress import format_count
from selfwise.methods import Method
from selfwise.runs.run_yaml import RunRecord
from selfwise.training import checkpoint
from selfwise.training.config import ResolvedTraining
from selfwise.training.loggers import IDS
from selfwise.training.schedules import LENGTHENABLE

DECAYED = "decayed"  # in a run folder: checkpoints that the lengthened run does not use


@dataclass(frozen=True)
class Continuation:
    """A change of a run's number of steps."""

    step: int
    """The step from which the run continues."""
    steps_before: int
    steps: int
    exact: bool
    """Whether the result equals a run with `steps` steps from the start."""
    about: str
    """A sentence for the user."""


def plan_continuation(
    folder: Path, record: RunRecord, method: type[Method], steps: int
) -> Continuation | None:
    """Plan how a run of a method continues to `steps` steps in total; None if that is its number
    already.

    Raises ValueError if the run has done that many steps or more.
    """
    training = record.training
    if steps == training.steps:
        return None
    newest = checkpoint.find_latest(folder / "checkpoints")[0]
    done = 0 if newest is None else newest.step
    longer = training.replace(steps=steps)
    changing = next((n for n in method.progress_options if record.get(n) is not None), "")
    start = None if changing and done else _find_exact_start(folder, training, longer, done)
    if steps <= (done if start is None else start):
        raise ValueError(
            f"{folder} has done {format_count(done, 'step')}: {spell_option('steps')} {steps} is "
            "the total number, and must be higher"
        )
    longer.fix_warmup()  # rejects a run that is too short for its warm-up and decay
    if start is None:
        about = _describe_jump(training, longer, done, changing)
        return Continuation(done, training.steps, steps, exact=False, about=about)
    about = _describe_exact(training, longer, start, done)
    return Continuation(start, training.steps, steps, exact=True, about=about)


def apply_continuation(folder: Path, record: RunRecord, plan: Continuation) -> RunRecord:
    """Return the record of the longer run; move checkpoints after the step where it continues.

    The caller writes the record. A process killed in between leaves the shorter run at that step.
    """
    check_folder(folder / "checkpoints")
    for path in checkpoint.list_checkpoints(folder / "checkpoints"):
        if int(path.name.removeprefix(checkpoint.PREFIX)) > plan.step:
            make_folder(folder / DECAYED)
            remove_own(folder / DECAYED / path.name)
            publish(path, folder / DECAYED / path.name)
            (folder / IDS).unlink(missing_ok=True)  # the services have later steps already
    changed = record.with_options({"steps": plan.steps, "warmup": record.training.warmup})
    config = {n: v for n, v in changed.config.items() if n not in ("epochs", "minutes")}
    return replace(changed, config=config, continuations=[*record.continuations, dict(vars(plan))])


def _find_exact_start(
    folder: Path, training: ResolvedTraining, longer: ResolvedTraining, done: int
) -> int | None:
    """Return the last saved step whose state the longer run also has, or None."""
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
    return f"{text}: the result equals a run of {longer.steps} steps with these options"


def _describe_jump(
    training: ResolvedTraining, longer: ResolvedTraining, done: int, changing: str
) -> str:
    before, after = training.lr_at(done - 1), longer.lr_at(done)
    if changing:
        why = f"with {spell_option(changing)} the views depend on the number of steps"
    elif training.schedule in LENGTHENABLE:
        why = "the rate has begun to fall, and no checkpoint from before is left"
    else:
        why = f"--schedule {training.schedule} depends on the number of steps"
    return (
        f"{longer.steps} steps in total instead of {training.steps}: from step {done} on this "
        f"differs from a run of {longer.steps} steps from the start, because {why}; the learning "
        f"rate jumps from {before:.3g} to {after:.3g}"
    )
