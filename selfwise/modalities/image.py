"""Images: read from files, arrays and names; any timm model; pixels as the baseline."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from selfwise.core.parallel import available
from selfwise.core.types import RowSampler
from selfwise.data.image import Images, ImageSource, drop_unreadable, open_images
from selfwise.data.image.dataset import ArrayImages, require_labels
from selfwise.distributed.process_group import SINGLE_PROCESS, DistributedEnv
from selfwise.encoders import (
    beit as beit_encoders,
)
from selfwise.encoders import (
    image as image_encoders,
)
from selfwise.encoders import (
    image_codec as image_codec,
)
from selfwise.encoders.beit_presets import resolve_vit_shape
from selfwise.evaluation.features import image as image_features
from selfwise.evaluation.monitors.online_knn import OnlineKNN
from selfwise.evaluation.monitors.pictures import (
    ColorizationMonitor,
    PictureMonitor,
    ReconstructionMonitor,
)
from selfwise.evaluation.monitors.representation import RepresentationMonitor
from selfwise.evaluation.probes.baselines import FeatureSplit, extract_untrained
from selfwise.methods import Method
from selfwise.modalities import image_colors, image_units
from selfwise.modalities.image_colors import ImageColors
from selfwise.modalities.image_units import ImageUnits
from selfwise.modalities.modality import OpenRun, Trained
from selfwise.training.config import Resolved, resolve_device, resolve_precision
from selfwise.training.loop import Probe

ENCODER_HELP = """
  --encoder.stem STEM   for ResNets on small images: cifar, half, timm or auto
  --encoder.NAME VALUE  any option of the timm model, such as --encoder.layers "[1, 1, 1, 1]";
                        of beit-tiny to beit-large: patch, depth, dim, heads, drop_path, ...
  --encoder.sees WHAT   color, or the lightness alone; of timm models
"""
LAST = 2**62  # steps between two looks, so that there is one after the last step alone
OWN = {
    "beit": beit_encoders.build_beit_encoder,
    "codec": image_codec.build_codec_encoder,
}  # encoders of ours by the first part of their name

PICTURES = {
    "reconstruct": ReconstructionMonitor,
    "colors": ColorizationMonitor,
}  # of methods that have these

Kept = ImageUnits | ImageColors  # what a run folder keeps for its method
Embed = Callable[[Any, Images], Float32[np.ndarray, "n d"]]


@dataclass
class ImageData:
    """The images of a run."""

    images: Images
    labelled: bool
    told: dict[str, Any]  # the options of reading, as resolved
    found: dict[str, Any] = field(default_factory=dict)
    kept: Kept | None = None
    batch: None = None
    pictures: PictureMonitor | None = None
    online: OnlineKNN | None = None

    @property
    def workers(self) -> int:
        # decoding wants processes; an array is read faster than a process is asked
        return _workers(self.images)

    def follow(self, found: Mapping[str, Any]) -> None:
        """Images take nothing from the run that they start from."""

    def source(self, method: Method, *, batch: int, seed: int) -> ImageSource:
        told: dict[str, Any] = {"batch": batch, "seed": seed, "labelled": self.labelled}
        if method.draw is None:
            return ImageSource(self.images, **told)
        assert not isinstance(method.draw, RowSampler), "rows of documents are for text"
        labels = require_labels(self.images)
        draw = method.draw(labels, batch=batch, names=self.images.classes)
        return ImageSource(self.images, **told, draw=draw)

    def probes(self, method: Method, training: Resolved, *, seed: int) -> list[Probe]:
        told: dict[str, Any] = {"size": self.found["size"], "seed": seed}
        probes: list[Probe] = []
        if training.health_every:
            probes.append(RepresentationMonitor(self.images, **told, every=training.health_every))
        if training.probe_every:
            if self.images.labels is None:
                raise ValueError(
                    "--probe-every needs labels: a folder for each class, or a csv with them"
                )
            self.online = OnlineKNN(self.images, **told, every=training.probe_every)
            probes.append(self.online)
        for shown in (kind for name, kind in PICTURES.items() if hasattr(method, name)):
            every = training.health_every or LAST
            self.pictures = shown(self.images, **told, every=every, folder=None)
            probes.append(self.pictures)
        return probes

    def join(self, folder: Path) -> None:
        """Files that this process's loader finds broken are listed with those of the others."""
        self.images.broken_log = folder / "broken.txt"  # type: ignore[attr-defined]

    def keep(self, folder: Path) -> None:
        """Keep the units or the prior; list the files that were left out, now and as the loader
        finds more."""
        if self.kept is not None:
            self.kept.keep(folder)
        if self.pictures is not None:
            self.pictures.folder = folder
        if self.online is not None:
            self.online.begin(folder / "metrics.jsonl")
        path = folder / "broken.txt"
        self.images.broken_log = path  # type: ignore[attr-defined]
        before = path.read_text().splitlines() if path.is_file() else []
        if lost := [name for name in self.images.broken if name not in before]:
            path.write_text("".join(f"{name}\n" for name in [*before, *lost]))


def opened(
    data: Any,
    kind: type[Method],
    *,
    open_run: OpenRun,
    folder: Path | None = None,
    encoder: Mapping[str, Any] | None = None,
    device: str = "cpu",
    size: int | None = None,
    channels: int | None = None,
    decode: int = 256,
    cache: str = "auto",
    skip_broken: bool = False,
    units: str = image_units.PATCHES,
    clusters: int = 512,
    units_layer: int = -1,
    prior: str = image_colors.IMAGES,
) -> ImageData:
    """The images to train on.

    Args:
        data: folder of images, csv, npy or npz, a name such as digits or mnist:FOLDER; in
            Python also an array or a map-style data set.
        device: where units are learned.
        size: side of the views in px; by default the images' shorter side, at most 224.
        channels: 1 or 3; by default files are read in colour, arrays as they are.
        decode: longest allowed shorter side in px; larger files are shrunk to it.
        cache: decode once into a file: `auto` where the images are small, `yes`, or `no`.
        skip_broken: leave out files that cannot be read, and list them.
        units: what is predicted: patches, clusters of normalised patches; or the folder of an
            earlier run: the codes of an image tokenizer, or clusters of what another encoder has
            learned.
        clusters: how many units there are; a tokenizer has its own number.
        units_layer: of the earlier run, whose layer is clustered, counted from 0; negative counts
            from the last.
        prior: how often each of the 313 colours occurs: images, counted on a sample of the images;
            or an npy file with 313 numbers in the order of the authors' prior_probs.npy: ascending
            by a, then by b.
    """
    told: dict[str, Any] = {"channels": channels, "decode": decode, "cache": cache}
    images = open_images(data, **told, skip_broken=skip_broken, labelled=kind.labelled)
    found = _found(images, kind, int(size or min(images.side, 224)))
    told |= {"size": found["size"], "skip_broken": skip_broken}
    wanted = signature(kind).parameters
    if "prior" in wanted:
        colors = image_colors.find(images, prior, size=found["size"], folder=folder)
        found["prior"], told["prior"] = colors.about, image_colors.where(prior)
        return ImageData(images, kind.labelled, told, found, colors)
    if "units" not in wanted:
        return ImageData(images, kind.labelled, told, found)
    if folder is not None:
        made = image_units.load(folder / image_units.FOLDER, open_run)
    else:
        asked: dict[str, Any] = {"units": units, "clusters": clusters, "layer": units_layer}
        patch = _patch(encoder or {}, found["size"])
        asked |= {"size": found["size"], "patch": patch, "decode": decode, "open_run": open_run}
        made = image_units.find(images, device=device, **asked)
    found["units"] = made.about
    told |= {"units": image_units.where(units), "clusters": clusters, "units_layer": units_layer}
    return ImageData(images, kind.labelled, told, found, made)


def _found(images: Images, kind: type[Method], size: int) -> dict[str, Any]:
    """What the data turned out to be. Raises ValueError for a method that needs several classes."""
    if kind.labelled and len(np.unique(require_labels(images))) < 2:
        raise ValueError("all examples are of one class, so there is nothing to tell apart")
    return {
        "examples": len(images),
        "channels": images.channels,
        "size": size,
        "classes": len(images.classes or []),
        "fingerprint": images.fingerprint,
        "broken": len(images.broken),
    }


def kept(folder: Path, open_run: OpenRun) -> Kept | None:
    """The units or the prior of a run folder, where its method needs any."""
    if (folder / image_colors.FILE).is_file():
        return image_colors.load(folder)
    home = folder / image_units.FOLDER
    return image_units.load(home, open_run) if home.is_dir() else None


def supplied(found: Mapping[str, Any], kept: Any) -> dict[str, Any]:
    """What a method on images may ask for.

    An imported run knows how many units it predicts, but not how they are made.
    """
    given = {"size": found["size"], "classes": found["classes"]}
    if kept is not None:
        return given | kept.given
    if "units" in found:
        return given | {"units": image_units.Unknown(found["units"]["clusters"])}
    return given


def encoder(settings: Mapping[str, Any], kept: Any, seed: int) -> Any:
    """The encoder with random weights that are a function of the seed, or published ones."""
    found, told = settings["found"], dict(settings["options"]["encoder"])
    name, shape = told.pop("name"), {"in_channels": found["channels"], "size": found["size"]}
    own = OWN.get(name.partition("-")[0])
    if own is None:
        return image_encoders.build_image_encoder(name, **shape, seed=seed, **told)
    if told.get("sees") == "lightness":
        raise ValueError(
            f"encoder {name} sees colours and cannot see lightness alone; timm models can, such as "
            "resnet18 or vit_tiny_patch16_224"
        )
    return own(name, **shape, seed=seed, **told)


def unpublished(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same without published weights: what is loaded or compared needs none of them."""
    told = settings["options"]
    if told["encoder"]["name"].partition("-")[0] in OWN:
        return dict(settings)
    return {
        **settings,
        "options": {**told, "encoder": image_encoders.without_pretrained_weights(told["encoder"])},
    }


def inherited(start: Path) -> dict[str, Any]:
    """Options of reading that go with the weights of an earlier run: none."""
    return {}


def fresh(settings: Mapping[str, Any], kept: Any, seed: int) -> Any:
    """The untrained twin, with no block hidden."""
    made = encoder(unpublished(settings), kept, seed)
    return (
        image_encoders.enable_residual_blocks(made)
        if isinstance(made, image_encoders.TimmEncoder)
        else made
    )


def examples(run: Trained, data: Any, *, labelled: bool = False, **options: Any) -> Images:
    """Examples read as those that the encoder has seen; `skip_broken` may be given."""
    for name in options.keys() - {"skip_broken"}:
        raise ValueError(f"--{name} is for text, and this run is on images")
    told = run.config["options"]
    reading = {"channels": run.config["found"]["channels"], "decode": told["decode"]}
    reading["cache"] = told["cache"]
    return drop_unreadable(open_images(data, **reading, labelled=labelled, **options))


def embedder(
    run: Trained,
    *,
    layer: int | None,
    device: str,
    pooling: str = "",
    window: str = "",
    env: DistributedEnv = SINGLE_PROCESS,
) -> Embed:
    """Features of any encoder of this shape, kept in the run folder by what they depend on."""
    if pooling:
        raise ValueError("--pooling is for text and speech; image encoders pool in their own way")
    if window:
        raise ValueError("--window is for text; images are read whole")
    place, precision = where(run, device)
    size = run.config["found"]["size"]

    def compute(encoder: Any, images: Images) -> Float32[np.ndarray, "n d"]:
        stamp = getattr(images, "stamp", "")  # a file may change and keep its size
        weights = image_features.compute_checksum(encoder)
        key = (weights, images.fingerprint, stamp, size, layer, precision)
        extract = partial(image_features.extract_features, encoder, images, size=size, layer=layer)
        extract = partial(extract, device=place, precision=precision, workers=_workers(images))
        extract = partial(extract, env=env)
        return image_features.load_or_compute(run.folder / "features", key, extract, env=env)

    return compute


def where(run: Trained, device: str) -> tuple[str, str]:
    """The device, and what autocast runs in there: float32 or bf16, as in training if it can be."""
    place, told = resolve_device(device), run.config["options"]
    same = place.partition(":")[0] == told["device"].partition(":")[0]
    precision = told["precision"] if same else resolve_precision("auto", place)
    # evaluation needs no gradients, so fp16 needs no care either
    return place, "float32" if precision == "float32" else "bf16"


def unread(run: Trained, images: Images, window: str) -> list[str]:
    """A sentence on the images that are left out; none if all are read."""
    if not (lost := images.broken):
        return []
    return [f"{len(lost):,} images cannot be read and are left out, such as {lost[0]}"]


def twins(
    run: Trained, known: Images, asked: Images, *, embed: Embed, device: str
) -> list[FeatureSplit]:
    """Features of three untrained encoders."""
    size, place = run.config["found"]["size"], resolve_device(device)
    return extract_untrained(run.fresh, known, asked, size=size, embed=embed, device=place)


def raw(run: Trained, known: Images, asked: Images) -> FeatureSplit:
    """The pixels."""
    size = run.config["found"]["size"]
    return FeatureSplit(
        *(image_features.extract_pixels(part, size=size) for part in (known, asked))
    )


def _patch(encoder: Mapping[str, Any], size: int) -> int:
    """Side of the encoder's patches, which units are made of."""
    told = dict(encoder)
    return resolve_vit_shape(told.pop("name"), told, size=size).patch


def _workers(images: Images) -> int:
    return 0 if isinstance(images, ArrayImages) else min(available(), 8)
