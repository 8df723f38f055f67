"""Rules on what to do next, by the training of a run: its length, log and pretext task."""

from shlex import quote

from selfwise.core.plugins import FROM_PYTHON
from selfwise.evaluation.monitors.representation import COLLAPSED_RANK, COLLAPSED_UNIFORMITY
from selfwise.runs.forecast.advice import FEW_IMAGES, MIN_PUBLISHED_SIZE, PUBLISHED
from selfwise.training.schedules import LENGTHENABLE
from selfwise.workflows.next_steps.situation import (
    NextStep,
    Situation,
    format_pretrain_command,
)

FEW_PASSES = 100  # over images and recordings; papers train for hundreds of epochs
SMALL_BATCH = 256  # of methods that compare the examples of a batch
EASY = 0.99  # accuracy of a pretext task that no longer teaches anything
FAILING = 1.5  # times chance: a pretext accuracy below it has not begun to rise
MIN_RISE = 1.02  # times its lowest value: a loss above it has risen
BEST_METHODS = ("simclr", "beit")  # for photos, in every comparison
HELD_OUT = "val/"
HARDER = {  # what makes the task of a method harder
    "simclr": "smaller crops (--min-crop-scale 0.05) or a stronger jitter (--jitter-strength 1)",
    "jigsaw": "more permutations or a wider gap between tiles",
}
EASIER = {  # what makes it easier
    "simclr": "larger crops (--min-crop-scale 0.3) or a weaker jitter (--jitter-strength 0.25)",
    "jigsaw": "fewer permutations",
}


def resume_unfinished(run: Situation) -> NextStep | None:
    """Resume a run that stopped before its last step."""
    if run.record.imported or run.step >= run.record.steps:
        return None
    text = f"The run stopped at step {run.step:,} of {run.record.steps:,}. Resume it:"
    return NextStep(text, f"selfwise resume {quote(str(run.folder))}")


def mend_collapse(run: Situation) -> NextStep | None:
    """Retrain if all vectors are nearly one point."""
    newest = run.log.newest
    rank, uniformity = (newest.get(name, (0, None))[1] for name in ("effective_rank", "uniformity"))
    if rank is not None and rank < COLLAPSED_RANK:
        symptom = f"its effective rank is {rank:.1f}"
    elif uniformity is not None and uniformity > COLLAPSED_UNIFORMITY:
        symptom = f"its uniformity is {uniformity:.3f}, where 0 is a single point"
    else:
        return None
    text = (
        f"The representation has collapsed: {symptom}. A lower learning rate, a larger batch or "
        "stronger views usually help:"
    )
    lower = f"{run.record.training.lr / 2:.3g}"
    return NextStep(text, format_pretrain_command(run, "lower-lr", lr=lower))


def keep_best_weights(run: Situation) -> NextStep | None:
    """Keep the best weights if the held-out loss rises again."""
    for name in run.log.names:
        steps, values = run.log.values(name)
        if not name.startswith(HELD_OUT) or name.endswith("accuracy"):
            continue
        lowest = values.index(min(values))
        if values[lowest] > 0 and values[-1] > MIN_RISE * values[lowest]:
            text = (
                f"The held-out loss ({name}) has risen since step {steps[lowest]:,}, from "
                f"{values[lowest]:.3g} to {values[-1]:.3g}: the run begins to memorize its data. "
                "More data help, and so does keeping the checkpoint with the lowest loss:"
            )
            return NextStep(text, format_pretrain_command(run, "best", keep_best=f"-{name}"))
    return None


def harden_task(run: Situation) -> NextStep | None:
    """Make a solved pretext task harder."""
    accuracy = _read_pretext_accuracy(run)
    if accuracy is None or accuracy < EASY:
        return None
    how = HARDER.get(run.record.method)
    text = (
        f"The pretext task is solved ({100 * accuracy:.0f} %), so it no longer teaches anything. "
        "Look at the examples above for a shortcut, such as a border or a watermark"
    )
    return NextStep(f"{text}; try {how}." if how else f"{text}.")


def ease_task(run: Situation) -> NextStep | None:
    """Make a pretext task at chance level easier."""
    accuracy, chance = _read_pretext_accuracy(run), _compute_chance(run)
    if accuracy is None or chance is None or accuracy >= FAILING * chance:
        return None
    how = EASIER.get(run.record.method, "weaker views or another --lr")
    text = (
        f"The pretext accuracy ({100 * accuracy:.1f} %) is near chance ({100 * chance:.1f} %): the "
        f"task is too hard, or the run too short. Try {how}."
    )
    return NextStep(text)


def enlarge_batch(run: Situation) -> NextStep | None:
    """Enlarge a small batch if the method compares the examples of a batch."""
    batch = run.record.training.batch_size
    if run.record.method != "simclr" or batch >= min(SMALL_BATCH, run.record.info.examples):
        return None
    text = (
        f"SimCLR compares the images of a batch, and learns more from large ones than from {batch}:"
    )
    return NextStep(text, format_pretrain_command(run, "larger-batch", batch_size=SMALL_BATCH))


def start_from_published(run: Situation) -> NextStep | None:
    """Start from published weights for few images of a fitting size."""
    record = run.record
    began = record.get("init_from") or record.get("encoder.pretrained") or record.imported
    if record.modality != "image" or began or not run.disappoints or record.data == FROM_PYTHON:
        return None
    info = record.info
    if info.examples >= FEW_IMAGES or info.size < MIN_PUBLISHED_SIZE or info.channels != 3:
        return None
    text = (
        f"{info.examples:,} images teach little beyond raw pixels. Start from published "
        "weights, and continue their training with your images:"
    )
    command = (
        f"selfwise pretrain {quote(record.method)} --data {quote(record.data)} "
        f"--encoder {PUBLISHED} --encoder.pretrained true --out {quote(f'{run.folder}-published')}"
    )
    return NextStep(text, command)


def train_longer(run: Situation) -> NextStep | None:
    """Train longer after few passes over images and recordings, or if a text score disappoints."""
    record = run.record
    if record.imported or not 0 < run.passes < FEW_PASSES or run.step < record.steps:
        return None
    if record.modality == "text" and not run.disappoints:
        return None
    name = next((n for n in ("minutes", "epochs", "steps") if n in record.config), "epochs")
    length = (
        record.config.get(name) or record.steps * record.training.batch_size / record.info.examples
    )
    text = (
        f"The run saw each example about {run.passes:.3g} times. Self-supervised training "
        "continues to improve for hundreds of passes; train longer before you enlarge the encoder:"
    )
    if record.get("schedule") in LENGTHENABLE:
        command = f"selfwise resume {quote(str(run.folder))} --steps {4 * record.steps}"
        return NextStep(text, command)
    options = {name: f"{4 * float(length):g}"}
    return NextStep(text, format_pretrain_command(run, "longer", **options))


def try_another_method(run: Situation) -> NextStep | None:
    """Try a better method if the score of an image method disappoints."""
    record = run.record
    if record.modality != "image" or not run.disappoints or record.method in BEST_METHODS:
        return None
    if record.data == FROM_PYTHON or record.imported:
        return None
    text = "SimCLR gave the best image features in every comparison of the methods. Try it:"
    out = quote(f"{run.folder}-simclr")
    length = f"--steps {record.steps}"
    return NextStep(
        text, f"selfwise pretrain simclr --data {quote(record.data)} {length} --out {out}"
    )


def _read_pretext_accuracy(run: Situation) -> float | None:
    """Return the last pretext accuracy of an image method; None if there is none."""
    newest = run.log.newest
    names = ("contrastive_top1", f"{run.record.method}_accuracy")
    return next((newest[name][1] for name in names if name in newest), None)


def _compute_chance(run: Situation) -> float | None:
    """Return the pretext accuracy of guessing; None if unknown."""
    record = run.record
    if record.method == "rotation":
        return 0.25
    if record.method == "jigsaw" and record.get("num_permutations"):
        return 1 / int(record.option("num_permutations"))
    if record.method == "simclr":
        return 1 / (2 * record.training.batch_size - 1)
    return None
