"""RotNet on CIFAR-10 with a ResNet-18, on a GPU."""

from pathlib import Path

from selfwise.core.visible_text import print_visible
from selfwise.evaluation.scores.probe_score import ProbeScore
from selfwise.runs.resume import pretrain_or_resume
from selfwise.workflows import probe as probing


def rotation_cifar10(
    *,
    data: str,
    out: str = "runs/rotation_cifar10",
    seed: int = 0,
    epochs: float = 200,
    steps: int = 0,
    batch_size: int = 128,
) -> ProbeScore:
    """ResNet-18 with the paper's CIFAR schedule in length and rate. Not yet measured: for a GPU.

    `selfwise run rotation_cifar10 --data CIFAR-10-images`. For scale: the paper's network-in-
    network reaches 91.2 % with a convolutional classifier on its second block. Section 3.1: 128
    images, each four times, SGD with Nesterov momentum, rate 0.1, decay 5e-4. The rate falls along
    a cosine and not in the paper's three steps of 0.2. The features of the last layer encode
    rotations best and the middle layers encode objects best, so the probe reads the third of four
    stages.

    Args:
        data: folder with train/CLASS/ and test/CLASS/.
        out: folder of the run; an unfinished run there is resumed.
        seed: seed of every random draw.
        epochs: passes over the training images.
        steps: steps instead of epochs, if above 0.
        batch_size: images in a step, each of which is seen four times.
    """
    folder, images = Path(out), Path(data)
    run = pretrain_or_resume(
        "rotation",
        defaults="paper",
        data=images / "train",
        out=folder,
        encoder="resnet18",
        encoder_options={"stem": "cifar"},
        seed=seed,
        batch_size=batch_size,
        steps=steps or None,
        epochs=None if steps else epochs,
    )
    score = probing.probe(run, train=images / "train", test=images / "test", seeds=1, layer=3)
    print_visible(score.table())
    return score
