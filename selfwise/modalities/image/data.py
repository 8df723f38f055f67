"""The images of a run: opening, monitoring, and the needs of its method."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from selfwise.core.config_class import spell_option
from selfwise.core.data_info import ImageInfo
from selfwise.core.files import write_file
from selfwise.core.parallel import count_cpus
from selfwise.core.progress import format_count
from selfwise.core.rng import shuffle_indices
from selfwise.core.types import RowSampler
from selfwise.data.image import Images, ImageSource
from selfwise.data.image.dataset import ArrayImages, require_labels
from selfwise.evaluation.features.image import iterate_views
from selfwise.evaluation.monitors.online_knn import OnlineKNN
from selfwise.evaluation.monitors.pictures import (
    ColorizationMonitor,
    PictureMonitor,
    ReconstructionMonitor,
)
from selfwise.evaluation.monitors.representation import RepresentationMonitor
from selfwise.methods import Method
from selfwise.modalities.earlier_run import Record
from selfwise.modalities.image.method_needs import ImageNeeds
from selfwise.modalities.modality import Steps
from selfwise.modalities.trial_data import TrialData
from selfwise.training.config import ResolvedTraining
from selfwise.training.loop import Probe

LAST = 2**62  # steps between two measurements, so that there is only one, after the last step
BROKEN = "broken.txt"  # in the run folder
PICTURES = {
    "reconstruct": ReconstructionMonitor,
    "colors": ColorizationMonitor,
}  # of methods that have these attributes
SAMPLE_SEED = 0  # samples depend only on the images: runs with several seeds share them
SAMPLE_BATCH = 100
MAX_TRIAL_IMAGES, MIN_TRIAL_IMAGES = 512, 16  # held out to judge settings
MAX_TRIAL_BATCH = 128  # of them encoded together


@dataclass
class OpenImages:
    """The images of a run."""

    images: Images
    info: ImageInfo
    labelled: bool
    workers: int
    """Loader processes: several for decoding; none for an array, where a process would be
    slower."""
    needs: ImageNeeds = field(default_factory=ImageNeeds)
    batch: None = None
    pictures: PictureMonitor | None = None
    online: OnlineKNN | None = None

    def __post_init__(self) -> None:
        self.resolved: Mapping[str, object] = {"image_size": self.info.size}
        self.inputs: Mapping[str, object] = self.needs.inputs
        self.about: Mapping[str, Mapping[str, object]] = self.needs.about

    def sample(self, most: int, *, purpose: str) -> Iterator[Float[Tensor, "b c s s"]]:
        rows = np.sort(shuffle_indices(len(self.images), SAMPLE_SEED, purpose)[:most])
        groups = np.array_split(rows, -(-len(rows) // SAMPLE_BATCH))
        return iterate_views(self.images, groups, size=self.info.size)

    def describe(self) -> list[str]:
        info, images = self.info, self.images
        classes = f", {info.classes} classes" if info.classes else ""
        lines = [
            f"{info.examples:,} images of {images.side} px (median of the shorter sides), views of "
            f"{info.size} x {info.size} px, {format_count(info.channels, 'channel')}{classes}"
        ]
        lines += [f"skipped: {skipped}"] if (skipped := getattr(images, "skipped", "")) else []
        if info.broken:
            lines.append(f"skipped: {format_count(info.broken, 'broken file')}, in {BROKEN}")
        return lines

    def adopt(self, earlier: Record) -> None:
        """Take nothing from the run in `init_from`."""

    def set_first_weights(self, encoder: nn.Module) -> None:
        """Set none: no option of reading has weights."""

    def source(self, method: Method, *, batch_size: int, seed: int) -> ImageSource:
        if method.draw is None:
            return ImageSource(self.images, batch=batch_size, seed=seed, labelled=self.labelled)
        assert not isinstance(method.draw, RowSampler), "rows of documents are for text"
        labels = require_labels(self.images)
        draw = method.draw(labels, batch=batch_size, names=self.images.classes)
        return ImageSource(
            self.images, batch=batch_size, seed=seed, labelled=self.labelled, draw=draw
        )

    def probes(self, method: Method, training: ResolvedTraining, *, seed: int) -> list[Probe]:
        size, probes = self.info.size, list[Probe]()
        if training.monitor_every:
            probes.append(
                RepresentationMonitor(
                    self.images, size=size, seed=seed, every=training.monitor_every
                )
            )
        if training.knn_every:
            if self.images.labels is None:
                raise ValueError(
                    "--knn-every needs labels: a folder for each class, or a csv file with labels"
                )
            self.online = OnlineKNN(self.images, size=size, seed=seed, every=training.knn_every)
            probes.append(self.online)
        for name, kind in PICTURES.items():
            if hasattr(method, name):
                every = training.monitor_every or LAST
                self.pictures = kind(self.images, size=size, seed=seed, every=every, folder=None)
                probes.append(self.pictures)
        return probes

    def split_for_trials(
        self, source: Steps, method: Method, *, batch_size: int, seed: int
    ) -> TrialData:
        """Hold out a tenth of the images, at most 512, in whole batches of at most 128.

        A run itself holds out nothing, and trains on these images too. Their choice depends only on
        the images, so that runs with several seeds are judged on equal ones.
        """
        rows = shuffle_indices(len(self.images), SAMPLE_SEED, "trials")
        held = min(MAX_TRIAL_IMAGES, len(rows) // 10)
        size = min(held, batch_size, MAX_TRIAL_BATCH)
        if size < MIN_TRIAL_IMAGES:
            raise ValueError(
                f"{spell_option('tune')} holds out a tenth of the images to judge settings, and "
                f"{len(rows)} images in batches of {batch_size} are too few: it needs "
                f"{10 * MIN_TRIAL_IMAGES} images and batches of {MIN_TRIAL_IMAGES}"
            )
        count = held // size
        groups = np.split(np.sort(rows[: count * size]), count)
        trained = replace(self, images=self.images.take(np.sort(rows[count * size :])))
        return TrialData(
            source=trained.source(method, batch_size=batch_size, seed=seed),
            held_out=(lambda number: self.images.read(groups[number]), count),
            cost=-(-count * size // batch_size),
        )

    def join(self, folder: Path) -> None:
        """List files that this process's loader finds broken together with those of other
        processes."""
        self.images.broken_log = folder / BROKEN  # type: ignore[attr-defined]

    def save(self, folder: Path) -> None:
        """Write the method's needs; list the files that were left out, now and as the loader finds
        more."""
        if self.pictures is not None:
            self.pictures.folder = folder
        if self.online is not None:
            self.online.begin(folder / "metrics.jsonl")
        path = folder / BROKEN
        self.images.broken_log = path  # type: ignore[attr-defined]
        listed = path.read_text().splitlines() if path.is_file() else []
        if new := [name for name in self.images.broken if name not in listed]:
            write_file(path, "".join(f"{name}\n" for name in [*listed, *new]))
        self.needs.save(folder)


def describe_images(images: Images, *, size: int, labelled: bool) -> ImageInfo:
    """Return the facts about images. Raises ValueError if a method needs several classes."""
    if labelled and len(np.unique(require_labels(images))) < 2:
        raise ValueError("all examples are of one class, so there is nothing to distinguish")
    return ImageInfo(
        examples=len(images),
        channels=images.channels,
        size=size,
        classes=len(images.classes or []),
        fingerprint=images.fingerprint,
        broken=len(images.broken),
    )


def count_workers(images: Images) -> int:
    """Return the number of loader processes that suits these images."""
    return 0 if isinstance(images, ArrayImages) else min(count_cpus(), 8)
