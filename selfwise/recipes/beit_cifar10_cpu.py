"""BEiT on CIFAR-10 without a GPU, with two kinds of image targets."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Integer
from rich.table import Table

from selfwise.core.rng import shuffle_indices
from selfwise.core.visible_text import print_visible
from selfwise.data.image import Images, open_images
from selfwise.evaluation.features.image import extract_layers, extract_pixels
from selfwise.evaluation.probes.leave_one_group_out import CandidateChoice, choose_candidate
from selfwise.evaluation.scores.bootstrap import paired_bootstrap
from selfwise.runs.open import Run
from selfwise.runs.resume import pretrain_or_resume

UNTRAINED = (0, 1, 2)  # seeds of the untrained encoders
NUM_LABELS = 10_000  # training images with labels, for the probes
pretrain_codec = partial(
    pretrain_or_resume, encoder="codec-tiny", defaults="paper", num_workers=0, log_every=250
)
# each decides its own number of codes
TOKENIZERS: Mapping[str, Callable[..., Run]] = {
    "fsq": partial(pretrain_codec, "fsq", levels="8,8,8"),
    "dvae": partial(pretrain_codec, "dvae", codebook_size=512),
}
# a small encoder sees more images in equal time; no drop path and a milder crop, for short runs
pretrain_beit = partial(
    pretrain_or_resume,
    "beit",
    encoder="beit-mini",
    defaults="paper",
    encoder_options={"depth": 6, "dim": 128, "heads": 4},
    min_crop_scale=0.3,
    batch_size=128,
    lr=1.5e-3,
    weight_decay=0.05,
    num_workers=0,
    monitor_every=1_000,
    save_every=500,
    log_every=200,
)


def beit_cifar10_cpu(
    *,
    data: str,
    targets: Literal["patches", "fsq", "dvae"] = "patches",
    out: str = "",
    steps: int = 2_400,
    tokenizer_steps: int = 1_500,
    cpu_threads: int = 0,
    seed: int = 0,
) -> dict[str, float]:
    """48 % on CIFAR-10 with a linear probe of a small BEiT; the untrained encoder has 31 %.

    `selfwise run beit_cifar10_cpu --data CIFAR-10-images --targets fsq` trains an image tokenizer
    and then predicts its codes; it took 26 minutes on one thread (docs/results.md). Without
    `--targets`, the method predicts clusters of patches.

    Args:
        data: folder with train/CLASS/ and test/CLASS/.
        targets: patches, fsq or dvae.
        out: folder of the runs; unfinished runs there are resumed.
        steps: steps of 128 images.
        tokenizer_steps: steps of 128 images to train a tokenizer.
        cpu_threads: CPU threads; 0 for all.
        seed: seed of every random draw.
    """
    home, images = Path(out or f"runs/beit_cifar10_{targets}"), Path(data)
    train = images / "train"
    train_beit = partial(
        pretrain_beit,
        data=train,
        out=home / "beit",
        steps=steps,
        cpu_threads=cpu_threads,
        seed=seed,
    )
    if targets in TOKENIZERS:
        tokenizer = TOKENIZERS[targets](
            data=train,
            out=home / "tokenizer",
            steps=tokenizer_steps,
            cpu_threads=cpu_threads,
            seed=seed,
        )
        run = train_beit(targets=str(tokenizer.folder))
    else:
        run = train_beit(targets=targets, num_clusters=512)
    train_images = open_images(train, labelled=True)
    rows = shuffle_indices(len(train_images), 0, "labels")[:NUM_LABELS]
    test_images = open_images(images / "test", labelled=True)
    choices = _choose_layers(run, train_images.take(np.sort(rows)), test_images)
    labels = _get_labels(test_images)
    print_visible(_accuracy_table(choices, labels))
    return {name: _mean_accuracy(choice, labels) for name, choice in choices.items()}


def _get_labels(images: Images) -> Integer[np.ndarray, "n"]:
    assert images.labels is not None
    return images.labels


def _choose_layers(run: Run, train: Images, test: Images) -> dict[str, CandidateChoice]:
    """Probe each layer of each encoder, and choose the layer that does best on held-out labels."""
    labels = np.concatenate([_get_labels(train), _get_labels(test)])
    rows = np.arange(len(train)), np.arange(len(train), len(labels))
    encoders = {"BEiT": run.encoder} | {f"untrained {s}": run.build_untrained(s) for s in UNTRAINED}
    choices = {}
    for name, encoder in encoders.items():
        x = np.concatenate([extract_layers(encoder, part, size=run.size) for part in (train, test)])
        layers = {f"layer {k}": x[:, k] for k in range(x.shape[1])}
        choices[name] = choose_candidate(layers, labels, *rows)
    pixels = np.concatenate([extract_pixels(part, size=run.size) for part in (train, test)])
    choices["pixels"] = choose_candidate({"pixels": pixels}, labels, *rows)
    return choices


def _mean_accuracy(choice: CandidateChoice, labels: Integer[np.ndarray, "n"]) -> float:
    return float(np.mean(choice.predicted[choice.candidate] == labels))


def _accuracy_table(
    choices: Mapping[str, CandidateChoice], labels: Integer[np.ndarray, "n"]
) -> Table:
    """Return accuracy in % by layer, the chosen layer, and its paired 95 % gain over others."""
    names = list(choices["BEiT"].predicted)
    short_names = [name.split()[-1] for name in names]
    table = Table("layer", *short_names, "chosen", "BEiT is above by")
    beit_correct = choices["BEiT"].predicted[choices["BEiT"].candidate] == labels
    for name, choice in choices.items():
        cells = [
            f"{100 * np.mean(choice.predicted[n] == labels):.1f}" if n in choice.predicted else ""
            for n in names
        ]
        correct = choice.predicted[choice.candidate] == labels
        low, high = paired_bootstrap(beit_correct, correct, seed=0)
        gain = "" if name == "BEiT" else f"{100 * low:+.1f} to {100 * high:+.1f}"
        chosen = f"{100 * _mean_accuracy(choice, labels):.1f}"
        chosen += f" in {choice.candidate.split()[-1]}" if choice.candidate in names else ""
        table.add_row(name, *cells, chosen, gain)
    return table
