"""Images: files, arrays and names; any timm model; and pixels as the baseline."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import numpy as np
import torch
from annotated_types import Ge
from jaxtyping import Float32
from torch import Tensor, nn

from selfwise.core.config_class import Config, make_options_class, make_overrides_class
from selfwise.core.data_info import ImageInfo
from selfwise.core.data_sources import refuse_sources
from selfwise.core.device import choose_evaluation, resolve_device
from selfwise.core.option_types import ENCODER_PREFIX
from selfwise.core.progress import format_count
from selfwise.core.types import Encoder
from selfwise.data.broken_list import check_listed, read_listed
from selfwise.data.image import Images, drop_unreadable, open_images
from selfwise.data.image.kind import find_kind
from selfwise.encoders import beit, image, image_codec
from selfwise.encoders.beit_presets import ViTShape as ViTShape
from selfwise.encoders.custom import build_outside_encoder
from selfwise.evaluation.features import image as image_features
from selfwise.evaluation.features.cache import load_or_compute_all
from selfwise.evaluation.features.compute import ComputeOptions
from selfwise.evaluation.probes.baselines import FeatureSplit, build_untrained_encoders
from selfwise.methods import Method
from selfwise.methods.default_rules import Conditions
from selfwise.methods.needs import HasImageInfo
from selfwise.modalities.earlier_run import OpenRun
from selfwise.modalities.feature_options import (
    Embed,
    EmbedPlaces,
    FeatureOptions,
    FeaturePlace,
    list_places,
)
from selfwise.modalities.image.data import BROKEN, OpenImages, count_workers, describe_images
from selfwise.modalities.image.method_needs import add_needs, load_inputs
from selfwise.modalities.image.targets import image_info
from selfwise.modalities.modality import EncoderChoice, EncoderFactory, Opening, TrainedRun
from selfwise.modalities.reading_options import ReadingOptions

BUILDERS: dict[str, EncoderFactory] = {  # by family; all other names are timm models
    "beit": beit.build_beit_encoder,
    "codec": image_codec.build_codec_encoder,
}


class ImageReading(Config):
    """How to read images."""

    image_size: Annotated[int, Ge(1)] | None = None
    """Side of the views in px; by default the images' shorter side, at most 224."""
    channels: Literal[1, 3] | None = None
    """1 or 3; by default files are read in color, and arrays unchanged."""
    max_decode_size: Annotated[int, Ge(1)] = 256
    """Longest allowed shorter side in px; larger files are shrunk to it."""
    cache: Literal["auto", "yes", "no"] = "auto"
    """Decode once into a file: `auto` (for small images), `yes`, or `no`."""
    skip_broken: bool = False
    """Leave out unreadable files, and list them."""


@dataclass(frozen=True)
class ImageFacts:
    """The facts about images in a run folder."""

    info: ImageInfo


class ImageModality:
    """Images."""

    name = "image"
    info = ImageInfo
    reading = ImageReading
    probe_pooling = ""
    encoder_facts = ("in_channels", "size", "seed")
    encoder_help = """
  --encoder.NAME VALUE  any option of the timm model, such as --encoder.layers "[1, 1, 1, 1]";
                        of beit-tiny to beit-large: patch, depth, dim, heads, drop_path, ...
"""

    def find_encoder_options(self, name: str) -> type[Config]:
        if name.partition("-")[0] == "beit":
            return make_overrides_class(ViTShape, prefix=ENCODER_PREFIX)
        if name.partition("-")[0] == "codec":
            return make_overrides_class(image_codec.CodecShape, prefix=ENCODER_PREFIX)
        return make_options_class(image.TimmEncoder, skip=self.encoder_facts, prefix=ENCODER_PREFIX)

    def read_data(self, data: object, options: ImageReading, method: type[Method]) -> Images:
        return open_images(
            refuse_sources(data, "images"),
            channels=options.channels,
            decode=options.max_decode_size,
            cache=options.cache,
            skip_broken=options.skip_broken,
            labelled=method.labelled,
        )

    def survey(self, images: Images, options: ImageReading) -> Conditions:
        return Conditions(
            examples=len(images), image_kind=find_kind(images), side=_choose_size(images, options)
        )

    def open_data(self, images: Images, options: ImageReading, opening: Opening) -> OpenImages:
        labelled = opening.method.labelled
        size = _choose_size(images, options)
        workers = count_workers(images)
        info = describe_images(images, size=size, labelled=labelled)
        run_images = OpenImages(images, info, labelled, workers)
        add_needs(run_images.needs, run_images, opening, decode=options.max_decode_size)
        return run_images

    def load_facts(self, folder: Path, info: ImageInfo) -> ImageFacts:
        return ImageFacts(info)

    def load_inputs(
        self,
        method: type[Method],
        folder: Path,
        facts: ImageFacts,
        about: Mapping[str, Mapping[str, Any]],
        open_run: OpenRun,
    ) -> dict[str, object]:
        return load_inputs(method, folder, facts, about, open_run)

    def options_from_start(self, start: Path) -> dict[str, object]:
        return {}

    def build_encoder(self, choice: EncoderChoice, facts: HasImageInfo, seed: int) -> nn.Module:
        channels, size = facts.info.channels, facts.info.size
        if choice.factory is not None:
            return build_outside_encoder(
                choice.factory, choice.options, in_channels=channels, size=size, seed=seed
            )
        return _build_own(choice, channels, size, seed)

    def without_pretrained_weights(self, choice: EncoderChoice) -> EncoderChoice:
        if choice.factory is not None or "pretrained" not in type(choice.options).model_fields:
            return choice
        options = image.without_pretrained_weights(choice.options.model_dump(exclude_none=True))
        return EncoderChoice(choice.name, type(choice.options).model_validate(options))

    def build_untrained(self, choice: EncoderChoice, facts: HasImageInfo, seed: int) -> nn.Module:
        """Return an encoder without skipped blocks: see encoders.image."""
        encoder = self.build_encoder(self.without_pretrained_weights(choice), facts, seed)
        return (
            image.enable_residual_blocks(encoder)
            if isinstance(encoder, image.TimmEncoder)
            else encoder
        )

    def find_depth(self, choice: EncoderChoice) -> int | None:
        return None

    def open_examples(self, run: TrainedRun, data: object, options: ReadingOptions) -> Images:
        """Open examples and read them as the training images were read."""
        options.check_columns("image", ("label_column",))
        trained = run.record.reading
        assert isinstance(trained, ImageReading), "a run on images"
        listed = read_listed(run.folder / BROKEN)
        images = open_images(
            data,
            channels=image_info(run.record).channels,
            decode=trained.max_decode_size,
            cache=trained.cache,
            labelled=options.labelled,
            label_column=options.label_column,
            skip_broken=options.skip_broken or bool(listed),
        )
        images = drop_unreadable(images)
        if listed and not options.skip_broken:
            check_listed(images.broken, listed, run.folder / BROKEN)
        return images

    def make_embed(self, run: TrainedRun, options: FeatureOptions) -> Embed:
        place = FeaturePlace(options.layer, options.pooling)
        embed_places = self.make_embed_places(run, options, [place])
        return lambda encoder, images: embed_places(encoder, images)[0]

    def list_feature_places(self, run: TrainedRun, pooling: str) -> list[FeaturePlace]:
        _check_pooling(pooling)
        info = image_info(run.record)
        with image_features.evaluation_mode(run.encoder, "cpu"):
            blank = torch.zeros(1, info.channels, info.size, info.size)
            return list_places(len(run.encoder.hidden(blank)), [""])

    def make_embed_places(
        self, run: TrainedRun, options: FeatureOptions, places: Sequence[FeaturePlace]
    ) -> EmbedPlaces:
        for place in places:
            _check_pooling(place.pooling)
        if options.window:
            raise ValueError("--window is for text; images are read whole")
        device, precision = choose_evaluation(
            run.record.training, options.device, options.precision
        )
        size, env, layers = image_info(run.record).size, options.env, [p.layer for p in places]

        def compute(encoder: Encoder[Tensor], images: Images) -> list[Float32[np.ndarray, "n _"]]:
            stamp = getattr(images, "stamp", "")  # a file may change without changing its size
            weights = image_features.digest_weights(encoder)
            start = (weights, images.fingerprint, stamp, size)
            extract = partial(
                image_features.extract_several,
                encoder,
                images,
                size=size,
                workers=count_workers(images),
                compute=ComputeOptions(device, precision, env),
            )
            return load_or_compute_all(
                run.folder / "features",
                [(*start, layer, precision) for layer in layers],
                lambda missing: extract(layers=[layers[i] for i in missing]),
                env=env,
            )

        return compute

    def make_layered_embed(self, run: TrainedRun, options: FeatureOptions) -> None:
        return None

    def untrained_encoders(
        self, run: TrainedRun, train: Images, *, device: str
    ) -> Iterator[nn.Module]:
        """Yield three untrained encoders, their batch norms estimated on the training images."""
        size, used = image_info(run.record).size, resolve_device(device)
        encoders = build_untrained_encoders(run.build_untrained, train, size=size, device=used)
        yield from cast(Iterator[nn.Module], encoders)

    def list_raw_choices(self, raw: FeatureSplit) -> dict[str, FeatureSplit]:
        return {"pixels": raw}

    def raw_features(self, run: TrainedRun, train: Images, test: Images) -> FeatureSplit:
        """Return the pixels."""
        size = image_info(run.record).size
        return FeatureSplit(
            *(image_features.extract_pixels(part, size=size) for part in (train, test))
        )

    def describe_unread(self, run: TrainedRun, images: Images, window: str) -> list[str]:
        if not (lost := images.broken):
            return []
        left_out = format_count(len(lost), "image", "cannot be read and", "are", "left out")
        return [f"{left_out}, such as {lost[0]}"]


def _check_pooling(pooling: str) -> None:
    """Raise ValueError for a pooling, since the encoder determines it."""
    if pooling:
        raise ValueError("--pooling is for text and speech; image encoders have their own pooling")


def _choose_size(images: Images, options: ImageReading) -> int:
    """Return the side of the views in pixels."""
    return int(options.image_size or min(images.side, 224))


def _build_own(choice: EncoderChoice, channels: int, size: int, seed: int) -> nn.Module:
    build = BUILDERS.get(choice.name.partition("-")[0], image.build_image_encoder)
    options = choice.options.model_dump(exclude_none=True)
    return build(choice.name, in_channels=channels, size=size, seed=seed, **options)


MODALITY = ImageModality()
