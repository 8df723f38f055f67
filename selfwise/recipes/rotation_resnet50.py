"""RotNet on ImageNet with a ResNet-50, as in benchmarks of pretext tasks."""

from pathlib import Path

from selfwise.core.visible_text import print_visible
from selfwise.evaluation.scores.probe_score import ProbeScore
from selfwise.runs.resume import pretrain_or_resume
from selfwise.workflows import probe as probing


def rotation_resnet50(
    *,
    data: str,
    out: str = "runs/rotation_resnet50",
    seed: int = 0,
    epochs: float = 105,
    steps: int = 0,
    batch_size: int = 256,
    image_size: int = 224,
) -> ProbeScore:
    """ResNet-50 on folders of photos, 105 epochs. Not yet measured: it needs a GPU for days.

    `selfwise run rotation_resnet50 --data imagenet`. For scale: VISSL reports 48.2 % on ImageNet
    with these settings (256 images, rate 0.1 for each 256, decay 1e-4, five epochs of warm-up).
    Its rate falls in steps; here it falls along a cosine.

    Args:
        data: folder with train/CLASS/, whose labels training does not read, and val/CLASS/.
        out: folder of the run; an unfinished run there is resumed.
        seed: seed of every random draw.
        epochs: passes over the training images.
        steps: steps instead of epochs, if above 0.
        batch_size: images in a step, each of which is seen four times.
        image_size: side of the images in pixels.
    """
    folder, images = Path(out), Path(data)
    run = pretrain_or_resume(
        "rotation",
        defaults="paper",
        data=images / "train",
        out=folder,
        encoder="resnet50",
        seed=seed,
        batch_size=batch_size,
        lr=0.1 * batch_size / 256,
        weight_decay=1e-4,
        warmup=0.05,
        image_size=image_size,
        steps=steps or None,
        epochs=None if steps else epochs,
    )
    score = probing.probe(run, train=images / "train", test=images / "val", seeds=1)
    print_visible(score.table())
    return score
