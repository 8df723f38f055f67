"""Six objectives on CIFAR-10 at equal wall time: what is each worth on two cores?"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool
from rich.console import Console
from rich.table import Table

from selfwise.core.errors import did_you_mean
from selfwise.core.rng import shuffled
from selfwise.core.types import Batch, Labelled
from selfwise.data.image import Images, open_images
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

# as in simclr_cifar10_cpu: one block a stage, three quarters of the width, half the side
ENCODER = "resnet18"
ENCODER_OPTIONS = {"stem": "half", "layers": [1, 1, 1, 1], "channels": [48, 96, 192, 384]}
LARS = {"optimizer": "lars", "lr": 4.0, "weight_decay": 1e-6}
# chosen on 5,000 held-out training images; docs/log.md has all that were tried
SETTINGS: dict[str, dict[str, Any]] = {
    "rotation": {"batch": 128, **LARS},
    "jigsaw": {"batch": 256, **LARS, "grid": 2},
    "colorization": {"batch": 128, **LARS, "crop": 0.47},
    "triplet": {"batch": 256, **LARS, "crop": 0.2, "margin": 1.0},
    "simclr": {"batch": 256, **LARS, "crop": 0.2, "temperature": 0.2},
    "supervised": {"batch": 256, "lr": 0.4},
}
VIEWS = {"rotation": 4, "triplet": 2, "simclr": 2}  # of each image that pass the encoder; else 1
LABELS, DRAWS = 1_000, 3  # of each class for the small probe, and how often they are drawn
HELD_OUT, SEED = 5_000, 0  # training images that settings are chosen on
SHOWN, AT_ONCE = 2_048, 256  # test images that the task itself is measured on


class Measured(NamedTuple):
    """What one encoder, or the pixels, are worth on the test images; shares of 0 to 1."""

    few: list[float]  # linear probe with 1,000 labels a class, of each draw
    right: Bool[np.ndarray, "m"]  # linear probe with all labels: each test image right or not
    knn: float
    recall: float  # recall@1 among the test images
    map_at_r: float


def pretexts_cifar10(
    *,
    data: str,
    methods: str = ",".join(SETTINGS),
    out: str = "runs/pretexts_cifar10",
    minutes: float = 10,
    steps: int = 0,
    seed: int = 0,
    encoder: str = "",
    held_out: bool = False,
    threads: int = 0,
) -> dict[str, list[Measured]]:
    """Rotation, jigsaw, colorization, triplet, SimCLR and supervised, ten minutes each.

    `selfwise run pretexts_cifar10 --data CIFAR-10-images`, about 75 minutes on 2 quiet cores. The
    same encoder for all, its untrained twins and raw pixels beside. Expected of a linear probe with
    all labels: SimCLR 65 %, triplet 63 %, rotation 57 %, colorization 52 %, jigsaw 48 %; untrained
    36 %, seeing lightness 32 %, raw pixels 41 %, supervised 81 % (docs/results.md).

    Args:
        data: folder with train/CLASS/ and test/CLASS/.
        methods: which ones, with commas between.
        out: folder of the runs; unfinished ones there are gone on with.
        minutes: of training, for each.
        steps: instead of minutes, where above 0.
        seed: every random draw is a function of it.
        encoder: another image model, such as resnet18 on a GPU.
        held_out: train on 45,000 of the training images and measure on the other 5,000, as the
            settings were chosen.
        threads: of the CPU; 0 for all.
    """
    wanted = methods.split(",")
    for name in wanted:
        if name not in SETTINGS:
            raise ValueError(f"--methods has {name!r}{did_you_mean(name, SETTINGS)}")
    home, images = Path(out), Path(data)
    source: Any = images / "train"
    known, asked = (open_images(images / part, labelled=True) for part in ("train", "test"))
    if held_out:
        known, asked = _parted(known)
        source = known.read(np.arange(len(known))).x.numpy(), known.labels
    told: dict[str, Any] = {"data": source, "encoder": encoder or ENCODER, "seed": seed}
    told |= {"steps": steps} if steps else {"minutes": minutes}
    told |= {"workers": 0, "threads": threads, "health_every": 500}
    found: dict[str, list[Measured]] = {}
    runs = {}
    for name in wanted:
        runs[name] = pretrain_or_resume(name, out=home / f"{name}-{seed}", **told, **SETTINGS[name])
    for name, run in runs.items():
        embed = partial(extract_features, size=run.size, precision=run.record.option("precision"))
        if (baseline := _baseline(name)) not in found:
            twins = extract_untrained(run.build_untrained, known, asked, size=run.size, embed=embed)
            found[baseline] = [measured(twin, known, asked) for twin in twins]
        both = FeatureSplit(*(embed(run.encoder, part) for part in (known, asked)))
        found[name] = [measured(both, known, asked)]
    raw = FeatureSplit(*(extract_pixels(part, size=known.side) for part in (known, asked)))
    found["pixels"] = [measured(raw, known, asked)]
    Console(width=160).print(table(found, runs, asked))
    return found


def measured(features: FeatureSplit, known: Images, asked: Images) -> Measured:
    """Two linear probes, neighbours and retrieval, on one kind of features."""
    train, labels, test, truth = features.train, known.labels, features.test, asked.labels
    assert labels is not None
    assert truth is not None
    few = []
    for draw in range(DRAWS):
        rows = draw_labels(labels, min(LABELS, int(np.bincount(labels).min())), draw)
        guess = fit_linear(train[rows], labels[rows], test, seed=draw).predicted
        few.append(float(np.mean(guess == truth)))
    right = fit_linear(train, labels, test).predicted == truth
    near = float(np.mean(predict_knn(train, labels, test) == truth))
    found = measure_retrieval(test, truth, ks=(1,))
    return Measured(few, right, near, found.mean("recall@1"), found.mean(MAP))


def table(found: Mapping[str, Sequence[Measured]], runs: Mapping[str, Run], asked: Images) -> Table:
    """A row for each: what it saw, how well it does its own task, and what its features are worth.

    In brackets the deviation over draws of labels; of untrained encoders, over initialisations.
    """
    made = Table("method", "images", "views", "its own task", f"{LABELS:,} labels a class", "all")
    for name in ("above untrained by", "kNN", "recall@1", "MAP@R"):
        made.add_column(name)
    for name, each in found.items():
        told = ["", "", ""]
        gain = ""
        if name in runs:
            seen = runs[name].step * runs[name].record.training.batch
            told = [f"{seen:,}", f"{seen * VIEWS.get(name, 1):,}", _own_task(runs[name], asked)]
            twins = np.mean([twin.right for twin in found[_baseline(name)]], axis=0)
            low, high = paired_bootstrap(each[0].right, twins, seed=0)
            gain = f"{100 * low:+.1f} to {100 * high:+.1f}"
        few = [share for one in each for share in one.few]
        made.add_row(
            name,
            *told,
            _percent(few),
            _percent([float(one.right.mean()) for one in each]),
            gain,
            *(_percent([getattr(one, of) for one in each]) for of in ("knn", "recall", "map_at_r")),
        )
    return made


def _baseline(method: str) -> str:
    """The untrained encoder that sees what the method's encoder sees."""
    return "untrained, lightness" if method == "colorization" else "untrained"


def _percent(shares: Sequence[float]) -> str:
    spread = f" ({100 * np.std(shares, ddof=1):.1f})" if len(shares) > 1 else ""
    return f"{100 * np.mean(shares):.1f}{spread}"


def _own_task(run: Run, asked: Images) -> str:
    """Terms and metrics of the task on test images, with views as in training."""
    assert asked.labels is not None
    labels = torch.from_numpy(asked.labels)
    drawn = shuffled(len(asked), SEED, "own task")[:SHOWN]
    rows = np.array_split(drawn, max(1, len(drawn) // AT_ONCE))

    def read(number: int) -> Batch:
        batch = asked.read(rows[number])
        return Labelled(batch, labels[batch.index]) if run.method.labelled else batch

    found = HeldOutLoss((read, len(rows)), seed=SEED, every=1).measure(run.method)
    return ", ".join(f"{name} {value:.3f}" for name, value in found.items())


def _parted(images: Images) -> tuple[Images, Images]:
    order = shuffled(len(images), SEED, "held out")
    return images.take(np.sort(order[HELD_OUT:])), images.take(np.sort(order[:HELD_OUT]))
