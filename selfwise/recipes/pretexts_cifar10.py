"""Six objectives on CIFAR-10 with equal wall time on two cores, and the value of each."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Integer
from rich.table import Table

from selfwise.core.errors import did_you_mean
from selfwise.core.rng import shuffle_indices
from selfwise.core.types import Batch, Labelled
from selfwise.core.visible_text import print_visible
from selfwise.data.image import Images, open_images
from selfwise.evaluation.features.compute import ComputeOptions
from selfwise.evaluation.features.image import extract_features, extract_pixels
from selfwise.evaluation.monitors.held_out_loss import HeldOutLoss
from selfwise.evaluation.probes.baselines import FeatureSplit, extract_untrained
from selfwise.evaluation.probes.knn import predict_knn
from selfwise.evaluation.probes.label_curve import draw_labels
from selfwise.evaluation.probes.linear import fit_linear
from selfwise.evaluation.probes.retrieval import MAP, measure_retrieval
from selfwise.evaluation.scores.bootstrap import paired_bootstrap
from selfwise.runs.open import Run
from selfwise.runs.resume import pretrain_or_resume

# as in simclr_cifar10_cpu: one block per stage, three quarters of the width, half the side
ENCODER = "resnet18"
ENCODER_OPTIONS = {"stem": "half", "layers": [1, 1, 1, 1], "channels": [48, 96, 192, 384]}
pretrain_alike = partial(pretrain_or_resume, defaults="paper")
pretrain_lars = partial(pretrain_alike, optimizer="lars", lr=4.0, weight_decay=1e-6)
# chosen on 5,000 held-out training images; docs/log.md lists all settings that were tried
METHODS: Mapping[str, Callable[..., Run]] = {
    "rotation": partial(pretrain_lars, "rotation", batch_size=128),
    "jigsaw": partial(pretrain_lars, "jigsaw", batch_size=256, grid=2),
    "colorization": partial(pretrain_lars, "colorization", batch_size=128, min_crop_scale=0.47),
    "triplet": partial(pretrain_lars, "triplet", batch_size=256, min_crop_scale=0.2, margin=1.0),
    "simclr": partial(pretrain_lars, "simclr", batch_size=256, min_crop_scale=0.2, temperature=0.2),
    "supervised": partial(pretrain_alike, "supervised", batch_size=256, lr=0.4),
}
VIEWS = {"rotation": 4, "triplet": 2, "simclr": 2}  # per image and encoder pass; otherwise 1
# labels per class for the small probe, and how often they are drawn
LABELS_PER_CLASS, DRAWS = 1_000, 3
HELD_OUT, SEED = 5_000, 0  # training images on which settings are chosen
TASK_EXAMPLES, BATCH_SIZE = 2_048, 256  # test images on which the task itself is measured


class EncoderScores(NamedTuple):
    """Scores of one encoder, or of the pixels, on the test images; fractions of 0 to 1."""

    few_labels: list[float]  # linear probe with 1,000 labels per class, of each draw
    correct: Bool[np.ndarray, "m"]  # linear probe with all labels: each test image correct or not
    knn: float
    recall: float  # recall@1 among the test images
    map_at_r: float


def pretexts_cifar10(
    *,
    data: str,
    methods: str = ",".join(METHODS),
    out: str = "runs/pretexts_cifar10",
    minutes: float = 10,
    steps: int = 0,
    seed: int = 0,
    encoder: str = "",
    held_out: bool = False,
    cpu_threads: int = 0,
) -> dict[str, list[EncoderScores]]:
    """Rotation, jigsaw, colorization, triplet, SimCLR and supervised, ten minutes each.

    `selfwise run pretexts_cifar10 --data CIFAR-10-images` takes about 75 minutes on 2 quiet cores.
    All methods use one encoder, compared with its untrained version and raw pixels. Expected of a
    linear probe with all labels: SimCLR 65 %, triplet 63 %, rotation 57 %, colorization 52 %,
    jigsaw 48 %; untrained 36 %, seeing lightness 32 %, raw pixels 41 %, supervised 81 %
    (docs/results.md).

    Args:
        data: folder with train/CLASS/ and test/CLASS/.
        methods: names of the methods, separated by commas.
        out: folder of the runs; unfinished runs there are resumed.
        minutes: minutes of training for each method.
        steps: steps instead of minutes, if above 0.
        seed: seed of every random draw.
        encoder: another image model, such as resnet18 on a GPU.
        held_out: train on 45,000 of the training images and measure on the other 5,000, as when the
            settings were chosen.
        cpu_threads: CPU threads; 0 for all.
    """
    names = methods.split(",")
    for name in names:
        if name not in METHODS:
            raise ValueError(f"--methods has {name!r}{did_you_mean(name, METHODS)}")
    home, images = Path(out), Path(data)
    source: Path | tuple[np.ndarray, np.ndarray] = images / "train"
    train, test = (open_images(images / part, labelled=True) for part in ("train", "test"))
    if held_out:
        train, test = _split_held_out(train)
        source = train.read(np.arange(len(train))).x.numpy(), _get_labels(train)
    runs = {
        name: METHODS[name](
            data=source,
            out=home / f"{name}-{seed}",
            encoder=encoder or ENCODER,
            encoder_options={} if encoder else ENCODER_OPTIONS,
            seed=seed,
            steps=steps or None,
            minutes=None if steps else minutes,
            num_workers=0,
            cpu_threads=cpu_threads,
            monitor_every=500,
        )
        for name in names
    }
    scores = _score_encoders(runs, train, test)
    print_visible(score_table(scores, runs, test), width=160)
    return scores


def _score_encoders(
    runs: Mapping[str, Run], train: Images, test: Images
) -> dict[str, list[EncoderScores]]:
    """Score the encoders of the runs, their untrained versions (several seeds each) and the
    pixels."""
    scores: dict[str, list[EncoderScores]] = {}
    for name, run in runs.items():
        compute = ComputeOptions(precision=run.record.option("precision"))
        embed = partial(extract_features, size=run.size, compute=compute)
        if (baseline := _choose_baseline(name)) not in scores:
            twins = extract_untrained(run.build_untrained, train, test, size=run.size, embed=embed)
            scores[baseline] = [score_features(twin, train, test) for twin in twins]
        features = FeatureSplit(*(embed(run.encoder, part) for part in (train, test)))
        scores[name] = [score_features(features, train, test)]
    pixels = FeatureSplit(*(extract_pixels(part, size=train.side) for part in (train, test)))
    scores["pixels"] = [score_features(pixels, train, test)]
    return scores


def score_features(features: FeatureSplit, train: Images, test: Images) -> EncoderScores:
    """Score one kind of features by two linear probes, nearest neighbors and retrieval."""
    train_x, labels, test_x, target = (
        features.train,
        _get_labels(train),
        features.test,
        _get_labels(test),
    )
    few_labels = []
    for draw in range(DRAWS):
        rows = draw_labels(labels, min(LABELS_PER_CLASS, int(np.bincount(labels).min())), draw)
        predicted = fit_linear(train_x[rows], labels[rows], test_x, seed=draw).predicted
        few_labels.append(float(np.mean(predicted == target)))
    correct = fit_linear(train_x, labels, test_x).predicted == target
    knn = float(np.mean(predict_knn(train_x, labels, test_x) == target))
    retrieval = measure_retrieval(test_x, target, ks=(1,))
    return EncoderScores(few_labels, correct, knn, retrieval.mean("recall@1"), retrieval.mean(MAP))


def score_table(
    scores: Mapping[str, Sequence[EncoderScores]], runs: Mapping[str, Run], test: Images
) -> Table:
    """Return a row for each: what it saw, its score on its own task, and the scores of its
    features.

    In brackets the deviation over draws of labels; for untrained encoders, over initializations.
    """
    table = Table(
        "method", "images", "views", "its own task", f"{LABELS_PER_CLASS:,} labels a class", "all"
    )
    for name in ("above untrained by", "kNN", "recall@1", "MAP@R"):
        table.add_column(name)
    for name, seeds in scores.items():
        training, gain = ["", "", ""], ""
        if name in runs:
            num_images = runs[name].step * runs[name].record.training.batch_size
            num_views = num_images * VIEWS.get(name, 1)
            training = [f"{num_images:,}", f"{num_views:,}", _score_own_task(runs[name], test)]
            twins = np.mean([twin.correct for twin in scores[_choose_baseline(name)]], axis=0)
            low, high = paired_bootstrap(seeds[0].correct, twins, seed=0)
            gain = f"{100 * low:+.1f} to {100 * high:+.1f}"
        table.add_row(
            name,
            *training,
            _format_percent([share for one in seeds for share in one.few_labels]),
            _format_percent([float(one.correct.mean()) for one in seeds]),
            gain,
            _format_percent([one.knn for one in seeds]),
            _format_percent([one.recall for one in seeds]),
            _format_percent([one.map_at_r for one in seeds]),
        )
    return table


def _choose_baseline(method: str) -> str:
    """Return the untrained encoder whose input matches that of the method's encoder."""
    return "untrained, lightness" if method == "colorization" else "untrained"


def _format_percent(shares: Sequence[float]) -> str:
    spread = f" ({100 * np.std(shares, ddof=1):.1f})" if len(shares) > 1 else ""
    return f"{100 * np.mean(shares):.1f}{spread}"


def _score_own_task(run: Run, test: Images) -> str:
    """Return terms and metrics of the task on test images, with views as in training."""
    labels = torch.from_numpy(_get_labels(test))
    order = shuffle_indices(len(test), SEED, "own task")[:TASK_EXAMPLES]
    rows = np.array_split(order, max(1, len(order) // BATCH_SIZE))

    def read_batch(number: int) -> Batch:
        batch = test.read(rows[number])
        return Labelled(batch, labels[batch.index]) if run.method.labelled else batch

    means = HeldOutLoss((read_batch, len(rows)), seed=SEED, every=1).measure(run.method)
    return ", ".join(f"{name} {mean:.3f}" for name, mean in means.items())


def _split_held_out(images: Images) -> tuple[Images, Images]:
    """Return all but `HELD_OUT` images, and the `HELD_OUT` images."""
    order = shuffle_indices(len(images), SEED, "held out")
    return images.take(np.sort(order[HELD_OUT:])), images.take(np.sort(order[:HELD_OUT]))


def _get_labels(images: Images) -> Integer[np.ndarray, "n"]:
    assert images.labels is not None
    return images.labels
