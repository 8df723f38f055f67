"""SimCLR on CIFAR-10 with a ResNet-18, on a GPU."""

from pathlib import Path

from selfwise.core.visible_text import print_visible
from selfwise.evaluation.scores.probe_score import ProbeScore
from selfwise.runs.resume import pretrain_or_resume
from selfwise.workflows import probe as probing


def simclr_cifar10(
    *,
    data: str,
    out: str = "runs/simclr_cifar10",
    seed: int = 0,
    epochs: float = 200,
    steps: int = 0,
    batch_size: int = 512,
) -> ProbeScore:
    """ResNet-18, 200 epochs; goal 90 % linear within 8 minutes on one H200. Not yet measured.

    `selfwise run simclr_cifar10 --data CIFAR-10-images` on a machine with a GPU. For scale:
    90.74 % after 1,000 epochs (solo-learn), 84.8 % kNN after 200 epochs in 87 minutes on an A6000
    (lightly). The options are those of the paper's appendix B.9 and of the README of the
    authors' code: CIFAR stem, LARS with batch_size / 256, temperature 0.5, jitter 0.5, no blur.

    Args:
        data: folder with train/CLASS/ and test/CLASS/.
        out: folder of the run; an unfinished run there is resumed.
        seed: seed of every random draw.
        epochs: passes over the training images.
        steps: steps instead of epochs, if above 0.
        batch_size: images in a step.
    """
    folder, images = Path(out), Path(data)
    run = pretrain_or_resume(
        "simclr",
        defaults="paper",
        data=images / "train",
        out=folder,
        encoder="resnet18",
        encoder_options={"stem": "cifar"},
        seed=seed,
        batch_size=batch_size,
        lr=batch_size / 256,
        weight_decay=1e-4,
        steps=steps or None,
        epochs=None if steps else epochs,
    )
    score = probing.probe(run, train=images / "train", test=images / "test", seeds=1)
    print_visible(score.table())
    return score
