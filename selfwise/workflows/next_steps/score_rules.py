"""Rules on what to do next, by the scores of a run."""

import re
from shlex import quote

from selfwise.encoders.word_table import WORD_TABLE
from selfwise.evaluation.scores.bootstrap import WITHIN
from selfwise.evaluation.scores.names import (
    AUTO,
    COMBINED,
    RAW,
    RETRIEVAL,
    SUPERVISED,
    UNTRAINED,
)
from selfwise.runs.score_groups import ALL, count_seeds
from selfwise.workflows.next_steps.situation import (
    NextStep,
    Situation,
    format_pretrain_command,
)
from selfwise.workflows.verdict import format_probe_command

MAX_TIMES = 10  # times the present test examples: as many as a user may still have
LABEL_DRAWS = 5
CHOOSING_KINDS = ("linear", "knn")  # kinds of probe with --layer auto and --with-raw


def measure(run: Situation) -> NextStep | None:
    """Measure weights without a score."""
    if run.verdicts[0].level != "not measured":
        return None
    text = (
        f"Measure it: with labeled examples, a probe compares the encoder with {run.raw_name} and "
        "with an untrained encoder."
    )
    return NextStep(text, run.verdicts[0].command or format_probe_command(run.folder))


def add_test_examples(run: Situation) -> NextStep | None:
    """Add test examples where they would confirm a positive difference to a baseline."""
    score = run.main_score
    rows = (
        []
        if score is None
        else [score.rows.get((score.places[-1], n), {}) for n in (RAW, UNTRAINED)]
    )
    rows = [row for row in rows if row.get("verdict") == WITHIN and row["difference"] > 0]
    if score is None or not rows:
        return None
    row = rows[0]
    half = (row["high"] - row["low"]) / 2
    needed = 1.1 * score["n_test"] * (half / row["difference"]) ** 2
    if not 1 < needed / score["n_test"] <= MAX_TIMES:
        return None
    text = (
        f"The test set is too small to tell: {score['n_test']:,} examples leave "
        f"{100 * row['difference']:+.1f} points within the noise. About {_round_up(needed):,} "
        "would show a difference of that size:"
    )
    command = format_probe_command(run.folder, score)
    return NextStep(text, re.sub(" --test .*", " --test LARGER_PATH", command))


def draw_labels_again(run: Situation) -> NextStep | None:
    """Draw a few labels again that were drawn once."""
    score = run.main_score
    if score is None or score["kind"] == RETRIEVAL:
        return None
    drawn = [row for (place, _), row in score.rows.items() if place != ALL]
    if not drawn or max(map(count_seeds, drawn)) > 1:
        return None
    budgets = ",".join(str(place) for place in score.places)
    text = "The labels were drawn once, and another draw may give another score. Draw them again:"
    options = f"--labels-per-class {budgets} --seeds {LABEL_DRAWS}"
    return NextStep(text, format_probe_command(run.folder, score, options))


def probe_another_layer(run: Situation) -> NextStep | None:
    """Probe earlier layers if the score of the last one disappoints."""
    score = run.main_score
    layers = {group["layer"] for group in run.scores}
    poolings = {group["pooling"] for group in run.scores}
    if score is None or not run.disappoints or layers != {None} or "layers" in poolings:
        return None
    if score["kind"] in ("finetune", "weighted"):
        return None
    text = "The last layer adapts to the pretext task; an earlier layer may be the better encoder."
    options = "--pooling layers" if run.record.modality == "text" else "--layer -2"
    if score["kind"] in CHOOSING_KINDS:
        options = "--layer auto"
        text += " This lets the training labels choose, for the baselines too:"
    return NextStep(text, format_probe_command(run.folder, score, options))


def combine_with_raw(run: Situation) -> NextStep | None:
    """Probe encoder and raw input together if the encoder is not better than the raw input."""
    score = run.main_score
    if score is None or score["kind"] not in CHOOSING_KINDS:
        return None
    rows = [row for place in score.places if (row := score.rows.get((place, RAW)))]
    is_beaten = all(row.get("low", 0.0) > 0 for row in rows)
    if is_beaten or any(COMBINED in group.competitors for group in run.scores):
        return None
    text = (
        f"The encoder is not better than {run.raw_name}, but it may know something else. This "
        "measures both together, and the verdict then names which to use:"
    )
    options = "--layer auto --with-raw" if score["layer"] == AUTO else "--with-raw"
    return NextStep(text, format_probe_command(run.folder, score, options))


def export_encoder(run: Situation) -> NextStep | None:
    """Export an encoder with a score above both baselines."""
    if run.verdicts[0].level != "better":
        return None
    form = "safetensors" if run.record.modality == "image" else "hf"
    form = "word2vec" if run.record.encoder_name == WORD_TABLE else form
    folder = quote(str(run.folder))
    text = (
        f"Use it: `selfwise embed {folder}` writes vectors of your files, and this command writes "
        "the encoder:"
    )
    out = quote(f"{run.folder}-export")
    return NextStep(text, f"selfwise export {folder} --to {form} --out {out}")


def add_supervised_baseline(run: Situation) -> NextStep | None:
    """Compare a good score of images with training on the labels alone."""
    score = run.main_score
    if score is None or run.record.modality != "image" or run.verdicts[0].level != "better":
        return None
    if score["kind"] == RETRIEVAL or any(SUPERVISED in g.competitors for g in run.scores):
        return None
    text = "Compare with the supervised baseline, the same encoder trained on the labels alone:"
    return NextStep(text, format_probe_command(run.folder, score, "--supervised-baseline"))


def repeat_with_seed(run: Situation) -> NextStep | None:
    """Repeat a single training run with a good score."""
    if run.verdicts[0].level not in ("better", "mixed") or run.record.imported:
        return None
    text = (
        "This is one training run. Train it again with another seed to see how much of the score "
        "is luck:"
    )
    return NextStep(text, format_pretrain_command(run, "again", seed=run.record.seed + 1))


def _round_up(number: float) -> int:
    """Round a number up to two digits."""
    digits = 10 ** max(0, len(str(int(number))) - 2)
    return int(-(-number // digits)) * digits
