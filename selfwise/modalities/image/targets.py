"""Discrete targets of images: clusters of patches, codes of a tokenizer, clusters of a layer.

BEiT, Bao et al. 2021 (arXiv:2106.08254) predicts the codes of a discrete autoencoder. Clusters of
patches need no network; clusters of features of an earlier run are HuBERT's second iteration.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from selfwise.core import make_once
from selfwise.core.config_class import drop_none
from selfwise.core.data_info import ImageInfo
from selfwise.core.device import float64_device
from selfwise.core.files import atomic_write, cache_dir, digest
from selfwise.core.memory import keep_freed_memory
from selfwise.core.own_files import read_own
from selfwise.core.progress import print_progress
from selfwise.core.rng import shuffle_indices
from selfwise.core.types import Units
from selfwise.data.image import Images
from selfwise.encoders.beit_presets import resolve_vit_shape
from selfwise.evaluation.features.image import evaluation_mode, iterate_views
from selfwise.evaluation.monitors.pictures import save_image_grid
from selfwise.methods.needs import PatchTargetOptions
from selfwise.modalities.earlier_run import EarlierRun, OpenRun, Record
from selfwise.modalities.modality import EncoderChoice, Opening
from selfwise.targets.codebook import Codebook, learn_codebook
from selfwise.targets.kmeans_streaming import KMeansSettings
from selfwise.targets.patches import PatchTargets
from selfwise.training.checkpoint import find_latest

FORMAT = 3  # raise it whenever equal options give other units
FOLDER = "targets"  # in the run folder
NEEDS = "needs.safetensors"  # in the run folder: tensors that its method needs
PATCHES = "patches"
SEED = 0  # units depend only on the data: runs with several seeds share them
MAX_CLUSTERED_IMAGES = 10_000  # images from which clusters are learned; 640,000 patches of CIFAR
# of features that a fit keeps: of 1,783 images of 224 px, each of which is read once
MAX_FEATURE_BYTES = 2**30
IMAGES_PER_BATCH = 256
NUM_PICTURED = 12  # images in the picture of reconstructions

_report_units = partial(print_progress, prefix="units: ")


class Codes:
    """The codes of a run of an image tokenizer; `patch`: side in px of the area of a code."""

    def __init__(self, method: Any, size: int):
        self.method, self.size = method.eval(), int(method.units)
        self.patch = size // method.encoder.grid[0]

    @torch.no_grad()
    def __call__(self, x: Float[Tensor, "b c h w"]) -> Int64[Tensor, "b n"]:
        return _move_to_device_of(self.method, x).codes(x)

    @torch.no_grad()
    def decode(
        self, ids: Int64[Tensor, "b n"], like: Float[Tensor, "b c h w"]
    ) -> Float[Tensor, "b c h w"]:
        """Return the images that codes represent, in 0..1, on the device of `like`."""
        return _move_to_device_of(self.method, like).decode(ids)


class Clusters:
    """Clusters of the patches in a layer of an earlier run."""

    def __init__(self, encoder: Any, layer: int, codebook: Codebook):
        self.encoder, self.layer, self.codebook = encoder.eval(), layer, codebook
        self.size = codebook.size

    @torch.no_grad()
    def __call__(self, x: Float[Tensor, "b c h w"]) -> Int64[Tensor, "b n"]:
        tokens = _move_to_device_of(self.encoder, x).hidden(x)[self.layer].tokens
        b, n = tokens.shape[:2]
        return self.codebook(tokens.float().flatten(0, 1)).view(b, n)


class UnknownTargets:
    """Targets of an imported run without its tokenizer."""

    def __init__(self, size: int):
        self.size = int(size)

    def __call__(self, x: Float[Tensor, "b c h w"]) -> Int64[Tensor, "b n"]:
        raise ValueError(
            "this run was imported without its image tokenizer, so it has no units; train with "
            "--targets, and --init-from this run"
        )


@dataclass(frozen=True)
class ImageTargets:
    """The discrete targets of a run, and their folder."""

    units: Units
    about: dict[str, Any]
    folder: Path

    def save(self, run: Path) -> None:
        """Copy the targets into a run folder, where they stay when caches are deleted."""
        make_once.copy_finished(self.folder, run / FOLDER)


@runtime_checkable
class SizedImages(Protocol):
    """The opened images of a run: see modalities.image.data."""

    @property
    def images(self) -> Images: ...

    @property
    def info(self) -> ImageInfo: ...


def open_targets(
    data: SizedImages, opening: Opening, options: PatchTargetOptions, *, decode: int
) -> ImageTargets:
    """Return the targets of these images: from the run folder or the cache, otherwise learned.

    Raises ValueError if `targets` is neither `patches` nor a suitable run.
    """
    if opening.folder is not None:
        return load_targets(opening.folder / FOLDER, opening.open_run)
    return learn_targets(
        data.images,
        options,
        size=data.info.size,
        patch=find_patch(opening.encoder, data.info.size),
        decode=decode,
        device=str(float64_device(opening.device)),
        open_run=opening.open_run,
    )


def find_patch(encoder: EncoderChoice, size: int) -> int:
    """Return the side in px of the encoder's patches, which the targets follow."""
    if encoder.factory is not None:
        raise ValueError(
            "targets of patches need an encoder with patches: choose one of the beit encoders"
        )
    return resolve_vit_shape(encoder.name, drop_none(encoder.options), size=size).patch


def learn_targets(
    images: Images,
    options: PatchTargetOptions,
    *,
    size: int,
    patch: int,
    open_run: OpenRun,
    decode: int = 256,
    device: str = "cpu",
) -> ImageTargets:
    """Return the targets of these images, learned if they are not in the cache.

    Raises ValueError if `targets` is neither `patches` nor a suitable run.
    """
    units, clusters = options.targets, options.num_clusters
    run = None if units == PATCHES else _open_tokenizer_run(units, images, size, open_run)
    about = {"of": PATCHES, "num_clusters": clusters, "patch": patch, "size": size}
    # fingerprint and stamp describe the files on the disk, and not how they are read
    key: tuple[Any, ...] = (images.fingerprint, getattr(images, "stamp", ""))
    key += (images.channels, decode)
    if run is not None:
        about = {"of": f"{run.record.method} {Path(units).name} (step {run.step})", "size": size}
        key += (run.weights,)
        if hasattr(run.method, "codes"):
            tokenizer: Any = run.method
            about["num_clusters"] = int(tokenizer.units)
        else:
            layer = _check_target_layer(run, options.target_layer, units, patch)
            about |= {"num_clusters": clusters, "layer": layer}
    home = cache_dir("targets") / digest(repr((FORMAT, key, sorted(about.items()))))
    source = None if run is None else Path(units)
    make_once.make_once(
        home, lambda: _build_targets(home, images, about, source, run, device, open_run)
    )
    return load_targets(home, open_run)


def image_info(record: Record) -> ImageInfo:
    """Return the facts about the images of a run."""
    assert isinstance(record.info, ImageInfo), "a run on images"
    return record.info


def load_targets(folder: Path, open_run: OpenRun) -> ImageTargets:
    """Load the targets in a folder."""
    about = json.loads(read_own(folder / make_once.DONE))
    return ImageTargets(_load_units(folder, about, open_run), about, folder)


def _load_units(folder: Path, about: Mapping[str, Any], open_run: OpenRun) -> Units:
    if about["of"] == PATCHES:
        return PatchTargets.load(folder)
    run = open_run(folder / "run")
    if hasattr(run.method, "codes"):
        return Codes(run.method, image_info(run.record).size)
    return Clusters(run.method.encoder, about["layer"], Codebook.load(folder))


def _open_tokenizer_run(units: str, images: Images, size: int, open_run: OpenRun) -> EarlierRun:
    folder = Path(units)
    if not folder.is_dir():
        raise ValueError(
            f"--targets must be {PATCHES} or the folder of an earlier run, not {units!r}"
        )
    run = open_run(folder)
    if run.method.modality != "image":
        raise ValueError(f"--targets {units} is a run on {run.method.modality}, not on images")
    info = image_info(run.record)
    if info.size != size:
        raise ValueError(
            f"--targets {units} was trained at {info.size} px and this run is at {size} px: give "
            f"--image-size {info.size}, or train a tokenizer at {size} px"
        )
    if info.channels != images.channels:
        raise ValueError(
            f"--targets {units} was trained on {info.channels} channels, and these images have "
            f"{images.channels}: give --channels {info.channels}"
        )
    return run


def _check_target_layer(run: EarlierRun, layer: int, units: str, patch: int) -> int:
    """Return the layer's number from the first. Raises ValueError if its positions are
    unsuitable."""
    info = image_info(run.record)
    side = info.size
    blank = torch.zeros(1, info.channels, side, side)
    with torch.no_grad():
        layers = run.method.encoder.hidden(blank)
    if not -len(layers) <= layer < len(layers):
        raise ValueError(
            f"--target-layer {layer} does not exist: the encoder of {units} has layers 0 to "
            f"{len(layers) - 1}"
        )
    tokens = layers[layer].tokens
    if tokens is None:
        raise ValueError(f"layer {layer} of {units} has no positions, so it has no units")
    if tokens.shape[1] != (side // patch) ** 2:
        raise ValueError(
            f"layer {layer} of {units} has {tokens.shape[1]} positions, and the encoder has "
            f"{(side // patch) ** 2} patches of {patch} px: set --encoder.patch to match it"
        )
    return layer % len(layers)


def _build_targets(
    home: Path,
    images: Images,
    about: dict[str, Any],
    source: Path | None,
    run: EarlierRun | None,
    device: str,
    open_run: OpenRun,
) -> None:
    if source is not None:
        _copy_run(source, home / "run")
    if run is None or not hasattr(run.method, "codes"):
        _learn_clusters(home, images, about, run, device)
    units = _load_units(home, about, open_run)
    usage_rows = np.sort(shuffle_indices(len(images), SEED, "usage")[: 4 * IMAGES_PER_BATCH])
    counts = torch.zeros(units.size, dtype=torch.int64)
    groups = np.array_split(usage_rows, max(1, len(usage_rows) // IMAGES_PER_BATCH))
    for view in iterate_views(images, groups, size=about["size"], device=device):
        counts += torch.bincount(units(view).flatten().cpu(), minlength=units.size)
    share = counts[counts > 0].double() / counts.sum()
    about["in use"] = int((counts > 0).sum())
    about["perplexity"] = round(float(share.log().mul(share).sum().neg().exp()), 2)
    _save_reconstructions(home, images, units, about["size"])
    make_once.mark_finished(home, json.dumps(about))


def _learn_clusters(
    home: Path, images: Images, about: dict[str, Any], run: EarlierRun | None, device: str
) -> None:
    """Cluster patches, or a layer's patches, at the size of training."""
    size = about["size"]
    order = shuffle_indices(len(images), SEED, "clusters")[:MAX_CLUSTERED_IMAGES]

    def features(rows: np.ndarray) -> Float[Tensor, "m d"]:
        (view,) = iterate_views(images, [np.sort(rows)], size=size, device=device)
        if run is None:
            return PatchTargets.features(view, about["patch"])
        with evaluation_mode(run.method.encoder, device):
            tokens = run.method.encoder.hidden(view)[about["layer"]].tokens
        return tokens.float().flatten(0, 1)

    order = order[: max(1, MAX_FEATURE_BYTES // features(order[:1]).nbytes)]
    groups = np.array_split(order, -(-len(order) // IMAGES_PER_BATCH))
    settings = KMeansSettings(len(groups), about["num_clusters"], SEED)
    folder, memory = home / make_once.SCRATCH, MAX_FEATURE_BYTES / 2**30
    with keep_freed_memory():
        codebook = learn_codebook(
            lambda j: features(groups[j]),
            settings,
            folder=folder,
            memory=memory,
            progress=_report_units,
        )
    if run is None:
        PatchTargets(codebook, patch=about["patch"]).save(home)
    else:
        codebook.save(home)


def _save_reconstructions(home: Path, images: Images, units: Any, size: int) -> None:
    """Save images next to their reconstructions from units, if units can be decoded."""
    (view,) = iterate_views(images, [np.arange(min(NUM_PICTURED, len(images)))], size=size)
    if isinstance(units, PatchTargets):
        save_image_grid([view, units.decode(units(view), view)], home / "reconstructions.png")
    elif isinstance(units, Codes):
        with torch.no_grad():
            save_image_grid(
                [view, _move_to_device_of(units.method, view).reconstruct(view)],
                home / "reconstructions.png",
            )


def _copy_run(source: Path, into: Path) -> None:
    """Copy a run's settings and newest weights, and its own units or prior."""
    shutil.rmtree(into, ignore_errors=True)
    newest, _ = find_latest(source / "checkpoints")
    assert newest is not None, "the run was opened before"
    with atomic_write(into) as half:
        shutil.copytree(newest.folder, half / "checkpoints" / newest.folder.name)
        shutil.copy(source / "run.yaml", half)
        if (source / FOLDER).is_dir():
            shutil.copytree(source / FOLDER, half / FOLDER)
        if (source / NEEDS).is_file():
            shutil.copy(source / NEEDS, half)


ModuleT = TypeVar("ModuleT", bound=nn.Module)


def _move_to_device_of(module: ModuleT, x: Tensor) -> ModuleT:
    return module if next(module.parameters()).device == x.device else module.to(x.device)
